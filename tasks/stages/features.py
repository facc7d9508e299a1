"""Stage `features`: what training reads, computed once an image.

In:  data/<domain>, results/manifest/<domain>.
Out: index.parquet with sha256, split and label; info.json; and one row an image of

     inputs.npy       float32 features of the frozen backbone (routes ``cached`` and ``deeper``), or uint8
                      pixels resized to the square (route ``end_to_end``)
     activations.npy  route ``deeper``: what enters the blocks that are trained. Of the images that training
                      sees, float16 (bfloat16 would be as small and eight times coarser)
     judged.npy       route ``deeper``: the same in float32 of the images that judge a candidate, so that the
                      exported model repeats its answers

     <file>.mirror.npy is the same of mirrored images, <file>.<view>.npy of the source redrawn; both of all
     images of inputs.npy and activations.npy. The source in the style of a target: stage `views`.
     <file>.rot90.npy, .rot180 and .rot270 are of turned images, of a target's adapt split alone, where
     ``features.rotations`` asks for them.

Of a target only the labels of its split ``labelled`` leave the manifest here: what adapts cannot read
what it must not know.

Shape suffixes: N = images, S = side in px, 3 = colour channels, D = feature width.
"""

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from tasks.config.params import Params
from tasks.domains.image.reader import load_square
from tasks.domains.image.views import SOURCE_VIEWS, TURNS
from tasks.engine.devices import training_device
from tasks.errors import BadInput
from tasks.files import atomic_file, write_json
from tasks.models.backbones.image import Backbone, build_backbone
from tasks.models.boundary import Front, cut
from tasks.records.manifest import LABELLED_SPLITS, TRAINED_SPLITS, read_examples, read_labels, read_summary
from tasks.workspace import Workspace

log = logging.getLogger(__name__)

BATCH = 64
LARGEST_DEEPER_PX = 160
"""Larger images make the deeper route on a CPU a matter of an hour instead of minutes."""

Redraw = Callable[[np.ndarray], np.ndarray]
Append = Callable[[np.ndarray], None]
AppendSeen = Callable[[str, Mapping[str, np.ndarray]], None]


def run(workspace: Workspace, params: Params, domain: str) -> None:
    """Write the training inputs of one domain."""
    manifest = workspace.stage("manifest", domain)
    examples = read_examples(manifest)
    paths = [workspace.data(domain) / example.path for example in examples]
    backbone = build_frozen(params)
    route = resolve_route(params, backbone)
    folder = workspace.stage("features", domain)
    views = views_of(params, domain, mirror=params.features.mirror and route.name != "end_to_end")
    look = observer(backbone, route)
    is_trained_N = np.array([example.split in TRAINED_SPLITS for example in examples], dtype=bool)
    is_adapted_N = np.array([example.split == "adapt" for example in examples], dtype=bool)
    turns = TURNS if params.features.rotations and domain != "source" and route.name != "end_to_end" else {}
    all_adapted_N = np.ones(is_adapted_N.sum(), dtype=bool)
    with seen_files(folder, is_trained_N) as append, seen_files(folder, all_adapted_N) as append_turned:
        for start in range(0, len(paths), BATCH):
            batch = slice(start, start + BATCH)
            pixels_NSS3 = read_pixels(
                paths[batch], size_px=params.images.size_px, max_pixels=params.images.max_pixels
            )
            for view, redraw in views.items():
                append(view, look(redraw(pixels_NSS3), is_trained_N[batch]))
            adapted_NSS3 = pixels_NSS3[is_adapted_N[batch]]
            for name, turn in turns.items() if len(adapted_NSS3) else ():
                append_turned(name, look(turn(adapted_NSS3).copy(), np.ones(len(adapted_NSS3), dtype=bool)))

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
            "size_px": params.images.size_px,
            "rows": len(examples),
            "data_digest": read_summary(manifest).data_digest,
            "backbone_sha256": None if route.name == "end_to_end" else parameters_sha256(backbone),
        },
    )
    log.info("features %s: %d images, route %s (%s)", domain, len(examples), route.name, route.reason)


def build_frozen(params: Params) -> Backbone:
    """The backbone as it is before anything is trained."""
    torch.manual_seed(params.finetune.seed)  # decides the weights only under `weights: none`
    return build_backbone(params.model, size_px=params.images.size_px)


@dataclass(frozen=True)
class Route:
    """How a run trains, and why so."""

    name: str
    reason: str
    front: Front | None
    """What is run once an image on route deeper."""


def resolve_route(params: Params, backbone: Backbone) -> Route:
    """The route that params.yaml names, or the one that ``auto`` comes to on this machine.

    Raises:
        BadInput: The backbone cannot be cut where ``features.trained_blocks`` says.
    """
    asked, size_px = params.features.route, params.images.size_px
    if asked != "auto":
        return route_named(asked, "as params.yaml says", params, backbone)
    if params.model.weights == "none":
        return Route("end_to_end", "auto: nothing is pretrained, so there is nothing to freeze", None)
    if training_device().type == "cuda" and params.finetune.scope != "head":
        return Route("end_to_end", "auto: there is a GPU", None)
    if size_px > LARGEST_DEEPER_PX and training_device().type == "cpu":
        return Route(
            "cached",
            f"auto: {size_px} px is above {LARGEST_DEEPER_PX} px, too much for blocks on a CPU",
            None,
        )
    try:
        reason = (
            f"auto: {size_px} px on {training_device().type}, so the last blocks can be trained in minutes"
        )
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
        front, _ = cut(
            backbone, last_k=params.features.trained_blocks, size_px=params.images.size_px, name=params.model.backbone
        )  # fmt: skip
    return Route(name, reason, front)


def views_of(params: Params, domain: str, *, mirror: bool) -> Mapping[str, Redraw]:
    """What is kept of every image: itself under the empty name, mirrored, and the source redrawn."""
    views: dict[str, Redraw] = {"": lambda pixels: pixels}
    if mirror:
        views["mirror"] = lambda pixels: pixels[:, :, ::-1].copy()
    if domain == "source":
        views |= {name: SOURCE_VIEWS[name] for name in params.features.views if name in SOURCE_VIEWS}
    return views


def read_pixels(paths: Sequence[Path], *, size_px: int, max_pixels: int) -> np.ndarray:
    """Images as uint8 ``(N, S, S, 3)``, in the order of ``paths``."""
    pixels_NSS3 = np.empty((len(paths), size_px, size_px, 3), dtype=np.uint8)

    def read(row: int) -> None:
        pixels_NSS3[row] = load_square(paths[row], size_px=size_px, max_pixels=max_pixels)

    with ThreadPoolExecutor() as pool:  # Pillow decodes without holding the interpreter lock
        list(pool.map(read, range(len(paths))))
    return pixels_NSS3


def observer(backbone: Backbone, route: Route) -> Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]:
    """What the route keeps of a batch of pixels, by file, given which of them training sees."""
    if route.name == "end_to_end":
        return lambda pixels_NSS3, is_trained_N: {"inputs": pixels_NSS3}
    device = training_device()
    backbone.eval().to(device)

    @torch.inference_mode()
    def look(pixels_NSS3: np.ndarray, is_trained_N: np.ndarray) -> dict[str, np.ndarray]:
        images_NSS3 = torch.from_numpy(pixels_NSS3).to(device)
        if route.front is None:
            return {"inputs": backbone(images_NSS3).float().cpu().numpy()}
        activations, features_ND = route.front(images_NSS3)
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
