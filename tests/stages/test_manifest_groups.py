"""Stage `manifest` with `split.group_by`: a scene is in one split, and no frame of the hold-out's scenes is trained on."""

from collections import defaultdict
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.config.params import Params, load_params
from tasks.config.sections.data import ByGap, ByPattern, ImagesParams, SplitParams
from tasks.domains.splits import position
from tasks.errors import BadInput
from tasks.records.manifest import Manifest, Row, read_groups, read_manifest, read_summary
from tasks.stages import manifest
from tasks.workspace import Workspace
from tests.support.tiny import CHECKOUT

PATTERN = r"^(.*)_\d+\.png$"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def params(group_by: object) -> Params:
    split = SplitParams(source_validation=0.25, target_adapt=0.5, target_select=0.25, group_by=group_by)  # type: ignore[arg-type]
    images = ImagesParams(size_px=16, max_pixels=10_000, grey_range=None, orientation_matters=True)
    return load_params(CHECKOUT / "params.yaml").model_copy(update={"split": split, "images": images})


def draw(path: Path, scene: int, frame: int, *, second: float | None = None) -> None:
    """A picture of a scene: coarse and unlike that of another scene, and nearly that of the scene's other frames."""
    coarse_HW3 = np.random.default_rng(scene).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse_HW3).resize((48, 48), Image.Resampling.BICUBIC)
    picture.putpixel((frame % 48, frame // 48), (255, 0, 255))
    exif = Image.Exif()
    exif[0x0131] = "a camera"
    if second is not None:
        exif.get_ifd(0x8769)[0x9003] = (
            f"2024:05:01 {int(second) // 3600:02}:{int(second) // 60 % 60:02}:{int(second) % 60:02}"
        )
    buffer = BytesIO()
    picture.save(buffer, "PNG", exif=exif)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())


def made(workspace: Workspace, group_by: object, domain: str = "optdigits") -> Manifest:
    manifest.run(workspace, params(group_by), domain)
    return read_manifest(workspace.stage("manifest", domain))


def splits_by_scene(rows: list[Row]) -> dict[str, set[str | None]]:
    """The splits in which the frames of each scene are; file names are scene_frame.png."""
    found: dict[str, set[str | None]] = defaultdict(set)
    for row in rows:
        found[row.path.split("/")[-1].split("_")[0]].add(row.split)
    return found


WAYS = ["folder", ByPattern(pattern=r"(\d+)_\d+\.png$"), ByGap(gap_s=5), "near_duplicates"]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_the_frames_of_a_scene_are_in_one_split_and_scenes_in_all_of_them(workspace, way):
    for scene in range(24):
        for frame in range(5):
            draw(
                workspace.data("optdigits") / f"images/cat/{scene}/{scene}_{frame}.png",
                scene,
                frame,
                second=60 * scene + frame,
            )
            draw(workspace.data("source") / f"{'cat' if scene % 2 else 'dog'}/{scene}/{scene}_{frame}.png", scene, frame,
                 second=60 * scene + frame)  # fmt: skip
    target, source = made(workspace, way), made(workspace, way, "source")

    for found, splits in ((target, {"adapt", "select", "test"}), (source, {"train", "validation"})):
        by_scene = splits_by_scene(found.usable)
        assert len(by_scene) == 24
        assert {len(one) for one in by_scene.values()} == {1}
        assert set.union(*by_scene.values()) == splits
        assert found.groups is not None
        assert (found.groups.num, found.groups.largest) == (24, 5)
        assert sum(found.groups.splits.values()) == 24


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_the_split_follows_from_the_group_and_for_an_example_alone_from_its_content(workspace, way):
    for scene in range(8):
        for frame in range(3 if scene % 2 else 1):
            folder = f"{scene}/" if scene % 2 else ""
            draw(
                workspace.data("optdigits") / f"images/cat/{folder}{scene}_{frame}.png",
                scene,
                frame,
                second=60 * scene,
            )
    found = made(workspace, way)
    groups = read_groups(workspace.stage("manifest", "optdigits"), splits=["adapt", "select", "test"])

    assert len(groups) == len(found.usable) == 16
    for row in found.usable:
        u = position(groups[row.sha256 or ""])
        assert row.split == ("adapt" if u < 0.5 else "select" if u < 0.75 else "test")
        assert groups[row.sha256 or ""] == (row.group or row.sha256)


def test_without_a_setting_nothing_is_grouped(workspace):
    for frame in range(6):
        draw(workspace.data("optdigits") / f"images/cat/s/0_{frame}.png", 0, frame)
    found = made(workspace, None)

    assert found.groups is None
    assert {row.group for row in found.rows} == {None}


# --- a hold-out of its own ---------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_frame_of_a_scene_in_the_holdout_is_neither_trained_on_nor_selected_with(workspace, way):
    folder = workspace.data("optdigits")
    for scene in range(12):
        for frame in range(3):
            area = "holdout/cat" if scene < 2 and frame == 0 else "images" if frame < 2 else "arrived/b1"
            draw(folder / f"{area}/{scene}/{scene}_{frame}.png", scene, frame, second=60 * scene)
    found = made(workspace, way)

    left_out = {row.path: row.reason for row in found.rows if row.status == "quarantined"}
    assert left_out == {
        f"{area}/{scene}/{scene}_{frame}.png": f"same group as holdout/cat/{scene}/{scene}_0.png of the hold-out"
        for scene in range(2)
        for area, frame in (("images", 1), ("arrived/b1", 2))
    }
    judging = [row for row in found.usable if row.split == "test"]
    assert [(row.path, row.label) for row in judging] == [
        (f"holdout/cat/{s}/{s}_0.png", "cat") for s in range(2)
    ]
    assert len(found.usable) == 36 - 4
    assert len(found.rows) == 36  # nothing is lost


def test_beside_a_holdout_a_scene_that_arrives_is_split_as_a_whole(workspace):
    """Frames of a scene that is known go where the scene is; a new scene may give fresh labels."""
    folder = workspace.data("optdigits")
    for scene in range(40):
        area = "holdout/cat" if scene == 0 else "images" if scene < 20 else "arrived/b1"
        draw(folder / f"{area}/{scene}/{scene}_0.png", scene, 0, second=60 * scene)
        later = area if scene == 0 else "arrived/b2"
        draw(folder / f"{later}/{scene}/{scene}_1.png", scene, 1, second=60 * scene)

    found = made(workspace, "folder")

    splits: dict[str, set[str | None]] = {}
    for row in found.usable:
        splits.setdefault(row.path.split("/")[-2], set()).add(row.split)
    assert all(len(one) == 1 for one in splits.values())
    assert {next(iter(splits[str(scene)])) for scene in range(1, 20)} == {"adapt", "select"}
    assert "test" in {next(iter(splits[str(scene)])) for scene in range(20, 40)}


def test_a_label_given_to_training_does_not_take_its_scene_out_of_the_holdout(workspace):
    folder = workspace.data("optdigits")
    draw(folder / "holdout/cat/s/a.png", 0, 0)
    draw(folder / "labelled/cat/s/b.png", 0, 1)
    draw(folder / "labelled/cat/t/c.png", 1, 0)
    draw(folder / "images/d.png", 2, 0)
    found = {row.path: row for row in made(workspace, "folder").rows}

    assert found["labelled/cat/s/b.png"].reason == "same group as holdout/cat/s/a.png of the hold-out"
    assert found["labelled/cat/s/b.png"].label is None
    assert (found["labelled/cat/t/c.png"].split, found["labelled/cat/t/c.png"].label) == ("labelled", "cat")


def test_which_frames_are_left_out_does_not_depend_on_a_label_of_the_holdout(workspace):
    folder = workspace.data("optdigits")
    draw(folder / "images/s/0_1.png", 0, 1)
    draw(folder / "holdout/dog/s/0_0.png", 0, 0)
    seen = []
    for name in ("dog", "cat"):  # the second is a contradiction
        draw(folder / f"holdout/{name}/s/0_0.png", 0, 0)
        found = made(workspace, "folder")
        seen.append([row.path for row in found.usable if row.split in ("adapt", "select")])

    assert seen == [[], []]


def test_a_copy_of_the_holdout_is_called_a_duplicate(workspace):
    for path in ("holdout/cat/s/a.png", "images/s/a.png"):
        draw(workspace.data("optdigits") / path, 0, 0)
    found = {row.path: row.reason for row in made(workspace, "folder").rows}

    assert found["images/s/a.png"] == "duplicate of holdout/cat/s/a.png"


def test_the_scene_of_a_labelled_example_adapts_and_judges_nothing(workspace):
    folder = workspace.data("optdigits")
    for scene in range(12):
        for frame in range(3):
            draw(folder / f"images/cat/{scene}/{scene}_{frame}.png", scene, frame)
        draw(folder / f"labelled/cat/{scene}/{scene}_9.png", scene, 9)
    found = made(workspace, "folder")

    assert {split: sum(row.split == split for row in found.usable) for split in ("labelled", "adapt")} == {
        "labelled": 12,
        "adapt": 36,
    }


# --- no label has a part -----------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_wrong_labels_of_unlabelled_scenes_move_nothing(workspace, tmp_path, way):
    planted = Workspace(tmp_path / "planted")
    for scene in range(12):
        for frame in range(3):
            for each, name in ((workspace, "cat"), (planted, "dog" if scene % 2 else "cat")):
                draw(
                    each.data("optdigits") / f"images/{name}/{scene}/{scene}_{frame}.png",
                    scene,
                    frame,
                    second=60 * scene,
                )

    def seen(each: Workspace) -> list[tuple]:
        return sorted((row.sha256, row.split, row.group) for row in made(each, way).rows)

    assert seen(planted) == seen(workspace)


# --- settings that cannot be followed ----------------------------------------------------------


def test_a_pattern_that_matches_nothing_stops_the_stage(workspace):
    draw(workspace.data("optdigits") / "images/cat/a.png", 0, 0)

    with pytest.raises(
        BadInput, match=r"split\.group_by\.pattern .* matches none of the 1 usable images of optdigits"
    ):
        made(workspace, ByPattern(pattern=PATTERN))


def test_files_that_say_nothing_are_counted_in_the_summary(workspace):
    folder = workspace.data("optdigits") / "images" / "cat"
    for name in ("0_1", "0_2", "x", "y"):
        draw(folder / f"{name}.png", ord(name[-1]), 0)
    made(workspace, ByPattern(pattern=PATTERN))
    notes = read_summary(workspace.stage("manifest", "optdigits")).notes

    assert notes == {"no match of split.group_by, a group of its own": 2}
