"""Stage `manifest`: one row per file found in a domain folder, and what is known about it.

In:  data/<domain>; the names of the class folders in data/source, of which data/classes.json tells DVC; ``kind``, its section, and
     ``split``.
Out: manifest.parquet, sorted by (sha256, path); manifest.json, the counts and digests.

Every file is in the manifest: usable (``ok``) or left out (``quarantined``) with the reason. Its place in the
folder says what it is for (:mod:`tasks.domains.places`), its content or its group (:mod:`tasks.domains.groups`) which
split it is in (:mod:`tasks.domains.splits`).
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from tasks.config.params import Params
from tasks.domains.contract import Reader
from tasks.domains.decoding.measuring import measure_files
from tasks.domains.decoding.pool import MeasuredFile
from tasks.domains.groups import group_rows
from tasks.domains.kinds import reader_of
from tasks.domains.places import (
    Place,
    check_classes,
    check_layout,
    class_names,
    classes_seen,
    place_in_source,
    place_in_target,
    scene_folders,
)
from tasks.domains.retired import read_retired
from tasks.domains.splits import (
    assign_source,
    assign_target,
    quarantine_contradictions,
    quarantine_copies,
    quarantine_scenes_of_holdout,
)
from tasks.records.manifest import Row, write_manifest
from tasks.workspace import Workspace

log = logging.getLogger(__name__)


def run(workspace: Workspace, params: Params, domain: str) -> None:
    """Write the manifest of one domain.

    Raises:
        BadInput: The domain folder is missing or not laid out as a source or a target, or a class
            of the source has no usable image.
    """
    data, reader = workspace.data(domain), reader_of(params)
    check_layout(data, domain, reader, known=params.domains)
    found, classes = reader.find(data), class_names(workspace.data("source"), reader)
    places = [
        place_in_source(file) if domain == "source" else place_in_target(file, reader.plural, classes)
        for file in found
    ]
    way = params.split.group_by
    rows = group_rows(
        measure(places, data, reader), scene_folders(places), way, reader, domain=domain, data=data
    )
    if domain == "source":
        rows = assign_source(rows, places, params.split)
    else:
        rows = assign_target(rows, places, params.split, read_retired(data))
    rows = quarantine_copies(quarantine_contradictions(rows, reader.noun))
    rows = quarantine_scenes_of_holdout(rows, places)
    if domain == "source":
        check_classes(rows, places, data, reader)
    folder = workspace.stage("manifest", domain)
    summary = write_manifest(
        folder,
        domain,
        rows,
        classes=classes_seen(places),
        measures=reader.measures,
        grouped=way is not None,
    )
    log.info(
        "manifest %s: %d files, %d usable, %d quarantined",
        domain, summary.rows, summary.ok, len(summary.quarantined),
    )  # fmt: skip
    if summary.groups is not None:
        log.info(
            "manifest %s: %d groups, the largest of %d", domain, summary.groups.num, summary.groups.largest
        )


def measure(places: Sequence[Place], folder: Path, reader: Reader) -> list[Row]:
    """One row per place, in the same order; splits and labels are still missing.

    Raises:
        Fault: The processes that decode cannot be started.
    """
    files = [place.path for place in places if place.reason is None]
    found = dict(zip(files, measure_files([folder / path for path in files], reader), strict=True))
    return [
        Row(place.path, "quarantined", place.reason)
        if place.reason is not None
        else _row(place, found[place.path])
        for place in places
    ]


def _row(place: Place, file: MeasuredFile) -> Row:
    if file.reason is not None:
        return Row(place.path, "quarantined", file.reason, sha256=file.sha256, bytes=file.bytes)
    note = "; ".join(filter(None, [place.note, file.note])) or None
    return Row(place.path, "ok", note=note, sha256=file.sha256, bytes=file.bytes, measures=file.measures)
