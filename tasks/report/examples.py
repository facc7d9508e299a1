"""The images of to_label.csv: those to label blind, and those whose labels counted.

A label is fresh evidence only as long as nobody who gives one knows what the models say. So no answer is shown beside an
image without a label, and beside none at all before the comparison is over: answers about one frame tell of the next.
"""

from dataclasses import dataclass

from tasks.records.to_label import Disagreement, ToLabel
from tasks.report.dossier import Dossier


@dataclass(frozen=True)
class Counted:
    """An image whose label counted, and what the models say about it."""

    disagreement: Disagreement
    label: str
    source_only: str
    selected: str
    change: str


def unlabelled_images(dossier: Dossier) -> list[ToLabel]:
    """The images worth labelling, in the order in which they are to be labelled."""
    return [line for line in dossier.to_label if not line.label]


def counted_images(dossier: Dossier) -> list[Counted]:
    """The images whose labels counted; none before the comparison is over."""
    sample = dossier.sample
    if sample is None or not dossier.is_over:
        return []
    before, after = (_answers(dossier, name) for name in (dossier.baseline, dossier.selected))
    rows = []
    for line in dossier.to_label[: sample.labelled]:
        image = line.disagreement.sha256
        if image in before and image in after:
            rows.append(
                Counted(
                    line.disagreement,
                    line.label,
                    before[image],
                    after[image],
                    _change(before[image] == line.label, after[image] == line.label),
                )
            )
    return rows


def _answers(dossier: Dossier, candidate: str) -> dict[str, str]:
    """The class that a candidate names, by SHA-256 of the image of the test split."""
    said = dossier.outputs.get(candidate, {}).get("test")
    if said is None:
        return {}
    classes = dossier.trained.classes
    numbers = said.predictions().tolist()
    return {image: classes[number] for image, number in zip(said.sha256_N, numbers, strict=True)}


def _change(was_right: bool, is_right: bool) -> str:
    if was_right != is_right:
        return "fixed" if is_right else "broken"
    return "right before and after" if is_right else "wrong before and after"
