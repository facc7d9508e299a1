"""Ensembles of finished candidates: one voice per family, so that methods that err alike count once."""

from collections.abc import Sequence
from pathlib import Path

from tasks.config.sections.presets import Preset
from tasks.engine.inputs import Inputs
from tasks.engine.networks import build_backbone_of
from tasks.models.checkpoint import build_network, load_checkpoint, read_form
from tasks.models.ensemble import Ensemble
from tasks.records.candidates import MODEL, CandidateRecord


def weights_of(preset: Preset, candidates: Sequence[CandidateRecord]) -> dict[str, float]:
    """The weight of every candidate that has a voice, by name; they sum to 1.

    Families weigh alike, methods of a family alike, seeds of a method alike. A candidate that diverged has no voice. If
    all members of a family did, the other families share its weight.

    Args:
        preset: An ensemble.
        candidates: Those that are finished.
    """
    able = [one for one in candidates if one.status == "trained" and one.route != "deeper"]
    families = []
    for family in preset.voices:
        methods = [[one.name for one in able if one.preset == name] for name in family]
        families.append([seeds for seeds in methods if seeds])
    families = [methods for methods in families if methods]
    return {
        name: 1 / len(families) / len(methods) / len(seeds)
        for methods in families
        for seeds in methods
        for name in seeds
    }


def join_voices(folder: Path, weights: dict[str, float], inputs: Inputs) -> Ensemble:
    """The candidates below ``folder`` that ``weights`` names, as one network in evaluation mode."""
    voices = []
    for name in weights:
        path = folder / name / MODEL
        voice = build_network(
            read_form(path),
            num_classes=len(inputs.classes),
            make_backbone=lambda: build_backbone_of(inputs.params),
        )
        load_checkpoint(path, voice)
        assert not isinstance(voice, Ensemble), "no ensemble is a voice of another"
        voices.append(voice)
    ensemble = Ensemble(None, voices, list(weights.values()))
    ensemble.eval()
    return ensemble
