"""Stage `export`: the selected candidate as one ONNX file that needs nothing but an example as its reader gives it.

In:  results/gate/<target>/{selection,calibration}.json, results/adapt/<target>/<candidate>, the manifests and
     the examples of the target's test (else select) split.
Out: model.onnx, export.json.

The exported model is the one that was judged: its preprocessing is inside the graph, probabilities agree
with torch at several batch sizes, and the task metric is the same on the exported file. Biases of known class shares
and the temperature are in the graph too, so that no client has to know of them. The same inputs give the same bytes
in any folder: no time, path or commit is written.
"""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from tasks.config.params import Params
from tasks.domains.batch import read_batch
from tasks.domains.contract import InputSpec
from tasks.domains.kinds import metadata_of, reader_of
from tasks.engine.frozen import parameters_sha256
from tasks.errors import BadInput, Fault
from tasks.exported.possible import POSSIBLE_KEY, Possible
from tasks.exported.session import ASKED_AT_ONCE, OUTPUTS, OnnxModel, open_session, predict
from tasks.files import sha256_of_file, sha256_of_lines, write_bytes
from tasks.models.backbones.backbone import Backbone
from tasks.models.backbones.build import build_backbone
from tasks.models.boundary import Tail, cut, join
from tasks.models.checkpoint import Network, build_network, load_checkpoint, read_form
from tasks.models.size import check_size
from tasks.provenance import acclimate_version, code_digest
from tasks.records.calibration import Calibration, read_calibration
from tasks.records.candidates import Split, read_candidates, read_split
from tasks.records.export import MODEL, Exported, Metric, Parity, write_exported
from tasks.records.features import read_info
from tasks.records.manifest import read_examples, read_labels, read_summary
from tasks.records.selection import read_selected
from tasks.workspace import Workspace

log = logging.getLogger(__name__)

PARITY_BATCHES = (1, 7, 32)


def run(workspace: Workspace, params: Params, target: str) -> None:
    """Export the candidate that the gate selected for ``target`` and prove it equal to what was judged."""
    selected = read_selected(workspace.stage("gate", target))
    candidate = workspace.stage("adapt", target) / selected.candidate
    checkpoint_sha256 = sha256_of_file(candidate / "model.safetensors")
    if checkpoint_sha256 != selected.checkpoint_sha256:
        raise Fault(
            f"{candidate / 'model.safetensors'} has sha256 {checkpoint_sha256}, but the gate selected"
            f" {selected.checkpoint_sha256}. Run `acclimate run` to judge it again."
        )
    calibration = _calibration_of(workspace.stage("gate", target), checkpoint_sha256)
    network, classes = load_selected(workspace, params, candidate)
    spec = reader_of(params).spec
    metadata = {
        "acclimate_version": acclimate_version(),
        "target": target,
        "classes": json.dumps(classes, ensure_ascii=False),
        **metadata_of(spec),
        POSSIBLE_KEY: Possible(calibration.threshold, calibration.coverage, calibration.basis).to_json(),
        "candidate": selected.candidate,
        "checkpoint_sha256": checkpoint_sha256,
        "data_digest": _data_digest(workspace, target),
        "code_digest": code_digest("tasks.stages.adapt"),
    }
    content = export_onnx(
        network, spec, opset=params.export.opset, metadata=metadata, calibration=calibration
    )

    exported = open_session(content, device="cpu")
    paths, split = _examples_of(workspace, target)
    parity = _check_parity(exported, Served(network, calibration), paths, params)
    said_N = _said_by_torch(candidate, split, calibration)
    labels_N = _labels(workspace, target, split, exported.classes)
    metric = _check_metric(exported, paths, said_N, labels_N, split=split, params=params)

    folder = workspace.stage("export", target)
    write_bytes(folder / MODEL, content)
    exported_as = Exported(
        target=target, candidate=selected.candidate, checkpoint_sha256=checkpoint_sha256,
        model_sha256=exported.sha256, data_digest=metadata["data_digest"], classes=tuple(classes),
        parity=parity, metric=metric, opset=params.export.opset,
    )  # fmt: skip
    write_exported(folder, exported_as)
    log.info("export %s: %s, %d bytes, %s", target, selected.candidate, len(content), exported_as.metric)


def load_selected(workspace: Workspace, params: Params, candidate: Path) -> tuple[Network, list[str]]:
    """The candidate as one network from the arrays of its input spec to logits, in evaluation mode, and its class names.

    Raises:
        Fault: The backbone's weights are not those that the features were computed with.
    """
    torch.manual_seed(
        params.finetune.seed
    )  # as in `features`: decides a frozen backbone under `weights: none`
    recorded = read_candidates(candidate.parent)
    (route,) = (row.route for row in recorded.candidates if row.name == candidate.name)
    backbone = build_backbone(params.model, reader_of(params).spec)
    if route != "end_to_end":
        judged = read_info(workspace.stage("features", "source")).backbone_sha256
        if (found := parameters_sha256(backbone)) != judged:
            raise Fault(
                f"the weights of {params.model.backbone} changed since the features were computed: sha256 {found},"
                f" expected {judged}. Run `acclimate run` to compute them again."
            )

    def trained() -> Backbone | Tail:
        if route == "end_to_end":
            return build_backbone(params.model, reader_of(params).spec)
        return cut(backbone, last_k=params.features.trained_blocks, name=params.model.backbone)[1]

    path = candidate / "model.safetensors"
    model = build_network(read_form(path), num_classes=len(recorded.classes), make_backbone=trained)
    load_checkpoint(path, model)
    if isinstance(model.backbone, Tail):
        join(backbone, model.backbone)
    if route != "end_to_end":
        model.backbone = backbone
    model.eval()
    return model, list(recorded.classes)


def _calibration_of(folder: Path, checkpoint_sha256: str) -> Calibration:
    calibration = read_calibration(folder)
    if calibration.checkpoint_sha256 != checkpoint_sha256:
        raise Fault(
            f"{folder} calibrates the checkpoint {calibration.checkpoint_sha256}, but selected {checkpoint_sha256}."
            " Run `acclimate run` to judge it again."
        )
    return calibration


class Served(nn.Module):
    """The network as it is put in service: examples in; logits, probabilities and features out.

    Args:
        network: From examples to logits.
        calibration: Biases and temperature of its logits; ``None`` leaves them as they are.
    """

    bias_C: Tensor
    temperature: Tensor

    def __init__(self, network: Network, calibration: Calibration | None) -> None:
        super().__init__()
        self.network = network
        bias, temperature = (calibration.bias, calibration.temperature) if calibration else (None, 1.0)
        self.register_buffer("bias_C", torch.tensor(bias or 0.0, dtype=torch.float32))
        self.register_buffer("temperature", torch.tensor(temperature, dtype=torch.float32))

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits and probabilities ``(N, C)`` and features ``(N, D)``."""
        outputs = self.network(inputs)
        logits_NC = (outputs.logits_NC + self.bias_C) / self.temperature
        return logits_NC, torch.softmax(logits_NC, dim=1), outputs.features_ND


def export_onnx(
    model: Network,
    spec: InputSpec,
    *,
    opset: int,
    metadata: dict[str, str],
    calibration: Calibration | None = None,
) -> bytes:
    """The bytes of an ONNX file with the input of ``spec`` and outputs ``logits``, ``probabilities`` and
    ``features``; the size of a batch is free.

    Args:
        model: From examples to logits.
        spec: The form of an example.
        opset: ONNX operator set.
        metadata: Written beside the graph.
        calibration: Biases and temperature that the graph adds; ``None`` for none.

    Raises:
        BadInput: The network is too large for a file, or the exporter cannot write it with this operator set.
        Fault: The exporter fixed the batch size.
    """
    served = Served(model, calibration).eval()
    check_size(served, f"the model of {metadata['target']}")
    # A batch above one: the exporter takes a dimension of one for a constant.
    example = torch.from_numpy(spec.zeros(2))
    program: Any = torch.onnx.export(
        served,
        (example,),
        dynamo=True,
        input_names=[spec.name],
        output_names=list(OUTPUTS),
        dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=4096)},),
        opset_version=opset,
        external_data=False,
        verbose=False,
    )
    proto: onnx.ModelProto = program.model_proto
    if not proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise Fault(
            f"the exporter fixed the batch size of {type(model).__name__}; report this with your backbone's name"
        )
    written = {one.version for one in proto.opset_import if one.domain == ""}
    if written != {opset}:
        raise BadInput(
            f"{type(model).__name__} cannot be written with export.opset {opset}: the file has operator set"
            f" {', '.join(map(str, sorted(written)))}. Set export.opset in params.yaml to that."
        )
    strip_metadata(proto)
    for key, value in sorted(metadata.items()):
        proto.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(proto)
    return proto.SerializeToString(deterministic=True)


def strip_metadata(proto: onnx.ModelProto) -> None:
    """Remove what the exporter notes beside the graph: stack traces with absolute source paths, scopes, docs.

    They leak the machine and make the same model differ in bytes from folder to folder.
    """
    del proto.metadata_props[:]
    proto.doc_string = ""
    _strip_graph(proto.graph)
    for function in proto.functions:
        del function.metadata_props[:]
        function.doc_string = ""
        _strip_nodes(function.node)
        for value in function.value_info:
            _strip_value(value)


def _strip_graph(graph: onnx.GraphProto) -> None:
    del graph.metadata_props[:]
    graph.doc_string = ""
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        _strip_value(value)
    _strip_nodes(graph.node)


def _strip_nodes(nodes: Any) -> None:
    for node in nodes:
        del node.metadata_props[:]
        node.doc_string = ""
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _strip_graph(attribute.g)
            for graph in attribute.graphs:
                _strip_graph(graph)


def _strip_value(value: Any) -> None:
    del value.metadata_props[:]
    value.doc_string = ""


def _data_digest(workspace: Workspace, target: str) -> str:
    manifests = (workspace.stage("manifest", domain) for domain in ("source", target))
    return sha256_of_lines([read_summary(manifest).data_digest for manifest in manifests])


def _examples_of(workspace: Workspace, target: str) -> tuple[list[Path], Split]:
    """Paths of the target's test split, or of its select split when everything else trains."""
    examples = read_examples(workspace.stage("manifest", target))
    split: Split = "test" if any(example.split == "test" for example in examples) else "select"
    return [workspace.data(target) / example.path for example in examples if example.split == split], split


def _check_parity(exported: OnnxModel, model: Served, paths: list[Path], params: Params) -> Parity:
    inputs_NX = read_batch(reader_of(params), [paths[i % len(paths)] for i in range(max(PARITY_BATCHES))])
    difference = 0.0
    for size in PARITY_BATCHES:
        with torch.inference_mode():
            expected = model(torch.from_numpy(inputs_NX[:size]))[1].numpy()
        difference = max(
            difference, float(np.abs(predict(exported, inputs_NX[:size]).probabilities - expected).max())
        )
    if not difference <= params.export.tolerance:
        raise Fault(
            f"the exported model differs from torch by {difference:.2e} in a probability, more than"
            f" export.tolerance {params.export.tolerance:.0e} of params.yaml; raise it only if you know why"
        )
    return Parity(
        batch_sizes=PARITY_BATCHES,
        max_probability_difference=float(f"{difference:.1e}"),
        tolerance=params.export.tolerance,
    )


def _check_metric(
    exported: OnnxModel,
    paths: list[Path],
    torch_N: np.ndarray,
    labels: np.ndarray | None,
    *,
    split: Split,
    params: Params,
) -> Metric:
    """The task metric of the exported file beside torch's: accuracy on labels, else agreement with torch."""
    reader = reader_of(params)
    parts = []
    for start in range(0, len(paths), ASKED_AT_ONCE):
        inputs_NX = read_batch(reader, paths[start : start + ASKED_AT_ONCE])
        parts.append(predict(exported, inputs_NX).probabilities.argmax(1))
    onnx_N = np.concatenate(parts)
    if labels is None:
        name, change = f"agreement on {split}", float((onnx_N == torch_N).mean()) - 1
    else:
        known, name = labels >= 0, f"accuracy on {split}"
        before, after = (float((said_N == labels)[known].mean()) for said_N in (torch_N, onnx_N))
        change = after - before
    if abs(change) > params.export.max_metric_change:
        raise Fault(
            f"{name} is {change:+.4f} for the exported model beside torch's, more than export.max_metric_change"
            f" {params.export.max_metric_change} of params.yaml allows"
        )
    return Metric(name=name, change=round(change, 6), n=len(paths))


def _said_by_torch(candidate: Path, split: Split, calibration: Calibration) -> np.ndarray:
    """The classes that were judged, by number."""
    said = read_split(candidate, split)
    if said is None:
        raise Fault(
            f"{candidate} says nothing about the {split} split. Run `acclimate run` to judge it again."
        )
    return calibration.apply(said.probabilities_NC).argmax(axis=1)


def _labels(workspace: Workspace, target: str, split: str, classes: tuple[str, ...]) -> np.ndarray | None:
    """Class numbers of a split, -1 where there is no label; ``None`` when no row has one."""
    manifest = workspace.stage("manifest", target)
    labels = read_labels(manifest, splits=[split])
    if not labels:
        return None
    unknown = sorted(set(labels.values()) - set(classes))
    if unknown:
        raise BadInput(f"hold-out labels {unknown} of {target} are not classes of the model {list(classes)}")
    numbers = {name: number for number, name in enumerate(classes)}
    hashes = [example.sha256 for example in read_examples(manifest) if example.split == split]
    return np.array([numbers[labels[sha256]] if sha256 in labels else -1 for sha256 in hashes])
