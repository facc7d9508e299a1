"""Which examples are put into one group, and by which key."""

import hashlib
from pathlib import Path, PurePosixPath

import pytest

from tasks.config.sections.data import ByColumn, ByGap, ByPattern, WayToGroup
from tasks.domains.folder import FoundFile
from tasks.domains.groups import NO_MATCH, NO_TIME, group_rows, name_in
from tasks.domains.image.reader import Images
from tasks.domains.image.spec import image_spec
from tasks.domains.places import place_in_source, place_in_target, scene_folders
from tasks.domains.splits import position
from tasks.errors import BadInput, ConfigError
from tasks.records.manifest import Row
from tests.support.vectors import Vectors

IMAGES = Images(image_spec(16), 10_000)
NOWHERE = Path("nowhere")
"""Ways to group that follow from the manifest open no file."""


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def row(path: str, *, content: str | None = None, **measures: float | str) -> Row:
    """A usable file whose content is its path, unless another is given."""
    return Row(path, "ok", sha256=digest(content or path), measures=measures)


def grouped(rows: list[Row], way: WayToGroup | None, *, target: bool = False) -> list[Row]:
    files = [FoundFile(one.path, one.reason) for one in rows]
    places = [place_in_target(file, "images", None) if target else place_in_source(file) for file in files]
    return group_rows(
        rows, scene_folders(places), way, IMAGES, domain="site" if target else "source", data=NOWHERE
    )


def together(rows: list[Row], way: WayToGroup, *, target: bool = False) -> set[frozenset[str]]:
    """The groups as sets of file names, in which an example alone is a set of one."""
    found: dict[str, set[str]] = {}
    for one in grouped(rows, way, target=target):
        found.setdefault(one.group or one.path, set()).add(PurePosixPath(one.path).name)
    return {frozenset(names) for names in found.values()}


def sets(*names: str) -> set[frozenset[str]]:
    return {frozenset(one.split()) for one in names}


def test_without_a_way_all_rows_are_as_they_were():
    rows = [row("cat/s/a"), row("cat/s/b")]

    assert grouped(rows, None) == rows


def test_files_that_cannot_be_used_have_no_group():
    rows = [row("cat/s/a"), Row("cat/s/b", "quarantined", "torn", sha256="5" * 64)]

    assert [one.group for one in grouped(rows, "folder")] == [digest("s")[:16], None]


# --- folder ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        ("cat/a.jpg", ""),
        ("cat/seq1/a.jpg", "seq1"),
        ("cat/cam/seq1/a.jpg", "cam/seq1"),
        ("a.jpg", ""),
    ],
)
def test_the_scene_folder_of_a_source_is_below_the_class_folder(path: str, folder: str):
    assert scene_folders([place_in_source(FoundFile(path, None))]) == [folder]


@pytest.mark.parametrize(
    ("path", "alone", "with_holdout"),
    [
        ("images/a.jpg", "", ""),
        ("images/cat/a.jpg", "", ""),  # a class of the hold-out
        ("images/cat/seq1/a.jpg", "seq1", "seq1"),
        ("images/cam/a.jpg", "", "cam"),  # without a hold-out the first folder is a class
        ("images/cam/seq1/a.jpg", "seq1", "cam/seq1"),
        ("arrived/b1/a.jpg", "", ""),  # a batch is no scene
        ("arrived/b1/seq1/a.jpg", "seq1", "seq1"),
        ("labelled/cat/seq1/a.jpg", "seq1", "seq1"),
        ("loose.jpg", "", ""),
    ],
)
def test_the_scene_folder_of_a_target_is_below_area_and_class(path: str, alone: str, with_holdout: str):
    place, held_out = (
        place_in_target(FoundFile(one, None), "images", None) for one in (path, "holdout/cat/seq1/x.jpg")
    )

    assert scene_folders([place]) == [alone]
    assert scene_folders([place, held_out]) == [with_holdout, "seq1"]


def test_a_folder_is_a_group_and_files_without_one_are_alone():
    rows = [row(f"cat/{name}") for name in ("s1/a", "s1/b", "s2/c", "d", "e", "s1/deeper/f")]

    assert together(rows, "folder") == sets("a b", "c", "d", "e", "f")


def test_a_folder_has_the_same_key_whatever_is_in_it():
    one, other = (
        grouped([row(f"cat/s1/{name}") for name in names], "folder")[0].group for names in ("a", "bcd")
    )

    assert one == other == digest("s1")[:16]


def test_a_scene_of_two_classes_is_one_group():
    assert together([row("cat/s1/a"), row("dog/s1/b")], "folder") == sets("a b")


def test_two_spellings_of_one_folder_are_one():
    assert together([row("cat/se\u0301/a"), row("cat/s\u00e9/b")], "folder") == sets("a b")


# --- pattern -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        (r"^(.*)_\d+\.jpg$", "cat/cam1_s2"),
        (r"s\d", "s2"),
        (r"(cam\d)_(s\d)", "cam1/s2"),
        (r"(cam\d)|(dog)", "cam1"),
        (r"(?:(dog)|cam\d)", "cam1"),
        (r"dog", None),
        (r"(x*)", None),
        (r"(x*)(y*)", None),
        (r"", None),
    ],
)
def test_the_name_is_what_the_capturing_groups_or_the_match_say(pattern: str, name: str | None):
    assert name_in("cat/cam1_s2_007.jpg", pattern) == name


def test_files_that_a_pattern_does_not_match_are_alone_and_counted():
    rows = grouped([row("cat/s1_1"), row("cat/s1_2"), row("cat/x")], ByPattern(pattern=r"(s\d)_"))

    assert [one.group for one in rows] == [digest("s1")[:16]] * 2 + [None]
    assert [one.note for one in rows] == [None, None, NO_MATCH]


def test_names_of_several_parts_are_not_mixed_up():
    assert together([row("cat/a_bc"), row("cat/ab_c")], ByPattern(pattern=r"(\w+)_(\w+)")) == sets(
        "a_bc", "ab_c"
    )


def test_a_pattern_that_matches_nothing_is_refused_with_an_example_and_a_way_out():
    with pytest.raises(BadInput) as caught:
        grouped([row("images/b.jpg"), row("images/a.jpg")], ByPattern(pattern="(x)"), target=True)

    said = str(caught.value)
    assert "split.group_by.pattern '(x)' matches none of the 2 usable images of site" in said
    assert "the first of which is images/a.jpg" in said
    assert r"Correct it in params.yaml" in said
    assert name_in("images/a.jpg", r"^(.*)_\d+\.jpg$|^.+$") == "images/a.jpg"


def test_a_pattern_has_nothing_to_match_in_an_empty_domain():
    assert grouped([], ByPattern(pattern="(x)")) == []


# --- gap_s -------------------------------------------------------------------------------------


def at(path: str, second: float) -> Row:
    return row(path, captured_at=second)


def test_a_longer_gap_in_a_folder_starts_a_new_group():
    rows = [at("cat/c", 10), at("cat/a", 0), at("cat/b", 5), at("cat/d", 15.5), at("cat/e", 18)]

    assert together(rows, ByGap(gap_s=5)) == sets("a b c", "d e")


def test_other_folders_have_their_own_time_but_class_folders_do_not_part_a_scene():
    rows = [at("cat/cam1/a", 0), at("cat/cam2/b", 1), at("dog/cam1/c", 2)]

    assert together(rows, ByGap(gap_s=5)) == sets("a c", "b")


def test_times_come_from_names_where_the_content_has_none_and_unknown_ones_are_counted():
    rows = [row("cat/x_20240501_123045"), row("cat/x_20240501_123049"), row("cat/y"), row("cat/z")]
    found = grouped(rows, ByGap(gap_s=5))

    assert [one.group is not None for one in found] == [True, True, False, False]
    assert [one.note for one in found] == [None, None, NO_TIME, NO_TIME]


def test_the_key_of_a_burst_is_the_digest_of_its_smallest_hash():
    rows = [at(f"cat/{name}", 0) for name in "abcdef"]
    smallest = min(one.sha256 or "" for one in rows)

    assert {one.group for one in grouped(rows, ByGap(gap_s=5))} == {digest(smallest)[:16]}


def test_large_groups_are_spread_over_the_splits_like_single_examples():
    rows = [at(f"cat/{scene}/{frame}", 0) for scene in range(200) for frame in range(20)]
    positions = [position(one.group or "") for one in grouped(rows, ByGap(gap_s=5))[::20]]

    assert 0.45 < sum(positions) / 200 < 0.55
    assert 0.15 < sum(u < 0.2 for u in positions) / 200 < 0.25


# --- near_duplicates ---------------------------------------------------------------------------


def test_look_alikes_are_joined_through_others_and_named_by_the_smallest_hash():
    hashes = {"a": 0b0, "b": 0b1111, "c": 0b11111111, "d": 0b11111 << 40, "e": 0b11111 << 50}
    rows = [row(f"cat/{name}", phash=f"{bits:016x}") for name, bits in hashes.items()]

    assert together(rows, "near_duplicates") == sets("a b c", "d", "e")
    assert grouped(rows, "near_duplicates")[2].group == digest(min(one.sha256 or "" for one in rows[:3]))[:16]


def test_examples_without_a_hash_do_not_look_alike():
    assert together([row("cat/a"), row("cat/b")], "near_duplicates") == sets("a", "b")


def test_a_kind_without_a_measure_of_likeness_says_so():
    with pytest.raises(
        ConfigError, match=r"group_by near_duplicates .* kind vectors has no measure of\. Set it to"
    ):
        group_rows([row("a")], [""], "near_duplicates", Vectors(), domain="source", data=NOWHERE)


def test_files_that_are_no_rows_have_no_column():
    with pytest.raises(ConfigError) as caught:
        grouped([row("cat/a.jpg")], ByColumn(column="camera"))

    assert str(caught.value) == (
        "split.group_by groups rows by column 'camera', and images are files, which have none. Set it to folder,"
        " near_duplicates, {pattern: ...}, {gap_s: ...} or null."
    )


# --- copies ------------------------------------------------------------------------------------


def test_copies_share_a_group_and_join_the_scenes_that_they_are_in():
    rows = [row("cat/s1/a"), row("cat/s1/b", content="same"), row("cat/s2/c", content="same"), row("cat/s2/d"),
            row("cat/s3/e")]  # fmt: skip

    assert together(rows, "folder") == sets("a b c d", "e")
    assert grouped(rows, "folder")[0].group == digest("s1")[:16]


def test_copies_that_are_otherwise_alone_are_one_example_and_no_group():
    rows = grouped([row("cat/a", content="same"), row("cat/b", content="same")], "folder")

    assert [one.group for one in rows] == [None, None]


def test_groups_do_not_depend_on_the_order_of_the_files():
    rows = [at(f"cat/s{i % 3}/{i}", i * i % 17) for i in range(40)]
    rows += [row("cat/s1/copy", content="cat/s2/2", captured_at=3)]
    for way in ("folder", ByGap(gap_s=1), ByPattern(pattern=r"\d$")):
        expected = {one.path: one.group for one in grouped(rows, way)}

        assert {one.path: one.group for one in grouped(rows[::-1], way)} == expected
