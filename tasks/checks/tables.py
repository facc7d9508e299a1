"""The tables that the suites check, made from the manifests of the source and one target.

Great Expectations judges single tables. Whatever spans rows or domains is therefore brought into a small table
first, one row per file, class or domain:

    suites source, target
      files            a file found: sha256; fault, the reason it is unusable (null for usable files,
                       exact copies, frames of the hold-out's scenes, what is left out by convention, and
                       what the hold-out has of other classes)
      examples         a usable file: sha256, and what the reader of its kind lets be checked
      classes          a class of the source: num_examples, num_train
      summary          the domain: num_examples, num_<split>, class_ratio; largest_group, the examples in the
                       largest capture group, null without split.group_by
      groups           a capture group of two examples or more, by its first file: share, of the domain's examples
      frames           an example that looks like a frame of its neighbour's scene, where examples are not grouped:
                       remedy (:mod:`tasks.checks.frames`)
      phrases          a phrase that begins or ends the texts of one class of the source: remedy (:mod:`tasks.checks.phrases`)
      leaks            a part of the source's examples that alone gives the class away: remedy (:mod:`tasks.checks.leaks`)
    suite pair
      other_folders    a folder of the target that is no class: in_holdout; beside_classes, whether other folders are; and
                       meant, the class whose name differs from its by case or signs alone
      brought          the target's holdout/, where there is one: num_labelled, the examples that judge, or did until they retired
      content          a usable file of either: num_splits its content is in, shared_with, where else it is
      holdout          an example of the hold-out: bits_from_labelled, of 64, to the closest example of the source
                       or of the target's split ``labelled`` that is not the same file; empty for a kind without
                       a measure of likeness
      beside_source    a usable example of the target: for each text that the reader lets be checked, ``<name>_new``, the text if
                       fewer than one in a hundred examples of the source have it
      phrases          a phrase that begins or ends the texts of one of both domains: remedy (:mod:`tasks.checks.phrases`)
      holdout_classes  a class of the source, where the target is labelled: num_examples in its hold-out
      labelled_classes a class in the target's split ``labelled``: found, `in source` or `not in source`

Kinds may add suites of their own (:mod:`tasks.checks.suite`).

Every table also has ``path``, which names the offender.

Shape suffixes: N = examples of the hold-out.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from tasks.checks.frames import frames_table
from tasks.checks.leaks import leaks_table
from tasks.checks.phrases import class_phrases_table, domain_phrases_table
from tasks.domains.contract import Reader
from tasks.domains.folder import NO_FAULTS
from tasks.domains.likeness import closest_hashes, hashes_of
from tasks.domains.places import NO_CLASS, folders_of_no_class
from tasks.records.manifest import (
    BESIDE_HOLDOUT,
    DUPLICATE,
    LABELLED,
    SOURCE_SPLITS,
    TARGET_SPLITS,
    Manifest,
    Row,
)

NEARLY_NONE = 0.01
"""Share of the source's examples below which the source does not have what a target has."""

Table = dict[str, list[Any]]
"""Columns of one length."""


def domain_tables(manifest: Manifest, reader: Reader) -> dict[str, Table]:
    """The tables of one domain."""
    classes = _classes(manifest)
    return {
        "files": _files(manifest),
        "examples": _examples(manifest, reader),
        "classes": classes,
        "summary": _summary(manifest, classes["num_examples"]),
        "groups": _groups(manifest),
        "frames": frames_table(manifest, reader),
        "leaks": leaks_table(manifest, reader),
        "phrases": class_phrases_table(manifest, reader),
    }


def _files(manifest: Manifest) -> Table:
    def fault(row: Row) -> str | None:
        return (
            None
            if (row.reason or "").startswith((*NO_FAULTS, DUPLICATE, BESIDE_HOLDOUT, NO_CLASS))
            else row.reason
        )

    return {
        "path": [manifest.path(row) for row in manifest.rows],
        "sha256": [row.sha256 for row in manifest.rows],
        "fault": [fault(row) for row in manifest.rows],
    }


def _examples(manifest: Manifest, reader: Reader) -> Table:
    checked = [reader.checked(row.measures) for row in manifest.usable]
    names = reader.checked({})
    return {
        "path": [manifest.path(row) for row in manifest.usable],
        "sha256": [row.sha256 for row in manifest.usable],
        **{name: [columns[name] for columns in checked] for name in names},
    }


def _classes(manifest: Manifest) -> Table:
    names = (manifest.classes or []) if manifest.domain == "source" else []
    examples = Counter(row.label for row in manifest.usable)
    train = Counter(row.label for row in manifest.usable if row.split == "train")
    return {
        "path": [f"data/{manifest.domain}/{name}" for name in names],
        "num_examples": [examples[name] for name in names],
        "num_train": [train[name] for name in names],
    }


def _summary(manifest: Manifest, class_sizes: Sequence[int]) -> Table:
    splits = Counter(row.split for row in manifest.usable)
    smallest = min(class_sizes, default=0)
    return {
        "path": [f"data/{manifest.domain}"],
        "num_examples": [len(manifest.usable)],
        "class_ratio": [round(max(class_sizes) / smallest, 2) if smallest else 1.0],
        **{f"num_{split}": [splits[split]] for split in (*SOURCE_SPLITS, *TARGET_SPLITS)},
        "largest_group": [manifest.groups.largest if manifest.groups and manifest.usable else None],
    }


def _groups(manifest: Manifest) -> Table:
    sizes = Counter(row.group for row in manifest.usable if row.group)
    first: dict[str, Row] = {}
    for row in manifest.usable:  # in the order of the paths
        if row.group and sizes[row.group] > 1:
            first.setdefault(row.group, row)
    return {
        "path": [manifest.path(row) for row in first.values()],
        "share": [round(sizes[group] / len(manifest.usable), 3) for group in first],
    }


def pair_tables(source: Manifest, target: Manifest, reader: Reader) -> dict[str, Table]:
    """The tables that need both domains."""
    return {
        "other_folders": _other_folders(source, target, reader),
        "brought": _brought(target),
        "content": _content(source, target),
        "beside_source": _beside_source(source, target, reader),
        "phrases": domain_phrases_table(source, target, reader),
        "holdout": _holdout(source, target, reader.likeness),
        "holdout_classes": _holdout_classes(source, target),
        "labelled_classes": _labelled_classes(source, target),
    }


def _other_folders(source: Manifest, target: Manifest, reader: Reader) -> Table:
    classes = source.classes or ()
    meant = {_bare(name): name for name in classes}
    folders = folders_of_no_class((row.path for row in target.rows), reader.plural, classes)
    return {
        "path": [f"data/{target.domain}/{folder}" for folder in folders],
        "in_holdout": [folder.startswith("holdout/") for folder in folders],
        "beside_classes": [
            target.classes is not None and not folder.startswith("holdout/") for folder in folders
        ],
        "meant": [meant.get(_bare(folder.partition("/")[2])) for folder in folders],
    }


def _bare(name: str) -> str:
    """``name`` without all that people vary in: case, spaces and signs."""
    return "".join(filter(str.isalnum, name.casefold()))


def _brought(target: Manifest) -> Table:
    brought = [row for row in target.rows if row.path.startswith("holdout/")]
    return {
        "path": [f"data/{target.domain}/holdout"] if brought else [],
        # Labels that were spent have retired into training.
        "num_labelled": [sum(row.label is not None for row in brought)] if brought else [],
    }


def _content(source: Manifest, target: Manifest) -> Table:
    files = [(manifest, row) for manifest in (source, target) for row in manifest.usable]
    files.sort(key=lambda file: (file[1].sha256, file[0].path(file[1])))  # copies stand together
    splits: dict[tuple[str, str | None], set[str | None]] = defaultdict(set)
    for manifest, row in files:
        splits[manifest.domain, row.sha256].add(row.split)
    shared = {row.sha256 for row in source.usable} & {row.sha256 for row in target.usable}
    holdout = {row.sha256 for row in _in_holdout(target)}

    def shared_with(row: Row) -> str:
        if row.sha256 not in shared:
            return "nothing"
        return "hold-out" if row.sha256 in holdout else "rest of the target"

    return {
        "path": [manifest.path(row) for manifest, row in files],
        "num_splits": [len(splits[manifest.domain, row.sha256]) for manifest, row in files],
        "shared_with": [shared_with(row) for _, row in files],
    }


def _in_holdout(target: Manifest) -> list[Row]:
    return [row for row in target.usable if row.label is not None and row.split != LABELLED]


def _holdout(source: Manifest, target: Manifest, likeness: str | None) -> Table:
    if likeness is None:
        return {"path": [], "bits_from_labelled": [], "beside": []}
    holdout = _in_holdout(target)
    same_file = {row.sha256 for row in holdout}  # reported by `content`
    candidates = [(source, row) for row in source.usable if row.sha256 not in same_file]
    candidates += [(target, row) for row in target.usable if row.split == LABELLED]
    bits_N, closest_N = closest_hashes(
        hashes_of(holdout, likeness), hashes_of((row for _, row in candidates), likeness)
    )
    places = [manifest.path(row) for manifest, row in candidates]
    return {
        "path": [target.path(row) for row in holdout],
        "bits_from_labelled": bits_N.tolist(),
        "beside": [places[index] if index >= 0 else None for index in closest_N],
    }


def _beside_source(source: Manifest, target: Manifest, reader: Reader) -> Table:
    texts = [name for name in reader.checked({}) if reader.measures.get(name) is str]
    table: Table = {"path": [target.path(row) for row in target.usable]}
    for name in texts:
        known = Counter(row.measures.get(name) for row in source.usable)
        rare = NEARLY_NONE * len(source.usable)
        values = [row.measures.get(name) for row in target.usable]
        table[f"{name}_new"] = [value if known[value] < rare else None for value in values]
    return table


def _labelled_classes(source: Manifest, target: Manifest) -> Table:
    known = set(source.classes or ())
    names = sorted({row.label or "" for row in target.usable if row.split == LABELLED})
    return {
        "path": [f"data/{target.domain}/labelled/{name}" for name in names],
        "found": ["in source" if name in known else "not in source" for name in names],
    }


def _holdout_classes(source: Manifest, target: Manifest) -> Table:
    names = [] if target.classes is None else list(source.classes or ())
    counts = Counter(row.label for row in _in_holdout(target))
    return {"path": names, "num_examples": [counts[name] for name in names]}
