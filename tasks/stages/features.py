"""Stage `features`: everything that training reads of a domain, computed once per image.

In:  data/<domain>, results/manifest/<domain>.
Out: results/features/<domain>; :mod:`tasks.records.features` says which file holds what.

Besides the images as they are, these views are kept: ``mirror``, mirrored; those of ``features.views`` that need
no target, of the source alone (those in the style of a target: stage `views`); and ``rot90``, ``rot180`` and
``rot270``, turned, of a target's adapt split alone, where ``features.rotations`` asks for them.

Of a target only the labels of its split ``labelled`` leave the manifest here: what adapts cannot read
what it must not know.

Shape suffixes: N = images, S = side in px, 3 = colour channels.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from tasks.config.params import Params
from tasks.domains.image.views import SOURCE_VIEWS, TURNS
from tasks.engine.frozen import build_frozen, observer, parameters_sha256
from tasks.engine.pixels import BATCH, read_pixels
from tasks.engine.routes import Route, resolve_route
from tasks.models.backbones.image import Backbone
from tasks.records.features import FeaturesInfo, seen_files, write_index, write_info
from tasks.records.manifest import (
    LABELLED_SPLITS,
    TRAINED_SPLITS,
    Example,
    read_examples,
    read_labels,
    read_summary,
)
from tasks.workspace import Workspace

log = logging.getLogger(__name__)

Redraw = Callable[[np.ndarray], np.ndarray]


def run(workspace: Workspace, params: Params, domain: str) -> None:
    """Write the training inputs of one domain."""
    manifest, folder = workspace.stage("manifest", domain), workspace.stage("features", domain)
    examples = read_examples(manifest)
    paths = [workspace.data(domain) / example.path for example in examples]
    backbone = build_frozen(params)
    route = resolve_route(params, backbone)
    views = views_of(params, domain, mirror=params.features.mirror and route.name != "end_to_end")
    turned = params.features.rotations and domain != "source" and route.name != "end_to_end"
    _look_at_all(
        folder,
        params,
        examples,
        paths,
        backbone=backbone,
        route=route,
        views=views,
        turns=TURNS if turned else {},
    )
    write_index(folder, examples, read_labels(manifest, splits=LABELLED_SPLITS))
    info = FeaturesInfo(
        route=route.name,
        route_reason=route.reason,
        views=tuple(sorted(name for name in views if name)),
        size_px=params.images.size_px,
        rows=len(examples),
        data_digest=read_summary(manifest).data_digest,
        backbone_sha256=None if route.name == "end_to_end" else parameters_sha256(backbone),
    )
    write_info(folder, info)
    log.info("features %s: %d images, route %s (%s)", domain, len(examples), route.name, route.reason)


def views_of(params: Params, domain: str, *, mirror: bool) -> Mapping[str, Redraw]:
    """The views that are kept of every image: itself under the empty name, mirrored, and the source redrawn."""
    views: dict[str, Redraw] = {"": lambda pixels: pixels}
    if mirror:
        views["mirror"] = lambda pixels: pixels[:, :, ::-1].copy()
    if domain == "source":
        views |= {name: SOURCE_VIEWS[name] for name in params.features.views if name in SOURCE_VIEWS}
    return views


def _look_at_all(
    folder: Path,
    params: Params,
    examples: Sequence[Example],
    paths: Sequence[Path],
    *,
    backbone: Backbone,
    route: Route,
    views: Mapping[str, Redraw],
    turns: Mapping[str, Redraw],
) -> None:
    look = observer(backbone, route)
    is_trained_N = np.array([example.split in TRAINED_SPLITS for example in examples], dtype=bool)
    is_adapted_N = np.array([example.split == "adapt" for example in examples], dtype=bool)
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
