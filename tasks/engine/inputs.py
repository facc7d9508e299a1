"""The inputs that every candidate of a target is trained from."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from tasks.config.params import Params
from tasks.config.sections.presets import CoralAlign, SubspaceAlign
from tasks.engine.plans import is_source_free
from tasks.engine.rows import DomainRows, labelled_split
from tasks.engine.trainer import LabelledRows
from tasks.errors import BadInput
from tasks.models.alignment import Maps, linear_coral, subspace_alignment
from tasks.records.features import Kind, read_features
from tasks.records.manifest import LABELLED
from tasks.records.training import read_finetuning
from tasks.workspace import Workspace


@dataclass(frozen=True)
class Inputs:
    """The inputs from which every candidate of a target is trained."""

    params: Params
    source: DomainRows | None
    """``None`` where nothing may see the source."""
    target: DomainRows
    start: Path
    """The checkpoint of stage finetune."""
    classes: list[str]


def read_inputs(workspace: Workspace, params: Params, target: str) -> Inputs:
    """The files that earlier stages left for ``target``; without the source where every candidate does without.

    Raises:
        BadInput: A file is missing, or another version of acclimate wrote it.
    """
    return Inputs(
        params,
        None if is_source_free(params) else _read_source(workspace, target),
        DomainRows(read_features(workspace.stage("features", target))),
        workspace.stage("finetune") / "model.safetensors",
        list(read_finetuning(workspace.stage("finetune")).classes),
    )


def _read_source(workspace: Workspace, target: str) -> DomainRows:
    return DomainRows(
        read_features(workspace.stage("features", "source"), in_style=workspace.stage("views", target))
    )


def labelled_rows(inputs: Inputs, *, kind: Kind) -> LabelledRows | None:
    """The few target examples whose labels every candidate may learn from; ``None`` where there are none."""
    if not (inputs.target.index.split_N == LABELLED).any():
        return None
    return labelled_split(inputs.target, LABELLED, inputs.classes, kind=kind)


def aligned(inputs: Inputs, preset: str) -> Inputs:
    """``inputs`` whose features are read through the maps of a preset that aligns them.

    The maps are fitted on the rows that training sees, as they are: the source's train and the target's
    adapt split.

    Raises:
        BadInput: The maps do not fit the features.
    """
    align = inputs.params.adapt.presets[preset].align
    if align is None or inputs.source is None:
        return inputs
    try:
        maps = _maps(inputs.source, inputs.target, align)
    except ValueError as error:
        raise BadInput(
            f"params.yaml: adapt.presets.{preset}.align does not fit the features ({error}): change it, or leave"
            f" {preset} out of adapt.candidates"
        ) from error
    return replace(
        inputs,
        source=replace(inputs.source, affine=maps.source),
        target=replace(inputs.target, affine=maps.target),
    )


def _maps(source: DomainRows, target: DomainRows, align: SubspaceAlign | CoralAlign) -> Maps:
    source_SD, target_TD = (
        torch.cat(list(domain.rows(split).split(4096)))
        for domain, split in ((source, "train"), (target, "adapt"))
    )
    match align:
        case SubspaceAlign():
            return subspace_alignment(source_SD, target_TD, dimensions=align.dimensions)
        case CoralAlign():
            return linear_coral(source_SD, target_TD, ridge=align.ridge)
