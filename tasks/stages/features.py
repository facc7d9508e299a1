"""Stage `features`: what training reads, computed once per example.

In:  data/<domain>, results/manifest/<domain>.
Out: index.parquet with sha256, split and label; info.json; and one row per example of

     inputs.npy       float32 features of the frozen backbone (routes ``cached`` and ``deeper``), or the arrays
                      of the input spec (route ``end_to_end``)
     activations.npy  route ``deeper``: what enters the blocks that are trained. Of the examples that training
                      sees, float16 (bfloat16 would be as small and eight times coarser)
     judged.npy       route ``deeper``: the same in float32 of the examples that judge a candidate, so that the
                      exported model repeats its answers

     <file>.mirror.npy is the same of mirrored examples, <file>.<view>.npy of the source redrawn; both of all
     examples of inputs.npy and activations.npy. The source in the style of a target: stage `views`.
     <file>.rot90.npy, .rot180 and .rot270 are of turned examples, of a target's adapt split alone, where
     ``features.rotations`` asks for them.

Of a target only the labels of its split ``labelled`` leave the manifest here: what adapts cannot read
what it must not know.

Shape suffixes: N = examples, X = the axes of one, as its input spec has them, D = feature width.
"""

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from tasks.config.params import Params
from tasks.domains.batch import read_batch
from tasks.domains.contract import Redraw, Views
from tasks.domains.kinds import reader_of
from tasks.engine.devices import training_device
from tasks.errors import BadInput
from tasks.files import atomic_file, write_json
from tasks.models.backbones.backbone import Backbone
from tasks.models.backbones.build import build_backbone
from tasks.models.boundary import Front, cut
from tasks.records.manifest import LABELLED_SPLITS, TRAINED_SPLITS, read_examples, read_labels, read_summary
from tasks.workspace import Workspace

log = logging.getLogger(__name__)

BATCH = 64
Append = Callable[[np.ndarray], None]
AppendSeen = Callable[[str, Mapping[str, np.ndarray]], None]


def run(workspace: Workspace, params: Params, domain: str) -> None:
    """Write the training inputs of one domain."""
    manifest = workspace.stage("manifest", domain)
    examples = read_examples(manifest)
    paths = [workspace.data(domain) / example.path for example in examples]
    reader = reader_of(params)
    backbone = build_frozen(params)
    route = resolve_route(params, backbone)
    folder = workspace.stage("features", domain)
    views = views_of(
        params, domain, reader.views, mirror=params.features.mirror and route.name != "end_to_end"
    )
    look = observer(backbone, route)
    is_trained_N = np.array([example.split in TRAINED_SPLITS for example in examples], dtype=bool)
    is_adapted_N = np.array([example.split == "adapt" for example in examples], dtype=bool)
    is_turned = params.features.rotations and domain != "source" and route.name != "end_to_end"
    turns = reader.views.turns if is_turned else {}
    all_adapted_N = np.ones(is_adapted_N.sum(), dtype=bool)
    with seen_files(folder, is_trained_N) as append, seen_files(folder, all_adapted_N) as append_turned:
        for start in range(0, len(paths), BATCH):
            batch = slice(start, start + BATCH)
            inputs_NX = read_batch(reader, paths[batch])
            for view, redraw in views.items():
                append(view, look(redraw(inputs_NX), is_trained_N[batch]))
            adapted_NX = inputs_NX[is_adapted_N[batch]]
            for name, turn in turns.items() if len(adapted_NX) else ():
                append_turned(name, look(turn(adapted_NX).copy(), np.ones(len(adapted_NX), dtype=bool)))

    labels = read_labels(manifest, splits=LABELLED_SPLITS)
    index = pd.DataFrame(
        [(example.sha256, example.split, labels.get(example.sha256)) for example in examples],
        columns=["sha256", "split", "label"],
        dtype="str",
    )
    with atomic_file(folder / "index.parquet") as file:
        index.to_parquet(file, index=False)
    write_json(
        folder / "info.json",
        {
            "schema_version": 2,
            "route": route.name,
            "route_reason": route.reason,
            "views": sorted(name for name in views if name),
            "shape": list(reader.spec.shape),
            "rows": len(examples),
            "data_digest": read_summary(manifest).data_digest,
            "backbone_sha256": None if route.name == "end_to_end" else parameters_sha256(backbone),
        },
    )
    log.info("features %s: %d examples, route %s (%s)", domain, len(examples), route.name, route.reason)


def build_frozen(params: Params) -> Backbone:
    """The backbone as it is before anything is trained."""
    torch.manual_seed(params.finetune.seed)  # decides the weights only under `weights: none`
    return build_backbone(params.model, reader_of(params).spec)


@dataclass(frozen=True)
class Route:
    """How a run trains, and why so."""

    name: str
    reason: str
    front: Front | None
    """What is run once per example on route deeper."""


def resolve_route(params: Params, backbone: Backbone) -> Route:
    """The route that params.yaml names, or the one that ``auto`` comes to on this machine.

    Raises:
        BadInput: The backbone cannot be cut where ``features.trained_blocks`` says.
    """
    asked, sample, device = params.features.route, backbone.sample, training_device().type
    if asked != "auto":
        return route_named(asked, "as params.yaml says", params, backbone)
    if params.model.weights == "none":
        return Route("end_to_end", "auto: nothing is pretrained, so there is nothing to freeze", None)
    if device == "cuda" and params.finetune.scope != "head":
        return Route("end_to_end", "auto: there is a GPU", None)
    if sample.too_large and device == "cpu":
        return Route("cached", f"auto: {sample.too_large}, too much for blocks on a CPU", None)
    try:
        reason = f"auto: {sample.size} on {device}, so the last blocks can be trained in minutes"
        return route_named("deeper", reason, params, backbone)
    except BadInput as error:
        return Route("cached", f"auto: {error}", None)


def route_named(name: str, reason: str, params: Params, backbone: Backbone) -> Route:
    """The route ``name``, with its front where it has one.

    Raises:
        BadInput: The backbone cannot be cut where ``features.trained_blocks`` says.
    """
    front = None
    if name == "deeper":
        front, _ = cut(backbone, last_k=params.features.trained_blocks, name=params.model.backbone)
    return Route(name, reason, front)


def views_of(params: Params, domain: str, views: Views, *, mirror: bool) -> Mapping[str, Redraw]:
    """What is kept of every example: itself under the empty name, mirrored, and the source redrawn.

    Raises:
        BadInput: ``mirror`` is wanted of a kind that cannot be mirrored.
    """
    kept: dict[str, Redraw] = {"": lambda inputs: inputs}
    if mirror and views.mirror is None:
        raise BadInput(
            f"params.yaml: features.mirror is true, but kind {params.kind} has no mirror: set it to false."
        )
    if mirror and views.mirror:
        kept["mirror"] = views.mirror
    unknown = [name for name in params.features.views if name not in {*views.source, *views.target}]
    if unknown:
        raise BadInput(
            f"params.yaml: features.views {unknown} are no views of kind {params.kind}: leave them out."
        )
    if domain == "source":
        kept |= {name: views.source[name] for name in params.features.views if name in views.source}
    return kept


def observer(backbone: Backbone, route: Route) -> Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]:
    """What the route keeps of a batch of inputs, by file, given which of them training sees."""
    if route.name == "end_to_end":
        return lambda inputs_NX, is_trained_N: {"inputs": inputs_NX}
    device = training_device()
    backbone.eval().to(device)

    @torch.inference_mode()
    def look(inputs_NX: np.ndarray, is_trained_N: np.ndarray) -> dict[str, np.ndarray]:
        on_device_NX = torch.from_numpy(inputs_NX).to(device)
        if route.front is None:
            return {"inputs": backbone(on_device_NX).float().cpu().numpy()}
        activations, features_ND = route.front(on_device_NX)
        activations = activations.float().cpu()
        halves = activations[is_trained_N].half()
        if not torch.isfinite(halves).all():
            raise BadInput(
                f"params.yaml: {float(activations.abs().max()):.3g} enters the trained blocks, more than float16 holds:"
                " change features.trained_blocks, or set features.route to cached or end_to_end"
            )
        return {
            "inputs": features_ND.float().cpu().numpy(),
            "activations": halves.numpy(),
            "judged": activations[~is_trained_N].numpy(),
        }

    return look


@contextmanager
def seen_files(folder: Path, is_trained_N: np.ndarray) -> Iterator[AppendSeen]:
    """A function that appends what :func:`observer` kept of a batch to the files of a view of it.

    Args:
        folder: Where the files appear, when all rows are there.
        is_trained_N: Which images of the domain training sees.
    """
    lengths = {
        "inputs": len(is_trained_N),
        "activations": is_trained_N.sum(),
        "judged": (~is_trained_N).sum(),
    }
    files: dict[str, Append] = {}
    with ExitStack() as opened:

        def append(view: str, seen: Mapping[str, np.ndarray]) -> None:
            for kind, array in seen.items():
                if kind == "judged" and view:
                    continue
                name = f"{kind}.{view}.npy" if view else f"{kind}.npy"
                if name not in files:
                    file = rows_file(folder / name, num_rows=int(lengths[kind]))
                    files[name] = opened.enter_context(file)
                files[name](array)

        yield append


@contextmanager
def rows_file(path: Path, *, num_rows: int) -> Iterator[Append]:
    """A function that appends rows to an .npy file of ``num_rows`` rows, which appears when all are there.

    Activations of a large domain do not fit into memory.
    """
    with atomic_file(path) as file:

        def append(array: np.ndarray) -> None:
            if file.tell() == 0:
                header = {
                    "descr": array.dtype.str,
                    "fortran_order": False,
                    "shape": (num_rows, *array.shape[1:]),
                }
                np.lib.format.write_array_header_2_0(file, header)
            file.write(np.ascontiguousarray(array).tobytes())

        yield append


def parameters_sha256(module: torch.nn.Module) -> str:
    """SHA-256 over names and values of all parameters and statistics."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
