"""Stage `gate`: choose one candidate without labels, then judge it with labels, if there are any.

In:  results/adapt/<target> (arrays), results/manifest/{source,<target>}, results/validate/<target>/verdict.json,
     registry/<target>/champion.json, answers/<target>.csv; with a champion and a labelled hold-out also its
     model and the hold-out images.
Out: selection.json (label-free), verdict.json, calibration.json, to_label.csv.

No target label reaches :func:`~tasks.selection.select.select_candidate`, whose file is written before the first one is read.
Labels are spent once, on the one candidate selected against source-only, the simplest adaptation and the model in
service: those of the hold-out or, where there is none, the answers to to_label.csv. After the verdict those of the
hold-out also say how certain the served answers may sound, which changes no class. Nothing is trained here, and torch is
not imported.
"""

import logging

from tasks.config.params import Params
from tasks.domains.kinds import reader_of
from tasks.errors import BadInput
from tasks.judgement.account import account_of
from tasks.judgement.calibration import calibrate
from tasks.judgement.decide import Case, decide
from tasks.judgement.holdout import read_holdout
from tasks.judgement.in_service import ask_champion
from tasks.judgement.to_label import Answered, find_disagreements
from tasks.records.answers import latest, read_answers
from tasks.records.calibration import write_calibration
from tasks.records.data_checks import JSON, read_data_checked
from tasks.records.manifest import LABELLED, read_examples, read_summary
from tasks.records.selection import write_selected
from tasks.records.to_label import write_to_label
from tasks.records.verdict import DataDigest, write_judged
from tasks.selection.known_shares import with_known_shares
from tasks.selection.pool import read_pool
from tasks.selection.select import select_candidate
from tasks.workspace import Workspace

log = logging.getLogger(__name__)


def run(workspace: Workspace, params: Params, target: str) -> None:
    """Write the selection, the verdict and the list of images worth labelling for ``target``.

    Raises:
        BadInput: Files of earlier stages are missing or damaged, or refer to different data.
    """
    folder = workspace.stage("gate", target)
    pool = with_known_shares(read_pool(workspace.stage("adapt", target)), params.gate.target_prior)
    selection = select_candidate(workspace, pool, params.gate)
    write_selected(folder, selection.record(target))

    holdout = read_holdout(workspace, target, pool)
    disagreements = find_disagreements(selection.chosen, selection.compared(), holdout)
    answers = read_answers(workspace.answers(target), pool.classes)
    champion = ask_champion(workspace, target, holdout, reader_of(params).limits)
    case = Case(selection, holdout, Answered(disagreements, answers), champion)
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
    write_calibration(folder, calibrate(selection, holdout, params.gate))
    labels = {image: answer.label for image, answer in latest(answers).items()}
    write_to_label(folder, disagreements, labels)
    log.info("gate %s: %s for %s: %s", target, judged.verdict, judged.candidate, judged.reasons[0])


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
