"""The agreement that publishing a model requires: three verdicts, the record of its export and the model itself.

In:  results/{validate,gate,probe}/<target>/verdict.json, results/export/<target>/{model.onnx,export.json}.
Out: the bytes and the description of a version, or a refusal that names every disagreement.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from deploy.registry.history import judged, latest_verdicts
from deploy.registry.pointer import read_state
from deploy.registry.promote import barrier_of, objection_to
from deploy.registry.versions import (
    DataSaid,
    Described,
    GateSaid,
    ProbeSaid,
    Verdicts,
    find_version,
    read_version,
)
from tasks.errors import BadInput, Refused
from tasks.exported.session import OnnxModel, open_session
from tasks.files import sha256_of_file, sha256_of_lines
from tasks.records import data_checks, probe, verdict
from tasks.records.data_checks import DataChecked, read_data_checked
from tasks.records.export import JSON as EXPORT_JSON
from tasks.records.export import MODEL, Exported, read_exported
from tasks.records.probe import Probed, read_probed
from tasks.records.verdict import DataDigest, Judged, read_judged
from tasks.workspace import Workspace


@dataclass(frozen=True)
class Publication:
    """A model that may be published."""

    content: bytes
    """The ONNX bytes that all verdicts refer to."""
    described: Described


@dataclass(frozen=True)
class _Said:
    """Everything that the stages said about a model."""

    data: DataChecked
    gate: Judged
    probe: Probed
    export: Exported


def gather(workspace: Workspace, target: str) -> Publication:
    """The latest export of ``target`` and what the verdicts say about it.

    Raises:
        Refused: Two of them refer to different bytes or data, or data or probe did not pass.
        BadInput: A file is missing or is not what it should be.
    """
    model = workspace.stage("export", target) / MODEL
    if not model.is_file():
        raise BadInput(f"{model} does not exist. Run `acclimate run` to export it.")
    content = model.read_bytes()
    opened = open_session(content, device="cpu", threads=1)
    said = _read_said(workspace, target)
    faults = _disagreements(target, opened, said) + _refusals(said)
    if faults:
        raise Refused(
            f"cannot publish {model.name} for {target}: {'; '.join(faults)}."
            " Run `acclimate run`, so that all verdicts refer to the same bytes."
        )
    return Publication(content, _describe(workspace, target, opened, said))


def due(
    workspace: Workspace, target: str, *, auto_promote: Collection[str]
) -> Literal["publish", "promote"] | None:
    """The next thing to do with the latest result of ``target``, as far as state tells; nothing is changed.

    Args:
        workspace: Where.
        target: Its name.
        auto_promote: Verdicts that enter service without a person.

    Returns:
        None where there is no whole result, it is released as far as it may be, or only a person may go on.

    Raises:
        BadInput: A record or the registry of the target is damaged.
    """
    model = workspace.stage("export", target) / MODEL
    records = [workspace.stage(stage, target) / verdict.JSON for stage in ("validate", "gate", "probe")]
    if not all(path.is_file() for path in (model, model.with_name(EXPORT_JSON), *records)):
        return None
    said = _read_said(workspace, target)
    if not _agree(said):
        return None
    state = read_state(workspace, target)
    version = find_version(workspace, target, said.export.model_sha256)
    if version is None or judged(state.history, version)[-1:] != [_verdicts(workspace, target, said)]:
        return "publish"
    if said.gate.verdict not in auto_promote or (state.champion and state.champion.version == version):
        return None
    record = read_version(workspace, target, version)
    gate = latest_verdicts(record, state.history).gate
    stops = barrier_of(target, record, state, automatic=True) or objection_to(
        target, version, gate, state, allow_provisional="provisional" in auto_promote
    )
    return None if stops else "promote"


def _agree(said: _Said) -> bool:
    """Whether the records refer to the same model and data, and allow it to be published; a run mends what does not."""
    return (
        said.gate.checkpoint_sha256 == said.export.checkpoint_sha256
        and said.probe.model_sha256 == said.export.model_sha256
        and said.gate.data_digest == said.data.data_digest
        and not _refusals(said)
    )


def _read_said(workspace: Workspace, target: str) -> _Said:
    return _Said(
        read_data_checked(workspace.stage("validate", target)),
        read_judged(workspace.stage("gate", target)),
        read_probed(workspace.stage("probe", target)),
        read_exported(workspace.stage("export", target)),
    )


def _disagreements(target: str, model: OnnxModel, said: _Said) -> list[str]:
    data, gate, probed, export = "the data verdict", "the gate verdict", "the probe verdict", EXPORT_JSON
    the_file, request = "model.onnx", "the request"
    checkpoint_sha256, metadata = model.metadata["checkpoint_sha256"], model.metadata
    combined = sha256_of_lines([said.data.data_digest.source, said.data.data_digest.target])
    judged_data, checked_data = _plain(said.gate.data_digest), _plain(said.data.data_digest)
    claims = [
        ("target", data, said.data.target, request, target),
        ("target", gate, said.gate.target, request, target),
        ("target", probed, said.probe.target, request, target),
        ("target", export, said.export.target, request, target),
        ("model_sha256", probed, said.probe.model_sha256, the_file, model.sha256),
        ("model_sha256", export, said.export.model_sha256, the_file, model.sha256),
        ("checkpoint_sha256", gate, said.gate.checkpoint_sha256, the_file, checkpoint_sha256),
        ("checkpoint_sha256", export, said.export.checkpoint_sha256, the_file, checkpoint_sha256),
        ("data_digest", gate, judged_data, data, checked_data),
        ("target", the_file, metadata["target"], request, target),
        ("data_digest", data, combined, the_file, metadata["data_digest"]),
    ]
    return [
        f"{key} of {who} is {found}, of {whose} it is {value}"
        for key, who, found, whose, value in claims
        if found != value
    ]


def _refusals(said: _Said) -> list[str]:
    faults = (("the data verdict", said.data), ("the probe verdict", said.probe))
    return [
        f"{name} did not pass ({'; '.join(one.reasons) or 'no reasons given'})"
        for name, one in faults
        if not one.passed
    ]


def _describe(workspace: Workspace, target: str, model: OnnxModel, said: _Said) -> Described:
    return Described(
        target=target,
        candidate=model.metadata["candidate"],
        model_sha256=model.sha256,
        checkpoint_sha256=model.metadata["checkpoint_sha256"],
        data_digest=said.data.data_digest.model_dump(),
        labels_digest=said.gate.labels_digest,
        answers_digest=said.gate.answers_digest,
        code_digest=model.metadata["code_digest"],
        classes=model.classes,
        acclimate_version=model.metadata["acclimate_version"],
        verdicts=_verdicts(workspace, target, said),
    )


def _verdicts(workspace: Workspace, target: str, said: _Said) -> Verdicts:
    kept = said.gate.model_dump(mode="json", include=set(GateSaid.model_fields))
    gate_sha256 = sha256_of_file(workspace.stage("gate", target) / verdict.JSON)
    return Verdicts(
        data=DataSaid(
            passed=True, sha256=sha256_of_file(workspace.stage("validate", target) / data_checks.JSON)
        ),
        gate=GateSaid.model_validate(kept | {"sha256": gate_sha256}),
        probe=ProbeSaid(
            passed=True,
            provider=said.probe.provider,
            sha256=sha256_of_file(workspace.stage("probe", target) / probe.JSON),
        ),
    )


def _plain(digest: DataDigest) -> str:
    return json.dumps(digest.model_dump())
