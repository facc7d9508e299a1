"""The feature maps: both domains in one plane, before adaptation and after."""

from dataclasses import dataclass

from tasks.report import figures
from tasks.report.dossier import Dossier


@dataclass(frozen=True)
class Picture:
    """The map of one candidate; None where there are too few features."""

    when: str
    role: str
    candidate: str
    map: figures.FeatureMap | None


def pictures(dossier: Dossier, max_points: int) -> list[Picture]:
    """The map of source-only and, where another candidate was selected, its own."""
    shown = [("Before", "source-only", dossier.baseline)]
    if not dossier.chose_source_only:
        shown.append(("After", "selected", dossier.selected))
    return [
        Picture(when, role, name, feature_map_of(dossier, name, max_points)) for when, role, name in shown
    ]


def feature_map_of(dossier: Dossier, candidate: str, max_points: int) -> figures.FeatureMap | None:
    """The plane of source validation and target select features of one candidate, at most ``max_points`` each.

    Rows are sorted by content hash, so the first ones are as good as drawn at random.
    """
    outputs = dossier.outputs.get(candidate, {})
    source, target = outputs.get("validation"), outputs.get("select")
    if source is None or target is None:
        return None
    return figures.feature_map(
        source.features_ND[:max_points],
        target.features_ND[:max_points],
        source_classes=source.predictions()[:max_points],
        target_classes=target.predictions()[:max_points],
        names=dossier.trained.classes,
    )
