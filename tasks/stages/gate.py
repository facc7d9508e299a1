"""Stage `gate`: choose one candidate without labels, then judge it with labels, if there are any.

In:  results/adapt/<target> (arrays), results/manifest/{source,<target>}, results/validate/<target>/verdict.json,
     registry/<target>/champion.json, answers/<target>.csv, ledger/<target>.jsonl; with a champion also its model, those of
     the champions before it, and the images of the test split.
Out: selection.json (label-free), verdict.json, calibration.json, to_label.csv; lines of the ledger.

No target label reaches :func:`~tasks.selection.select.select_candidate`, whose file is written before the first one is read.
Then the arms are frozen: the one candidate selected, and the models that it is compared with. The ledger counts what the
verdict spends *before* a label is compared with an answer, so that a kill leaves a look that is spent. The same arms and
labels are the same look, however often the stage runs. After the verdict the labels of the hold-out also say how
certain the served answers may sound, which changes no class; sealed ones do so for what is promoted alone. Nothing is
trained here, and torch is not imported.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

from tasks.config.params import Params
from tasks.domains.contract import Reader
from tasks.domains.kinds import reader_of
from tasks.errors import BadInput
from tasks.judgement.account import account_of
from tasks.judgement.arms import Arms, arms_of
from tasks.judgement.calibration import calibrate
from tasks.judgement.decide import Case, decide
from tasks.judgement.holdout import Holdout, read_holdout
from tasks.judgement.in_service import InService, ask_champion, ask_former
from tasks.judgement.price import Price, fresh_alpha, look_at_fresh, look_at_holdout, share_of, unsealing
from tasks.judgement.rules import margin_of
from tasks.judgement.to_label import Answered
from tasks.records.answers import read_answers
from tasks.records.calibration import write_calibration
from tasks.records.data_checks import JSON, read_data_checked
from tasks.records.ledger import Entry, Ledger, Ruled, append, read_ledger
from tasks.records.manifest import LABELLED, read_examples, read_summary
from tasks.records.selection import write_selected
from tasks.records.to_label import Disagreement, write_to_label
from tasks.records.verdict import DataDigest, Verdict, write_judged
from tasks.selection.known_shares import with_known_shares
from tasks.selection.pool import read_pool
from tasks.selection.select import Selection, select_candidate
from tasks.workspace import Workspace

log = logging.getLogger(__name__)


def run(workspace: Workspace, params: Params, target: str, *, on: date | None = None) -> None:
    """Write the selection, the verdict and the list of images worth labelling for ``target``.

    Args:
        workspace: Where.
        params: The settings of the target.
        target: Its name.
        on: The day of the verdict; today where it is left out.

    Raises:
        BadInput: Files of earlier stages are missing or damaged, or refer to different data; or there is no ledger.
    """
    on = on or datetime.now(UTC).date()
    folder, path = workspace.stage("gate", target), workspace.ledger(target)
    pool = with_known_shares(read_pool(workspace.stage("adapt", target)), params.gate.target_prior)
    selection = select_candidate(workspace, pool, params.gate)
    write_selected(folder, selection.record(target))

    ledger = read_ledger(path)
    holdout = read_holdout(workspace, target, pool, params.gate.metric)
    champion = ask_champion(workspace, target, holdout, reader_of(params).limits)
    answers = read_answers(workspace.answers(target), pool.classes)
    arms = arms_of(
        selection.chosen, selection.compared(), holdout, champion, answers, margin=margin_of(params.gate)
    )
    # How much a label weighs in balanced accuracy is not known where the sizes of the classes are not.
    counts_answers = arms is not None and params.gate.metric == "accuracy"
    answered = Answered(arms, answers) if arms is not None and counts_answers else None
    spending = _spend(ledger, params, selection, holdout, arms, answered, on=on)
    append(path, spending.entries)

    former = _former(workspace, params, target, holdout)
    case = Case(selection, holdout, answered, champion, spending.price, former)
    decision = decide(case, params.gate)
    judged = account_of(
        target,
        case,
        decision,
        params.gate,
        labelled_target_images=_num_labelled(workspace, target),
        data_digest=_data_digest(workspace, target),
    )
    write_judged(folder, judged)
    is_shown = decision.judgement.is_proven_on_holdout or not judged.sealed
    shown = holdout if is_shown else replace(holdout, labels={})
    write_calibration(folder, calibrate(selection, shown, params.gate))
    labels = {} if answered is None else {image: one.label for image, one in answered.mine().items()}
    disagreements = () if arms is None else arms.disagreements
    examples = _shown(workspace, target, disagreements, reader_of(params))
    write_to_label(folder, "" if arms is None else arms.key, disagreements, labels, examples)
    append(path, _outcome(read_ledger(path), case, judged.verdict, params, on))
    log.info("gate %s: %s for %s: %s", target, judged.verdict, judged.candidate, judged.reasons[0])


def _shown(
    workspace: Workspace, target: str, disagreements: Sequence[Disagreement], reader: Reader
) -> dict[str, str]:
    """The examples that a line of to_label.csv can show, by their SHA-256."""
    shown = ((one.sha256, reader.excerpt(workspace.data(target) / one.path)) for one in disagreements)
    return {sha256: line for sha256, line in shown if line}


@dataclass(frozen=True)
class _Spending:
    price: Price
    entries: list[Entry]
    """The lines to write before a label is compared with an answer."""


def _spend(
    ledger: Ledger,
    params: Params,
    selection: Selection,
    holdout: Holdout,
    arms: Arms | None,
    answered: Answered | None,
    *,
    on: date,
) -> _Spending:
    """The part of the year's budget that the verdict spends, and the lines that say so."""
    budget = params.gate.budget
    share = share_of(budget.false_promotions, len(params.targets))
    entries: list[Entry] = []
    if answered is not None and arms is not None and ledger.frozen(arms.key) is None:
        entries.append(arms.frozen(budget, share=share, on=on))
    look = fresh = None
    if holdout.labels and selection.chosen != selection.source_only:
        look, lines = look_at_holdout(
            ledger,
            selection.chosen.checkpoint_sha256 if arms is None else arms.key,
            holdout.labels,
            labels_digest=holdout.labels_digest,
            share=share,
            on=on,
            can_promote=arms is not None,
        )
        entries += lines
    after = Ledger([*ledger.entries, *entries])
    if answered is not None and answered.sample():
        fresh, lines = look_at_fresh(after, answered.arms.key, share=share, planned=budget.verdicts, on=on)
        entries += lines
        after = Ledger([*after.entries, *lines])
    left = max(0.0, share - after.spent(on))
    next_fresh = 0.0 if answered is None else fresh_alpha(budget.verdicts, after.fresh_looks(on), left=left)
    price = Price(
        share,
        left,
        budget.verdicts,
        look,
        fresh,
        next_fresh=next_fresh if fresh is None else fresh.alpha,
    )
    return _Spending(price, entries)


def _outcome(ledger: Ledger, case: Case, verdict: Verdict, params: Params, on: date) -> list[Entry]:
    """The lines that follow a verdict: the verdict, and that the labels of a hold-out are open from now on."""
    entries: list[Entry] = []
    for look in (case.price.holdout, case.price.fresh):
        if look is not None and ledger.ruled(look.arms) != verdict and not entries:
            entries.append(Ruled(at=on, arms=look.arms, verdict=verdict))
    if params.gate.labels == "open":
        entries += unsealing(ledger, case.holdout.labels, on=on, reason="gate.labels is open")
    return entries


def _former(workspace: Workspace, params: Params, target: str, holdout: Holdout) -> tuple[InService, ...]:
    """The former champions, where there is a rule about them and a label that it can be tested with."""
    if params.gate.rules.max_loss_against_champion is None or not holdout.labels:
        return ()
    return ask_former(workspace, target, holdout, reader_of(params).limits)


def _num_labelled(workspace: Workspace, target: str) -> int:
    examples = read_examples(workspace.stage("manifest", target))
    return sum(example.split == LABELLED for example in examples)


def _data_digest(workspace: Workspace, target: str) -> DataDigest:
    """The digests that the data checks passed, which must still be those of the manifests."""
    folder = workspace.stage("validate", target)
    checked = read_data_checked(folder).data_digest.model_dump()
    listed = {
        key: read_summary(workspace.stage("manifest", domain)).data_digest
        for key, domain in (("source", "source"), ("target", target))
    }
    changed = [key for key in listed if listed[key] != checked[key]]
    if changed:
        raise BadInput(
            f"{folder / JSON} refers to another {' and '.join(changed)} than the manifest. Run `acclimate run` again."
        )
    return DataDigest(**checked)
