"""Stage `views`: the source redrawn in the style of one target, as training reads it.

In:  data/{source,<target>}, results/manifest/{source,<target>}, the route from results/features/source.
Out: info.json and, for every view of params.yaml's features.views that needs a target,

     inputs.<view>.npy, activations.<view>.npy    as stage `features` writes them of the source's other views:
                                                  the images that training reads, in the same order

Each such image of the source takes the style of one image of the target's adapt split, drawn by the source image's
own hash: neither names nor the order of files matter. No other split of the target is opened and no label of
it read. Where no such view is asked for, no image is opened at all.
"""

import logging
from collections.abc import Sequence

import numpy as np

from tasks.config.params import Params
from tasks.domains.batch import read_batch
from tasks.domains.kinds import reader_of
from tasks.errors import BadInput
from tasks.records.features import ViewsInfo, read_info, seen_files, write_info
from tasks.records.manifest import TRAINED_SPLITS, read_examples, read_summary
from tasks.workspace import Workspace

log = logging.getLogger(__name__)


def run(workspace: Workspace, params: Params, target: str) -> None:
    """Write the source as ``target`` would have it."""
    names = [name for name in params.features.views if name in reader_of(params).views.target]
    if names:
        _redraw_source(workspace, params, target, names)
    manifests = (workspace.stage("manifest", domain) for domain in ("source", target))
    info = ViewsInfo(
        views=tuple(sorted(names)),
        data_digests=tuple(read_summary(manifest).data_digest for manifest in manifests) if names else (),
    )
    write_info(workspace.stage("views", target), info)
    log.info("views %s: %s", target, ", ".join(names) or "none asked for")


def _redraw_source(workspace: Workspace, params: Params, target: str, names: Sequence[str]) -> None:
    # Inside, because it loads torch, which costs more than all else where there is nothing to do.
    from tasks.engine.frozen import BATCH, build_frozen, observer
    from tasks.engine.routes import route_named

    source, styles = (read_examples(workspace.stage("manifest", domain)) for domain in ("source", target))
    source = [example for example in source if example.split in TRAINED_SPLITS]
    styles = [example for example in styles if example.split == "adapt"]
    if not styles:
        raise BadInput(
            f"params.yaml: features.views {list(names)} need examples of {target} to take their style from, but its"
            " adapt split is empty: raise split.target_adapt, add examples, or take these views out"
        )
    paths = [workspace.data("source") / example.path for example in source]
    style_paths = [workspace.data(target) / example.path for example in styles]
    style_N = draw_styles([example.sha256 for example in source], len(styles), seed=params.finetune.seed)

    backbone = build_frozen(params)
    kept = read_info(workspace.stage("features", "source"))
    route = route_named(kept.route, kept.route_reason, params, backbone)
    look = observer(backbone, route, kept.precision).trained
    reader = reader_of(params)
    with seen_files(workspace.stage("views", target), len(source)) as append:
        for start in range(0, len(paths), BATCH):
            batch = slice(start, start + BATCH)
            inputs_NX = read_batch(reader, paths[batch])
            styles_NX = read_batch(reader, [style_paths[number] for number in style_N[batch]])
            for name in names:
                append(name, look(reader.views.target[name](inputs_NX, styles_NX)))


def draw_styles(hashes: Sequence[str], num_styles: int, *, seed: int) -> np.ndarray:
    """Which of ``num_styles`` images each image takes its style from, shape ``(len(hashes),)``.

    A function of an image's own hash, the number of styles and the seed: not of the other images.
    """
    return np.array(
        [np.random.default_rng([seed, int(sha256, 16)]).integers(num_styles) for sha256 in hashes]
    )
