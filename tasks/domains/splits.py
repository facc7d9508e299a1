"""The split of an example, and which copy of it is used.

The split follows from the content alone, so that neither a new name nor a new neighbour moves an example. Where
examples are grouped (:mod:`tasks.domains.groups`), it follows from the group, and all of a group are in one split. For a
target, labels are kept in its split ``test``, which nothing that trains or selects can read, and in its split
``labelled``: the examples of labelled/, which are given to training with their labels, whatever their content
hash. No example is in both.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tasks.config.sections.data import SplitParams
from tasks.domains.places import Place, has_holdout
from tasks.errors import BadInput
from tasks.records.manifest import BESIDE_HOLDOUT, DUPLICATE, LABELLED, Row


def position(digest: str) -> float:
    """The place of an example by the digest of its content, or of its group, uniform in [0, 1)."""
    return int(digest[:8], 16) / 2**32


def assign_source(rows: Sequence[Row], places: Sequence[Place], split: SplitParams) -> list[Row]:
    """Usable rows with their split, and with the class folder as label."""

    def assigned(row: Row, place: Place) -> Row:
        if row.sha256 is None or row.status != "ok":
            return row
        name = "validation" if position(row.group or row.sha256) < split.source_validation else "train"
        return replace(row, split=name, label=place.class_folder)

    return [assigned(row, place) for row, place in zip(rows, places, strict=True)]


def assign_target(
    rows: Sequence[Row], places: Sequence[Place], split: SplitParams, retired: Mapping[str, str]
) -> list[Row]:
    """Usable rows with their split; a label only in ``test`` and ``labelled``.

    A target with a ``holdout/`` of its own spends all other examples on adaptation and selection, in
    the proportion that ``split`` gives the two; new scenes that arrive keep a test split, since models to come
    need fresh labels. The examples in ``labelled/`` and those whose labels have retired are in no other split, and their
    groups adapt: training has seen these scenes, so that they can judge nothing.

    Args:
        rows: Measured.
        places: Where they lie.
        split: The shares.
        retired: Labels that were spent on a verdict and train from now on, by SHA-256.

    Raises:
        BadInput: ``split`` gives nothing to either.
    """
    adapt, select = split.target_adapt, split.target_select
    if adapt + select == 0:
        raise BadInput(
            "split.target_adapt and split.target_select are both 0: nothing could adapt to the target"
        )
    found = list(zip(rows, places, strict=True))
    brings_holdout = has_holdout(place for row, place in found if row.sha256 not in retired)
    trained = {row.group for row, place in found if place.area == "labelled" or row.sha256 in retired} - {
        None
    }

    known = {row.group for row, place in found if place.area != "arrived"} - {None}

    def assigned(row: Row, place: Place) -> Row:
        if row.sha256 is None or row.status != "ok":
            return row
        if row.sha256 in retired:
            return replace(row, split=LABELLED, label=retired[row.sha256])
        u = position(row.group or row.sha256)
        if brings_holdout and (place.area != "arrived" or row.group in known):
            u *= adapt + select
        name = "adapt" if u < adapt or row.group in trained else "select" if u < adapt + select else "test"
        name = {"holdout": "test", "labelled": LABELLED}.get(place.area or "", name)
        return replace(row, split=name, label=place.class_folder if name in ("test", LABELLED) else None)

    return [assigned(row, place) for row, place in zip(rows, places, strict=True)]


def quarantine_contradictions(rows: Sequence[Row], noun: str) -> list[Row]:
    """``rows`` without any example that carries two labels: no copy can be trusted.

    Unlabelled copies go too. Otherwise what a target adapts to would depend on the labels in its hold-out.
    """
    labels: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.sha256 and row.label is not None:
            labels[row.sha256].add(row.label)

    def checked(row: Row) -> Row:
        names = sorted(labels.get(row.sha256 or "", ()))
        if row.status != "ok" or len(names) < 2:
            return row
        return _quarantined(row, f"same {noun} under labels {', '.join(names)}")

    return [checked(row) for row in rows]


def quarantine_copies(rows: Sequence[Row]) -> list[Row]:
    """``rows`` with one usable copy of each image: the hold-out's if there is one, else that with a label for
    training, else the first by path.

    The hold-out goes first, because neither a batch of arrived images nor a label given to training may
    take an image out of it.
    """

    def claim(row: Row) -> tuple[int, str]:
        is_holdout = row.split == "test" and row.label is not None
        return 0 if is_holdout else 1 if row.split == LABELLED else 2, row.path

    copies: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=claim):
        if row.sha256 and row.status == "ok":
            copies[row.sha256].append(row)

    def checked(row: Row) -> Row:
        first, *others = copies.get(row.sha256 or "", [row])
        if row.status != "ok" or not others:
            return row
        if row.path == first.path:
            return row.noted("first of duplicates")
        return _quarantined(row, f"{DUPLICATE}{first.path}")

    return [checked(row) for row in rows]


def quarantine_scenes_of_holdout(rows: Sequence[Row], places: Sequence[Place]) -> list[Row]:
    """``rows`` with no example outside ``holdout/`` whose group has a part in it: neither training nor selection may
    see another frame of a scene that judges them. A scene whose labels have retired judges nothing.
    """
    held_out: dict[str, str] = {}
    for row, place in sorted(zip(rows, places, strict=True), key=lambda pair: pair[0].path):
        if row.group and place.area == "holdout" and row.split != LABELLED:
            held_out.setdefault(row.group, row.path)

    def checked(row: Row, place: Place) -> Row:
        if row.status != "ok" or row.group not in held_out or place.area == "holdout":
            return row
        return _quarantined(row, f"{BESIDE_HOLDOUT}{held_out[row.group]} of the hold-out")

    return [checked(row, place) for row, place in zip(rows, places, strict=True)]


def _quarantined(row: Row, reason: str) -> Row:
    return replace(row, status="quarantined", reason=reason, label=None, split=None)
