"""The manifest of a domain: one row per file found (manifest.parquet), and its summary (manifest.json).

Every reader of the two files is here, so that each loads what it may see and no more: :func:`read_examples`,
:func:`read_files` and :func:`read_groups` never load a label, :func:`read_labels` loads those of the splits it is
asked for.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

from tasks.errors import BadInput
from tasks.files import sha256_of_lines, write_bytes
from tasks.records.record import Part, Record, check_version, read_record, write_record

PARQUET = "manifest.parquet"
JSON = "manifest.json"
ROWS_VERSION = 2
"""Schema version of manifest.parquet; it stands in its metadata."""

SOURCE_SPLITS = ("train", "validation")
TARGET_SPLITS = ("adapt", "select", "test")
LABELLED = "labelled"
"""Split of the target examples that training sees with their labels; most targets have none."""

TRAINED_SPLITS = ("train", "adapt", LABELLED)
"""Splits of the source and of a target that training sees; the examples of all other splits judge."""

LABELLED_SPLITS = ("train", "validation", LABELLED)
"""Splits whose labels training may read; a target's hold-out is not among them."""

DUPLICATE = "duplicate of "
"""How the reason of a left-out exact copy starts."""

BESIDE_HOLDOUT = "same group as "
"""How the reason starts for an example that training could see, left out for its group's part in the hold-out."""

Measure = int | float | str | None
_VERSION_KEY = b"acclimate.schema_version"
_COLUMNS = {
    "path": str,
    "status": str,
    "reason": str,
    "note": str,
    "label": str,
    "split": str,
    "sha256": str,
    "bytes": int,
    "group": str,
}


@dataclass(frozen=True)
class Row:
    """One file of a domain."""

    path: str
    """POSIX, relative to data/<domain>."""
    status: Literal["ok", "quarantined"]
    reason: str | None = None
    """Why it is quarantined."""
    note: str | None = None
    """Conversions and decisions, joined by ``"; "``."""
    label: str | None = None
    """Class name in the source and in a target's splits ``test`` and ``labelled``; elsewhere None, whatever folder the file is in."""
    split: str | None = None
    sha256: str | None = None
    """None where the file was not read."""
    bytes: int | None = None
    group: str | None = None
    """Short digest of its capture group; None where the example is a group of its own."""
    measures: Mapping[str, Measure] = field(default_factory=dict)
    """The measures of the example, by the names that its reader declares; empty where it was not decoded."""

    def noted(self, note: str) -> "Row":
        """The same row with one more note."""
        return replace(self, note="; ".join([*filter(None, [self.note]), note]))


@dataclass(frozen=True)
class Example:
    """A usable file as code that must not know labels sees it."""

    sha256: str
    path: str
    """POSIX, relative to data/<domain>."""
    split: str


class Quarantined(Part):
    """A file that was left out."""

    path: str
    reason: str


class Groups(Part):
    """The capture groups of the usable files, an example alone counted as one."""

    num: int
    largest: int
    """Files in the largest."""
    splits: dict[str, int]
    """Groups in each split."""


class Summary(Record):
    """The content of manifest.json."""

    schema_version: Literal[2] = 2
    domain: str
    rows: int
    """Files found."""
    ok: int
    """Files that can be used."""
    quarantined: tuple[Quarantined, ...]
    notes: dict[str, int]
    """How many usable files carry a note, by note."""
    classes: tuple[str, ...] | None
    """Class folders that hold files; None for a flat target."""
    splits: dict[str, int]
    groups: Groups | None
    """None without ``split.group_by``: each example is a group of its own."""
    labels: dict[str, int]
    """Usable files by label; those of a target are its hold-out's."""
    data_digest: str
    """Digest of everything that training and selection can see."""
    labels_digest: str | None
    """Digest of a target's hold-out labels; None for the source."""


@dataclass(frozen=True)
class Manifest:
    """All that is recorded of one domain, labels included."""

    domain: str
    rows: list[Row]
    """All files, sorted by path."""
    classes: tuple[str, ...] | None
    """Class folders; None for a flat target."""
    data_digest: str
    groups: Groups | None = None
    """None without ``split.group_by``."""

    @property
    def usable(self) -> list[Row]:
        """The rows that are not quarantined."""
        return [row for row in self.rows if row.status == "ok"]

    def path(self, row: Row) -> str:
        """Where the file of ``row`` is, from the workspace's root."""
        return f"data/{self.domain}/{row.path}"


# --- writing -----------------------------------------------------------------------------------


def write_manifest(
    folder: Path,
    domain: str,
    rows: Sequence[Row],
    *,
    classes: Sequence[str] | None,
    measures: Mapping[str, type],
    grouped: bool = False,
) -> Summary:
    """Write both files and return the summary; the same rows give the same bytes, whatever their order.

    Args:
        folder: results/manifest/<domain>.
        domain: Its name.
        rows: All files found.
        classes: Class folders that hold files; None for a flat target.
        measures: Name and type (``int``, ``float`` or ``str``) of each measure, in the order of the columns.
        grouped: Whether ``split.group_by`` is set, though it may have found no two examples of one group.
    """
    rows = sorted(rows, key=lambda row: (row.sha256 or "", row.path, row.reason or ""))
    summary = summarise(rows, classes, domain, grouped=grouped)
    write_bytes(folder / PARQUET, _to_parquet(rows, measures))
    write_record(folder / JSON, summary)
    return summary


def summarise(
    rows: Sequence[Row], classes: Sequence[str] | None, domain: str, *, grouped: bool = False
) -> Summary:
    """The summary of ``rows``.

    ``data_digest`` covers what training and selection can see: for the source hash, split and
    label, for a target hash and split, and the label of each example in ``labelled``. ``labels`` and
    ``labels_digest`` of a target cover its hold-out alone.
    """
    usable = [row for row in rows if row.status == "ok"]
    splits = Counter(row.split for row in usable)
    labelled = [row for row in usable if row.label is not None and row.split != LABELLED]
    labels = Counter(row.label for row in labelled)
    is_source = domain == "source"
    names = SOURCE_SPLITS if is_source else (*TARGET_SPLITS, *([LABELLED] if splits[LABELLED] else []))
    left_out = sorted((row.path, row.reason or "") for row in rows if row.status != "ok")
    notes = Counter(note for row in usable if row.note for note in row.note.split("; "))
    return Summary(
        domain=domain,
        rows=len(rows),
        ok=len(usable),
        quarantined=tuple(Quarantined(path=path, reason=reason) for path, reason in left_out),
        notes=dict(sorted(notes.items())),
        classes=None if classes is None else tuple(classes),
        splits={name: splits[name] for name in names},
        groups=_groups(usable, names) if grouped else None,
        labels={name: labels[name] for name in sorted(filter(None, labels))},
        data_digest=sha256_of_lines([_seen(row, is_source) for row in usable]),
        labels_digest=None
        if is_source
        else sha256_of_lines([f"{row.sha256} {row.label}" for row in labelled]),
    )


def _groups(usable: Sequence[Row], splits: Sequence[str]) -> Groups:
    sizes = Counter(row.group or row.sha256 for row in usable)
    in_splits = Counter(split for _, split in {(row.group or row.sha256, row.split) for row in usable})
    return Groups(
        num=len(sizes),
        largest=max(sizes.values(), default=0),
        splits={split: in_splits[split] for split in splits},
    )


def _seen(row: Row, is_source: bool) -> str:
    label = f" {row.label}" if is_source or row.split == LABELLED else ""
    return f"{row.sha256} {row.split}{label}"


def _to_parquet(rows: Sequence[Row], measures: Mapping[str, type]) -> bytes:
    """``rows`` in their order, with a schema that does not depend on which values are missing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    columns = [(name, kinds[kind]) for name, kind in {**_COLUMNS, **measures}.items()]
    schema = pa.schema(columns, metadata={_VERSION_KEY: str(ROWS_VERSION)})
    flat = [{name: getattr(row, name) for name in _COLUMNS} | dict(row.measures) for row in rows]
    buffer = BytesIO()
    pq.write_table(pa.Table.from_pylist(flat, schema=schema), buffer)
    return buffer.getvalue()


# --- reading -----------------------------------------------------------------------------------


def read_summary(folder: Path) -> Summary:
    """manifest.json of the domain whose manifest is in ``folder``.

    Raises:
        BadInput: It is missing, or another version of acclimate wrote it.
    """
    return read_record(Summary, folder / JSON)


def read_manifest(folder: Path) -> Manifest:
    """Everything that is recorded of a domain, its labels included.

    Raises:
        BadInput: A file is missing, or another version of acclimate wrote it.
    """
    summary = read_summary(folder)
    rows = sorted((_row(record) for record in _read(folder, lambda name: True)), key=lambda row: row.path)
    return Manifest(summary.domain, rows, summary.classes, summary.data_digest, summary.groups)


def read_files(folder: Path) -> list[Row]:
    """Every file found and its measures, without its label, in the order of content hash and path.

    Raises:
        BadInput: The manifest is missing, or another version of acclimate wrote it.
    """
    return [_row(record) for record in _read(folder, lambda name: name != "label")]


def read_examples(folder: Path) -> list[Example]:
    """The usable files in the order of their content hash, whatever their names.

    Raises:
        BadInput: The manifest is missing, or another version of acclimate wrote it.
    """
    records = _read(folder, {"sha256", "path", "split", "status"}.__contains__)
    usable = [Example(r["sha256"], r["path"], r["split"]) for r in records if r["status"] == "ok"]
    return sorted(usable, key=lambda example: example.sha256)


def read_labels(folder: Path, *, splits: Collection[str]) -> dict[str, str]:
    """The labels of the usable files of ``splits`` that have one, by SHA-256, in the order of the hash.

    Raises:
        BadInput: The manifest is missing, or another version of acclimate wrote it.
    """
    return {
        record["sha256"]: record["label"]
        for record in _read(folder, {"sha256", "label", "split", "status"}.__contains__)
        if record["status"] == "ok" and record["split"] in splits and record["label"] is not None
    }


def read_groups(folder: Path, *, splits: Collection[str]) -> dict[str, str]:
    """The capture group of the usable files of ``splits``, by SHA-256, in the order of the hash.

    An example that is a group of its own has its own SHA-256 as the group's id.

    Raises:
        BadInput: The manifest is missing, or another version of acclimate wrote it.
    """
    return {
        record["sha256"]: record["group"] or record["sha256"]
        for record in _read(folder, {"sha256", "group", "split", "status"}.__contains__)
        if record["status"] == "ok" and record["split"] in splits
    }


def _read(folder: Path, keep: Callable[[str], bool]) -> list[dict[str, Any]]:
    """The columns that ``keep`` names; the others are not loaded."""
    import pyarrow.parquet as pq

    path = folder / PARQUET
    try:
        schema = pq.read_schema(path)
        found = (schema.metadata or {}).get(_VERSION_KEY)
        check_version(int(found) if found else None, ROWS_VERSION, path)
        columns = [name for name in schema.names if keep(name)]
        return pq.read_table(path, columns=columns).to_pylist()
    except FileNotFoundError as error:
        raise BadInput(f"{path} does not exist. Run the stage that writes it: `acclimate run`.") from error


def _row(record: Mapping[str, Any]) -> Row:
    known = {name: value for name, value in record.items() if name in _COLUMNS}
    measures = {name: value for name, value in record.items() if name not in _COLUMNS}
    return Row(**known, measures=measures if any(value is not None for value in measures.values()) else {})
