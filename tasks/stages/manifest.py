"""Stage `manifest`: one row per file found in a domain folder, and what is known about it.

In:  data/<domain>; ``kind``, its section, and ``split``.
Out: manifest.parquet, sorted by (sha256, path); manifest.json, the counts and digests.

Every file is in the manifest: usable (``ok``) or left out (``quarantined``) with the reason. Its place in the
folder says what it is for (:mod:`tasks.domains.places`), its content or its group (:mod:`tasks.domains.groups`) which
split it is in (:mod:`tasks.domains.splits`).
"""

import hashlib
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from tasks.config.params import Params
from tasks.domains.contract import Reader, UnreadableExample
from tasks.domains.groups import group_rows
from tasks.domains.kinds import reader_of
from tasks.domains.places import (
    Place,
    check_classes,
    check_layout,
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
    found = reader.find(data)
    places = [
        place_in_source(file) if domain == "source" else place_in_target(file, reader.plural)
        for file in found
    ]
    way = params.split.group_by
    rows = group_rows(measure(places, data, reader), scene_folders(places), way, reader, domain=domain)
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
    """One row per place, in the same order; splits and labels are still missing."""

    def measure_one(place: Place) -> Row:
        if place.reason is not None:
            return Row(place.path, "quarantined", place.reason)
        return measure_file(folder / place.path, place.path, reader)

    with ThreadPoolExecutor(
        len(os.sched_getaffinity(0))
    ) as pool:  # decoders and hashlib release the interpreter lock
        return list(pool.map(measure_one, places))


def measure_file(file: Path, path: str, reader: Reader) -> Row:
    """The row of one file, which is read once for its size, hash and measures."""
    try:
        content = reader.load(file)
    except UnreadableExample as error:
        return Row(path, "quarantined", error.reason)
    read = Row(path, "ok", sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
    try:
        measured = reader.measure(content)
    except UnreadableExample as error:
        return replace(read, status="quarantined", reason=error.reason)
    return replace(read, note=measured.note, measures=measured.measures)
