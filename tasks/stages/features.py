"""Stage `features`: everything that training reads of a domain, computed once per example.

In:  data/<domain>, results/manifest/<domain>.
Out: results/features/<domain>; :mod:`tasks.records.features` says which file holds what.

Besides the examples as they are, these views are kept of those that training reads: ``mirror``, mirrored; those of
``features.views`` that need no target, of the source alone (those in the style of a target: stage `views`); and
``rot90``, ``rot180`` and ``rot270``, turned, of a target's adapt split alone, where ``features.rotations`` asks for them.

The backbone runs in bfloat16 for what training reads, where ``features.precision`` and the machine allow it: that is
twice as fast. For examples that judge a candidate it runs in float32, as it is served.

Only the labels of a target's split ``labelled`` leave the manifest here: what adapts cannot read
what it must not know.

Shape suffixes: N = examples, X = the axes of one, as its input spec has them.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tasks.config.params import Params
from tasks.domains.batch import read_batch
from tasks.domains.contract import Reader, Redraw, Views
from tasks.domains.kinds import reader_of
from tasks.domains.redrawn import check_views
from tasks.engine.frozen import BATCH, Look, Observer, build_frozen, observer, parameters_sha256
from tasks.engine.routes import resolve_precision, resolve_route
from tasks.records.features import JUDGED, FeaturesInfo, Kind, seen_files, write_index, write_info
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


def run(workspace: Workspace, params: Params, domain: str) -> None:
    """Write the training inputs of one domain.

    Raises:
        ConfigError: The kind cannot be redrawn as ``params.features`` asks.
    """
    check_views(params)
    manifest, folder = workspace.stage("manifest", domain), workspace.stage("features", domain)
    examples, reader = read_examples(manifest), reader_of(params)
    backbone = build_frozen(params)
    route = resolve_route(params, backbone)
    precision = resolve_precision(params, route)
    is_redrawn = route.name != "end_to_end"
    views = views_of(params, domain, reader.views, mirror=params.features.mirror and is_redrawn)
    is_turned = params.features.rotations and domain != "source" and is_redrawn
    _look_at_all(
        examples,
        workspace.data(domain),
        folder,
        reader=reader,
        looks=observer(backbone, route, precision),
        views=views,
        turns=reader.views.turns if is_turned else {},
    )
    write_index(folder, examples, read_labels(manifest, splits=LABELLED_SPLITS))
    info = FeaturesInfo(
        route=route.name,
        route_reason=route.reason,
        precision=precision,
        views=tuple(sorted(name for name in views if name)),
        shape=reader.spec.shape,
        rows=len(examples),
        data_digest=read_summary(manifest).data_digest,
        backbone_sha256=None if route.name == "end_to_end" else parameters_sha256(backbone),
    )
    write_info(folder, info)
    log.info(
        "features %s: %d examples, route %s (%s), in %s",
        domain,
        len(examples),
        route.name,
        route.reason,
        precision,
    )


def views_of(params: Params, domain: str, views: Views, *, mirror: bool) -> Mapping[str, Redraw]:
    """The views that are kept of an example that training reads: itself under the empty name, mirrored, and the source redrawn."""
    kept: dict[str, Redraw] = {"": lambda inputs: inputs}
    if mirror and views.mirror:
        kept["mirror"] = views.mirror
    if domain == "source":
        kept |= {name: views.source[name] for name in params.features.views if name in views.source}
    return kept


def _look_at_all(
    examples: Sequence[Example],
    data: Path,
    folder: Path,
    *,
    reader: Reader,
    looks: Observer,
    views: Mapping[str, Redraw],
    turns: Mapping[str, Redraw],
) -> None:
    """Write the arrays that are kept of all examples: the trained ones in ``views``, and of the adapt split in ``turns``."""
    paths = [data / example.path for example in examples]
    is_trained_N = np.array([example.split in TRAINED_SPLITS for example in examples], dtype=bool)
    is_adapted_N = np.array([example.split == "adapt" for example in examples], dtype=bool)
    num_trained, num_adapted = int(is_trained_N.sum()), int(is_adapted_N.sum())
    with (
        seen_files(folder, num_trained) as append,
        seen_files(folder, len(examples) - num_trained, prefix=JUDGED) as append_judged,
        seen_files(folder, num_adapted) as append_turned,
    ):
        for start in range(0, len(paths), BATCH):
            batch = slice(start, start + BATCH)
            inputs_NX = read_batch(reader, paths[batch])
            for view, redraw in views.items():
                append(view, _seen(looks.trained, redraw(inputs_NX), is_trained_N[batch]))
            append_judged("", _seen(looks.judged, inputs_NX, ~is_trained_N[batch]))
            adapted_NX = inputs_NX[is_adapted_N[batch]]
            for name, turn in turns.items() if len(adapted_NX) else ():
                append_turned(name, looks.trained(turn(adapted_NX).copy()))


def _seen(look: Look, inputs_NX: np.ndarray, is_kept_N: np.ndarray) -> Mapping[Kind, np.ndarray]:
    """The arrays that are kept of some of a batch; of none, arrays of the same shapes without a row."""
    if is_kept_N.any():
        return look(inputs_NX[is_kept_N])
    return {kind: array[:0] for kind, array in look(inputs_NX[:1]).items()}
