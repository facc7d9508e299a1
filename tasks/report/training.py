"""How training went: the curves of fine-tuning and of every method."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.records.training import CurveRow
from tasks.report import figures
from tasks.report.candidates import method_of
from tasks.report.dossier import Dossier

NOT_A_LOSS = ("step", "loss", "_accuracy", "_kept", "_changed")
"""How columns of a training curve end that are no target loss."""


@dataclass(frozen=True)
class FinetuningView:
    """Fine-tuning on the source; None for what was not measured."""

    plot: figures.LinePlot | None
    accuracy: float | None


@dataclass(frozen=True)
class MethodCurves:
    """The training curves of one method, over all its seeds."""

    preset: str
    is_selected: bool
    names: list[str]
    source: figures.LinePlot | None
    target: figures.LinePlot | None
    losses: list[str]
    discriminator: figures.LinePlot | None


def finetuning_view(dossier: Dossier) -> FinetuningView:
    """The curve of fine-tuning, and the accuracy that it reached on the source's validation split."""
    rows = dossier.finetuning.steps
    plot = figures.line_plot([_curve(rows, "loss", name="loss")]) if rows else None
    return FinetuningView(plot, dossier.finetuning.accuracy_validation)


def method_curves(dossier: Dossier) -> list[MethodCurves]:
    """The training curves of every method: source loss, target losses, discriminator; one dash per seed."""
    methods: dict[str, list[str]] = {}
    for row in dossier.trained.candidates:
        if row.seed is None:  # it was not trained
            continue
        methods.setdefault(method_of(row), []).append(row.name)
    source = {method: [_curve(dossier.curves[name], "source_loss", name=name, dash=i)
                       for i, name in enumerate(names)] for method, names in methods.items()}  # fmt: skip
    # One scale for all source losses, so that they can be compared by eye.
    shared = figures.value_range(figures.thin(curve for curves in source.values() for curve in curves))
    return [
        MethodCurves(
            preset=method,
            is_selected=dossier.selected in names,
            names=names,
            source=figures.line_plot(source[method], y_range=shared),
            target=figures.line_plot(_target_curves(dossier, names)),
            losses=_loss_names(dossier, names),
            discriminator=figures.line_plot(
                _discriminator_curves(dossier, names), y_range=(0.0, 1.0), reference=0.5
            ),
        )
        for method, names in methods.items()
    ]


def _columns(dossier: Dossier, names: Sequence[str]) -> list[str]:
    return list({key: None for name in names for row in dossier.curves[name][:1] for key in row})


def _loss_names(dossier: Dossier, names: Sequence[str]) -> list[str]:
    return [key for key in _columns(dossier, names) if not key.endswith(NOT_A_LOSS)]


def _target_curves(dossier: Dossier, names: Sequence[str]) -> list[figures.Curve]:
    return [
        _curve(dossier.curves[name], loss, name=f"{loss}, {name}", colour=colour, dash=dash)
        for colour, loss in enumerate(_loss_names(dossier, names))
        for dash, name in enumerate(names)
    ]


def _discriminator_curves(dossier: Dossier, names: Sequence[str]) -> list[figures.Curve]:
    suffix = "_discriminator_accuracy"
    asked = [key for key in _columns(dossier, names) if key.endswith(suffix)]
    return [
        _curve(
            dossier.curves[name], key, name=f"{key.removesuffix(suffix)}, {name}", colour=colour, dash=dash
        )
        for colour, key in enumerate(asked)
        for dash, name in enumerate(names)
    ]


def _curve(rows: Sequence[CurveRow], key: str, *, name: str, colour: int = 0, dash: int = 0) -> figures.Curve:
    return figures.Curve(
        name, tuple(row["step"] for row in rows), tuple(row.get(key) for row in rows), colour, dash
    )
