"""The report's story: what happened to a target, what is proven, what is not, and what to do next."""

import math
from dataclasses import dataclass

from tasks.config.sections.gate import GateParams
from tasks.report.evidence import Evidence
from tasks.report.wording import (
    count,
    interval,
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


def tell(evidence: Evidence, gate: GateParams) -> Story:
    """The story of one verdict; a broken chain of evidence takes the place of the next steps."""
    blockers = tuple(mismatches(evidence) + failures(evidence))
    return Story(
        word=evidence.verdict["verdict"],
        headline=_headline(evidence) + (" It cannot be released as it stands." if blockers else ""),
        happened=_happened(evidence),
        proven=_proven(evidence),
        not_proven=_not_proven(evidence, gate),
        blockers=blockers,
        steps=_repair(evidence) if blockers else _steps(evidence, gate),
    )


def mismatches(evidence: Evidence) -> list[str]:
    """Where two files speak of different bytes; each is a sentence."""
    verdict, export, probe = evidence.verdict, evidence.export or {}, evidence.probe or {}
    judged = verdict.get("data_digest") or {}
    pairs = [
        ("the source images", "the gate judged", judged.get("source"),
         "the manifest lists", evidence.source_domain.summary.data_digest),
        (f"the images of {evidence.target}", "the gate judged", judged.get("target"),
         "the manifest lists", evidence.target_domain.summary.data_digest),
        ("the labels of the hold-out", "the gate read", verdict.get("labels_digest"),
         "the manifest lists", evidence.target_domain.summary.labels_digest),
        ("the checkpoint", "the gate judged", verdict.get("checkpoint_sha256"),
         "the exported file holds", export.get("checkpoint_sha256")),
        ("the model file", "the export wrote", export.get("model_sha256"),
         "the probe loaded", probe.get("model_sha256")),
    ]  # fmt: skip
    return [
        f"Digests of {what} differ: {one} {a[:12]}, {other} {b[:12]}."
        for what, one, a, other, b in pairs
        if a and b and a != b
    ]


def failures(evidence: Evidence) -> list[str]:
    """Checks outside the gate that forbid a release; each is a sentence."""
    found = []
    if not evidence.validation["passed"]:
        found.append("The data checks failed: " + "; ".join(evidence.validation["reasons"]) + ".")
    if evidence.probe is not None and not evidence.probe["passed"]:
        found.append(
            "The exported file failed its probe in a fresh process: "
            + "; ".join(evidence.probe["reasons"]) + "."
        )  # fmt: skip
    if evidence.verdict["verdict"] in ("promote", "provisional"):
        for name, content in (("exported", evidence.export), ("probed", evidence.probe)):
            if content is None:
                found.append(f"The selected model has not been {name} yet.")
    return found


def _headline(evidence: Evidence) -> str:
    word, target, name = evidence.verdict["verdict"], evidence.target, evidence.selected
    if word == "reject" and evidence.chose_source_only:
        return f"Every adapted model of {target} was vetoed; none may go into service."
    if evidence.is_in_service:
        return f"{name} is already in service for {target}."
    if evidence.chose_source_only:
        return f"No adapted model was preferred: source-only remains the choice for {target}."
    if word == "promote":
        return f"{name} is better than source-only on {evidence.labelled_images}."
    if word == "provisional":
        return f"{name} looks better than source-only, but no label of {target} confirms it."
    if word == "reject" and (evidence.verdict["evidence"] or {"gain": 0})["gain"] < 0:
        return f"{name} is worse than source-only on {evidence.labelled_images}."
    if word == "reject":
        return f"{name} must not go into service for {target}."
    if evidence.num_labels:
        return f"{evidence.labelled_images[:1].upper()}{evidence.labelled_images[1:]} do not prove {name} better than source-only."
    return f"There is not enough evidence to put {name} into service for {target}."


def _happened(evidence: Evidence) -> tuple[str, ...]:
    source, target = evidence.source_domain.summary, evidence.target_domain.summary
    rows = evidence.trained.candidates
    num_adapted = sum(row.preset != "source_only" for row in rows)
    told = [
        f"Source-only was trained on {count(source.splits.get('train', 0), 'labelled source image')};"
        f" {count(num_adapted, 'candidate')} also saw"
        f" {count(target.splits.get('adapt', 0), 'unlabelled image')} of {evidence.target}."
    ]
    num_labelled = target.splits.get("labelled", 0)
    if num_labelled:
        told.append(
            f"All candidates, source-only included, were also trained on"
            f" {count(num_labelled, 'labelled image')} of {evidence.target}."
        )
    num_diverged = sum(row.status == "diverged" for row in rows)
    if num_diverged:
        told.append(f"{count(num_diverged, 'candidate')} diverged in training and took no further part.")
    told.append(
        f"{evidence.selected} was chosen on {count(target.splits.get('select', 0), 'other image')}"
        " by scores that read no labels."
    )
    if evidence.is_labelled and not evidence.chose_source_only:
        told.append(
            f"That one candidate was then compared with source-only on"
            f" {count(evidence.verdict['selected']['n'], 'labelled image')} that neither training nor"
            " selection had seen."
        )
    if evidence.sample:
        told.append(
            f"Source-only and that one candidate disagree on {evidence.sample['total']:,} of"
            f" {count(evidence.sample['images'], 'test image')}, which neither training nor selection had seen;"
            f" {evidence.num_labels:,} of these, drawn by their content hashes, were labelled."
        )
    return tuple(told)


def _proven(evidence: Evidence) -> tuple[str, ...]:
    verdict = evidence.verdict
    if not evidence.num_labels:
        return (
            f"Nothing, so far: {evidence.target} has no labelled hold-out, and scores without labels can err.",
        )
    if evidence.chose_source_only:
        return (f"Source-only is right on {percent(verdict['source_only']['accuracy'])} of the hold-out.",)
    proof = verdict["evidence"]
    told = (
        [] if verdict["verdict"] != "hold" or evidence.is_in_service else ["That it is better is not proven."]
    )
    told += [
        f"Accuracy changed by {points(proof['gain'])}, {interval(proof)}; how high it is was not measured."
        if evidence.sample
        else f"Accuracy went from {percent(verdict['source_only']['accuracy'])} to"
        f" {percent(verdict['selected']['accuracy'])}"
        + (f": {points(proof['gain'])}, {interval(proof)}." if proof else ".")
    ]
    if proof:
        told.append(
            f"{count(proof['better'], 'image')} changed from wrong to right and {proof['worse']:,} from right to wrong."
        )
        if proof["gain"]:
            what, p = ("lead", "mcnemar_p") if proof["gain"] > 0 else ("fall", "mcnemar_p_worse")
            told.append(
                f"If the two models were equally good, a {what} this large would come about by chance with"
                f" probability {p_value(proof[p])}."
            )
    return tuple(told)


def _not_proven(evidence: Evidence, gate: GateParams) -> tuple[str, ...]:
    if not evidence.num_labels:
        return (f"Whether {evidence.selected} is better or worse than source-only.",)
    told = []
    proof = evidence.verdict["evidence"]
    detectable = proof["smallest_detectable_gain"] if proof else None
    if detectable is not None:
        told.append(
            f"A gain below {points(detectable, signed=False)} would probably be missed by"
            f" {'these labels' if evidence.sample else 'this hold-out'}."
        )
    if evidence.sample:
        told.append("How accurate either model is, and how single classes changed: that takes a hold-out.")
    elif evidence.num_labels < gate.min_holdout:
        told.append(
            f"The hold-out has {count(evidence.num_labels, 'image')};"
            f" gate.min_holdout asks for {gate.min_holdout:,}."
        )
    told.append(
        f"How it does on images of {evidence.target} unlike those in this"
        f" {'test split' if evidence.sample else 'hold-out'}."
    )
    return tuple(told)


def _steps(evidence: Evidence, gate: GateParams) -> tuple[Step, ...]:
    word, target = evidence.verdict["verdict"], evidence.target
    if word == "promote":
        promotion = Step("Put it into service:", f"acclimate promote {target}")
        way_back = Step(
            "If it disappoints there, go back to the version before:", f"acclimate rollback {target}"
        )
        return (promotion,) if evidence.verdict["champion"] is None else (promotion, way_back)
    if word == "provisional":
        return (
            *_labelling(evidence, gate),
            Step(
                "Or put it into service unproven; your name and reason go on record:",
                f'acclimate promote {target} --force --by "YOUR NAME" --reason "WHY"',
            ),
        )
    if word == "hold" and evidence.is_in_service:
        return (Step(f"Nothing. {_in_service(evidence)}"),)
    if word == "hold" and evidence.chose_source_only and evidence.verdict["champion"] is None:
        return (
            Step(
                f"No model of {target} is in service yet. Source-only may be, since nothing beat it:",
                f"acclimate promote {target}",
            ),
            *_labelling(evidence, gate),
        )
    stays = Step(f"Nothing changes in service. {_in_service(evidence)}")
    if word == "hold" and not _lost(evidence, gate):
        return (stays, *_labelling(evidence, gate))
    return (
        stays,
        Step(
            "Do not promote it. Look at the classes and the curves below for what went wrong, change the section"
            " adapt of params.yaml or the images, and run again:",
            f"acclimate run --target {target}",
        ),
    )


def _lost(evidence: Evidence, gate: GateParams) -> bool:
    """Whether enough labels show no gain at all, so that more of them are not what is missing."""
    proof = evidence.verdict["evidence"]
    return proof is not None and proof["gain"] <= 0 and evidence.num_labels >= gate.min_holdout


def _labelling(evidence: Evidence, gate: GateParams) -> tuple[Step, ...]:
    """Disagreements first, which decide soonest; a hold-out where there is one, or where they are used up."""
    target, listed = evidence.target, f"results/gate/{evidence.target}/to_label.csv"
    num_open = sum(not row.get("label") for row in evidence.to_label)
    holdout = Step(
        f"{_how_many(evidence, gate)}, drawn at random. Put each one into the folder of its class,"
        f" data/{target}/holdout/<class>/, and run again:",
        f"acclimate run --target {target}",
    )
    if evidence.is_labelled or not num_open:
        return (holdout,)
    return (
        Step(
            f"Label the first {min(num_open, gate.min_holdout):,} unlabelled of the {count(len(evidence.to_label), 'image')}"
            f" of {listed}, on which the two models disagree, or more: write the class, or `unsure`, into its column"
            " `label`, from the top and without a gap. They decide soonest. Then:",
            f"acclimate label {target} {listed}",
        ),
        Step(f"Or measure accuracy as well. {holdout.text}", holdout.command),
    )


def _how_many(evidence: Evidence, gate: GateParams) -> str:
    """How many labels of a hold-out to ask for; the detectable gain shrinks with the root of their number."""
    num_labels = evidence.verdict["source_only"]["n"]
    images, proof = f"images of {evidence.target}", evidence.verdict["evidence"]
    detectable = proof["smallest_detectable_gain"] if proof else None
    if num_labels >= gate.min_holdout and proof and detectable and 0 < proof["gain"] < detectable:
        needed = num_labels * (detectable / proof["gain"]) ** 2
        magnitude = 10 ** max(0, math.floor(math.log10(needed)) - 1)
        rounded = math.ceil(needed / magnitude) * magnitude
        gain = points(proof["gain"], signed=False)
        return f"If {gain} matter, label more {images}: about {rounded:,} in all would show such a gain"
    if num_labels:
        return (
            f"Label more {images} (there are {num_labels:,}; the gate asks for at least {gate.min_holdout:,})"
        )
    return f"Label at least {gate.min_holdout:,} {images}"


def _repair(evidence: Evidence) -> tuple[Step, ...]:
    return (
        Step(
            "Do not promote. Read what is broken above and in the sections on data and on the exported file."
        ),
        Step(
            "Then run again; only what is out of date is redone:", f"acclimate run --target {evidence.target}"
        ),
    )


def _in_service(evidence: Evidence) -> str:
    champion = evidence.verdict["champion"]
    if champion is None:
        return f"No model of {evidence.target} is in service yet."
    return f"Version {champion['version']} stays."
