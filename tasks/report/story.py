"""The report's story: what happened to a target, what is proven, what is not, and what to do next."""

from dataclasses import dataclass

from tasks.config.sections.gate import GateParams
from tasks.records.verdict import Judged, Proof
from tasks.report.dossier import Dossier
from tasks.report.wording import (
    count,
    interval_of,
    p_value,
    percent,
    points,
)


@dataclass(frozen=True)
class Step:
    """One thing to do, and the command that does it where there is one."""

    text: str
    command: str | None = None


@dataclass(frozen=True)
class Story:
    """The verdict in words: what happened, what is proven and what is not, what to do next."""

    word: str
    headline: str
    happened: tuple[str, ...]
    proven: tuple[str, ...]
    not_proven: tuple[str, ...]
    blockers: tuple[str, ...]
    steps: tuple[Step, ...]


_SEALED_NUMBERS = "The labels are sealed, so that they last: no number is shown unless a model is promoted."


def tell(dossier: Dossier, gate: GateParams) -> Story:
    """The story of one verdict; a broken chain of evidence takes the place of the next steps."""
    blockers = tuple(mismatches(dossier) + failures(dossier))
    return Story(
        word=dossier.judged.verdict,
        headline=_headline(dossier) + (" It cannot be released as it stands." if blockers else ""),
        happened=_happened(dossier),
        proven=_proven(dossier),
        not_proven=_not_proven(dossier, gate),
        blockers=blockers,
        steps=_repair(dossier) if blockers else _steps(dossier, gate),
    )


def mismatches(dossier: Dossier) -> list[str]:
    """Where two files refer to different bytes; each is a sentence."""
    judged, exported, probed = dossier.judged, dossier.exported, dossier.probed
    source, target = dossier.source_domain.summary, dossier.target_domain.summary
    gate, listed = "the gate judged", "the manifest lists"
    pairs = [
        ("the source examples", gate, judged.data_digest.source, listed, source.data_digest),
        (f"the examples of {dossier.target}", gate, judged.data_digest.target, listed, target.data_digest),
        ("the labels of the hold-out", "the gate read", judged.labels_digest, listed, target.labels_digest),
        ("the checkpoint", gate, judged.checkpoint_sha256,
         "the exported file holds", exported and exported.checkpoint_sha256),
        ("the model file", "the export wrote", exported and exported.model_sha256,
         "the probe loaded", probed and probed.model_sha256),
    ]  # fmt: skip
    return [
        f"Digests of {what} differ: {one} {a[:12]}, {other} {b[:12]}."
        for what, one, a, other, b in pairs
        if a and b and a != b
    ]


def failures(dossier: Dossier) -> list[str]:
    """Checks outside the gate that forbid a release; each is a sentence."""
    found = []
    if not dossier.data_checked.passed:
        found.append("The data checks failed: " + "; ".join(dossier.data_checked.reasons) + ".")
    if dossier.probed is not None and not dossier.probed.passed:
        found.append(
            "The exported file failed its probe in a fresh process: "
            + "; ".join(dossier.probed.reasons) + "."
        )  # fmt: skip
    if dossier.judged.verdict in ("promote", "provisional"):
        for name, content in (("exported", dossier.exported), ("probed", dossier.probed)):
            if content is None:
                found.append(f"The selected model has not been {name} yet.")
    return found


def _headline(dossier: Dossier) -> str:
    word, target, name = dossier.judged.verdict, dossier.target, dossier.selected
    if word == "reject" and dossier.chose_source_only:
        return f"Every adapted model of {target} was vetoed; none may go into service."
    if dossier.is_in_service:
        return f"{name} is already in service for {target}."
    if dossier.chose_source_only:
        return f"No adapted model was preferred: source-only remains the choice for {target}."
    if word == "promote":
        return f"{name} is better than {_proven_against(dossier)}."
    if word == "provisional":
        return f"{name} looks better than source-only, but no label of {target} confirms it."
    if word == "reject" and dossier.judged.evidence and dossier.judged.evidence.gain < 0:
        return f"{name} is worse than {dossier.against} on {dossier.labelled_images}."
    if word == "reject":
        return f"{name} must not go into service for {target}."
    if dossier.num_labels:
        return f"{dossier.labelled_images[:1].upper()}{dossier.labelled_images[1:]} do not prove {name} better than {dossier.against}."
    return f"There is not enough evidence to put {name} into service for {target}."


def _proven_against(dossier: Dossier) -> str:
    """The model that a promoted one is better than, and the labels that prove it."""
    if dossier.sample and not dossier.is_proven_fresh:
        return f"source-only on {count(dossier.judged.source_only.n, 'labelled example')} of {dossier.target}"
    return f"{dossier.against} on {dossier.labelled_images}"


def _happened(dossier: Dossier) -> tuple[str, ...]:
    select = dossier.target_domain.summary.splits.get("select", 0)
    chosen = (
        f"{dossier.selected} was chosen on {count(select, 'other example')} by scores that read no labels."
    )
    return (*_trained(dossier), chosen, *_compared(dossier))


def _trained(dossier: Dossier) -> list[str]:
    source, target = dossier.source_domain.summary, dossier.target_domain.summary
    rows = dossier.trained.candidates
    num_adapted = sum(row.preset != "source_only" for row in rows)
    told = [
        f"Source-only was trained on {count(source.splits.get('train', 0), 'labelled source example')};"
        f" {count(num_adapted, 'candidate')} also saw"
        f" {count(target.splits.get('adapt', 0), 'unlabelled example')} of {dossier.target}."
    ]
    num_labelled = target.splits.get("labelled", 0)
    if num_labelled:
        told.append(
            f"All candidates, source-only included, were also trained on"
            f" {count(num_labelled, 'labelled example')} of {dossier.target}."
        )
    num_diverged = sum(row.status == "diverged" for row in rows)
    if num_diverged:
        told.append(f"{count(num_diverged, 'candidate')} diverged in training and took no further part.")
    return told


def _compared(dossier: Dossier) -> list[str]:
    told = []
    if dossier.has_holdout and not dossier.chose_source_only:
        told.append(
            f"That one candidate was then compared with source-only and with target statistics on"
            f" {count(dossier.judged.selected.n, 'labelled example')} that neither training nor"
            " selection had seen."
        )
    if dossier.sample:
        told.append(
            f"That one candidate and what it is compared with were frozen: {dossier.sample.total:,} of"
            f" {count(dossier.sample.images, 'test example')}, which neither training nor selection had seen, can tell them"
            f" apart. {dossier.sample.labelled:,} of these were labelled afterwards, in a random order and with no model’s answer"
            " beside them."
        )
    return told


def _proven(dossier: Dossier) -> tuple[str, ...]:
    judged = dossier.judged
    if not dossier.num_labels:
        return (
            f"Nothing, so far: {dossier.target} has no labelled hold-out, and scores without labels can err.",
        )
    if dossier.chose_source_only:
        if dossier.is_sealed:
            return ("Nothing: source-only was chosen without labels, and those of the hold-out stay sealed.",)
        return (f"Source-only is right on {percent(judged.source_only.accuracy)} of the hold-out.",)
    held = judged.verdict == "hold" and not dossier.is_in_service
    told = ["That it is better is not proven."] if held else []
    proof = judged.evidence
    if proof is None and dossier.is_sealed:
        return (*told, _SEALED_NUMBERS)
    if proof is None:
        return (*told, f"{_accuracies(judged)}.")
    change = f"{points(proof.gain)}, {interval_of(proof)}"
    if dossier.is_labelled and not dossier.sample:
        told.append(f"{_accuracies(judged)}: {change}.")
    else:
        told += [*_on_holdout(dossier), f"{_changed(dossier)} by {change}{_how_high(dossier)}."]
    return (*told, *_chances(proof))


def _on_holdout(dossier: Dossier) -> list[str]:
    """The accuracies on an open hold-out, beside the evidence of fresh labels."""
    return [f"{_accuracies(dossier.judged)} on the hold-out."] if dossier.is_labelled else []


def _changed(dossier: Dossier) -> str:
    """The measure that moved, where it is not an accuracy on the hold-out."""
    if not dossier.sample:
        return "Accuracy changed"
    than = "" if dossier.against == "source-only" else f", compared with {dossier.against},"
    return f"By fresh labels accuracy{than} changed"


def _how_high(dossier: Dossier) -> str:
    if dossier.is_labelled:
        return ""
    return "; how high it is stays sealed" if dossier.is_sealed else "; how high it is was not measured"


def _accuracies(judged: Judged) -> str:
    return f"Accuracy went from {percent(judged.source_only.accuracy)} to {percent(judged.selected.accuracy)}"


def _chances(proof: Proof) -> list[str]:
    told = [
        f"{count(proof.better, 'example')} changed from wrong to right and {proof.worse:,} from right to wrong."
    ]
    if not proof.gain:
        return told
    p = proof.mcnemar_p if proof.gain > 0 else proof.mcnemar_p_worse
    if proof.kind == "hold-out" and proof.groups is None:
        what = "lead" if proof.gain > 0 else "fall"
        told.append(
            f"If the two models were equally good, a {what} this large would come about by chance with"
            f" probability {p_value(p)}."
        )
    elif p < 1:
        no_change = "no better" if proof.gain > 0 else "no worse"
        looks = ", however often one looks" if proof.kind == "disagreements" else ""
        told.append(
            f"If it were {no_change}, evidence like this would come about with a probability of at most {p_value(p)}{looks}."
        )
    return told


def _not_proven(dossier: Dossier, gate: GateParams) -> tuple[str, ...]:
    if not dossier.num_labels:
        return (f"Whether {dossier.selected} is better or worse than source-only.",)
    told = []
    proof = dossier.judged.evidence
    detectable = proof.smallest_detectable_gain if proof else None
    if detectable is not None:
        told.append(
            f"A gain below {points(detectable, signed=False)} would probably be missed by this hold-out."
        )
    unmeasured = "How accurate either model is, and how single classes changed"
    if dossier.is_sealed:
        told.append(f"{unmeasured}: the labels of the hold-out say it, and are sealed.")
    elif not dossier.is_labelled:
        told.append(f"{unmeasured}: that takes a hold-out.")
    if dossier.has_holdout and not dossier.sample and dossier.num_labels < gate.min_holdout:
        told.append(
            f"The hold-out has {count(dossier.num_labels, 'example')};"
            f" gate.min_holdout asks for {gate.min_holdout:,}."
        )
    told.append(
        f"How it does on examples of {dossier.target} unlike those in this"
        f" {'test split' if dossier.sample else 'hold-out'}."
    )
    return tuple(told)


def _steps(dossier: Dossier, gate: GateParams) -> tuple[Step, ...]:
    word, target = dossier.judged.verdict, dossier.target
    if word == "promote":
        promotion = Step("Put it into service:", f"acclimate promote {target}")
        way_back = Step(
            "If it disappoints there, go back to the version before:", f"acclimate rollback {target}"
        )
        return (promotion,) if dossier.judged.champion is None else (promotion, way_back)
    if word == "provisional":
        return (
            *_labelling(dossier, gate),
            Step(
                "Or put it into service unproven; your name and reason go on record:",
                f'acclimate promote {target} --force --by "YOUR NAME" --reason "WHY"',
            ),
        )
    if word == "hold" and dossier.is_in_service:
        return (Step(f"Nothing. {_in_service(dossier)}"),)
    if word == "hold" and dossier.chose_source_only and dossier.judged.champion is None:
        return (
            Step(
                f"No model of {target} is in service yet. Source-only may be, since nothing beat it:",
                f"acclimate promote {target}",
            ),
            *_labelling(dossier, gate),
        )
    stays = Step(f"Nothing changes in service. {_in_service(dossier)}")
    if word == "hold" and not _lost(dossier, gate):
        return (stays, *_labelling(dossier, gate))
    return (
        stays,
        Step(
            "Do not promote it. Look at the classes and the curves below for what went wrong, change the section"
            " adapt of params.yaml or the examples, and run again:",
            f"acclimate run --target {target}",
        ),
    )


def _lost(dossier: Dossier, gate: GateParams) -> bool:
    """Whether enough labels show no gain at all, so that more of them are not what is missing."""
    proof, fresh = dossier.judged.evidence, dossier.judged.price.fresh
    if proof is None or proof.gain > 0:
        return False
    return dossier.num_labels >= gate.min_holdout if fresh is None else fresh.more is None


def _labelling(dossier: Dossier, gate: GateParams) -> tuple[Step, ...]:
    """Fresh labels first, which decide soonest; then a hold-out where there is none, or where it can still prove something."""
    fresh = _fresh_labels(dossier)
    if dossier.is_spent:
        return fresh or (_new_images(dossier),)
    holdout = Step(
        f"{_how_many(dossier, gate)}, drawn at random. Put each one into the folder of its class,"
        f" data/{dossier.target}/holdout/<class>/, and run again:",
        f"acclimate run --target {dossier.target}",
    )
    if not fresh:
        return (holdout,)
    if dossier.has_holdout:
        return fresh
    return (*fresh, Step(f"Or measure accuracy as well. {holdout.text}", holdout.command))


def _fresh_labels(dossier: Dossier) -> tuple[Step, ...]:
    """How to label what can tell the models apart; nothing where that cannot lead to a promotion."""
    target, price = dossier.target, dossier.judged.price
    more = (
        f" About {price.fresh.more:,} more would probably settle it."
        if price.fresh and price.fresh.more
        else ""
    )
    if not dossier.num_unlabelled or price.next_fresh <= 0 or (price.fresh and not price.fresh.more):
        return ()
    return (
        Step(
            f"Label examples on which the models differ: {count(dossier.num_unlabelled, 'example')} of {target} have no label yet, and"
            f" no model’s answer is shown.{more} They decide soonest. You are asked for one after another until the matter is settled:",
            f"acclimate label {target}",
        ),
        Step(
            f"Or fill in the column `label` of results/gate/{target}/to_label.csv, from the top and without a gap: the class,"
            " `none` or `unsure`. Then:",
            f"acclimate label {target} results/gate/{target}/to_label.csv",
        ),
    )


def _new_images(dossier: Dossier) -> Step:
    """The way on where neither the hold-out nor a listed image can prove anything."""
    return Step(
        f"No label that could be given now leads to a promotion: see what the labels cost. New examples of {dossier.target} can be"
        " labelled afresh once they have arrived:",
        f"acclimate emit {dossier.target} FOLDER",
    )


def _how_many(dossier: Dossier, gate: GateParams) -> str:
    """How many labels of a hold-out to ask for."""
    num_labels = dossier.judged.source_only.n
    images = f"examples of {dossier.target}"
    if num_labels < gate.min_holdout:
        there = f" (there are {num_labels:,})" if num_labels else ""
        return f"Label at least {gate.min_holdout:,} {images}{there}"
    return f"Label more {images} (there are {num_labels:,})"


def _repair(dossier: Dossier) -> tuple[Step, ...]:
    return (
        Step(
            "Do not promote. Read what is broken above and in the sections on data and on the exported file."
        ),
        Step(
            "Then run again; only what is out of date is redone:", f"acclimate run --target {dossier.target}"
        ),
    )


def _in_service(dossier: Dossier) -> str:
    champion = dossier.judged.champion
    if champion is None:
        return f"No model of {dossier.target} is in service yet."
    return f"Version {champion.version} stays."
