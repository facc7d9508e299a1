import hashlib
import json
import os
import random
import shutil
import unicodedata
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from benchmarks.hostile_files import jpeg_of_scans, tiff_of_pages
from tasks.config.params import Params, load_params
from tasks.config.sections.data import ImagesParams, SplitParams
from tasks.domains.decoding import measuring
from tasks.domains.retired import add_retired
from tasks.domains.splits import position
from tasks.errors import BadInput
from tasks.stages import manifest
from tasks.workspace import Workspace
from tests.support.tiny import CHECKOUT


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "work space")


@pytest.fixture
def params() -> Params:
    return load_params(CHECKOUT / "params.yaml").model_copy(
        update={
            "images": ImagesParams(size_px=16, max_pixels=10_000, grey_range=None, orientation_matters=True),
            "split": SplitParams(source_validation=0.25, target_adapt=0.5, target_select=0.25, group_by=None),
        }
    )


def image_bytes(seed: int, mode: str = "RGB", file_format: str = "PNG") -> bytes:
    noise_HW3 = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(noise_HW3).convert(mode).save(buffer, file_format)
    return buffer.getvalue()


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def write_source(workspace: Workspace, classes: tuple[str, ...] = ("cat", "dog"), images: int = 6) -> Path:
    folder = workspace.data("source")
    for number, name in enumerate(classes):
        for index in range(images):
            write(folder / name / f"{index}.png", image_bytes(1000 * number + index))
    return folder


def rows_of(workspace: Workspace, domain: str) -> dict[str, dict]:
    table = pq.read_table(workspace.stage("manifest", domain) / "manifest.parquet")
    return {row["path"]: row for row in table.to_pylist()}


def summary_of(workspace: Workspace, domain: str) -> dict:
    return json.loads((workspace.stage("manifest", domain) / "manifest.json").read_text(encoding="utf-8"))


def outputs(workspace: Workspace, domain: str) -> tuple[bytes, bytes]:
    folder = workspace.stage("manifest", domain)
    return (folder / "manifest.parquet").read_bytes(), (folder / "manifest.json").read_bytes()


def expected_split(row: dict, adapt: float, select: float) -> str:
    u = int(row["sha256"][:8], 16) / 2**32
    return "adapt" if u < adapt else "select" if u < adapt + select else "test"


# --- what a row says ---------------------------------------------------------------------------


def test_a_row_describes_the_file(workspace, params):
    folder = write_source(workspace)
    write(folder / "cat" / "grey.png", image_bytes(7, "L"))
    manifest.run(workspace, params, "source")

    row = rows_of(workspace, "source")["cat/grey.png"]

    pixels = np.asarray(Image.open(BytesIO(image_bytes(7, "L")))).astype(float)
    assert (row["status"], row["reason"], row["note"], row["label"]) == ("ok", None, None, "cat")
    assert (row["width"], row["height"], row["mode"], row["format"]) == (12, 9, "L", "PNG")
    assert row["bytes"] == len(image_bytes(7, "L"))
    assert len(row["phash"]) == 16
    assert row["luminance_mean"] == pytest.approx(pixels.mean(), abs=1e-3)
    assert row["luminance_std"] == pytest.approx(pixels.std(), abs=1e-3)


def test_columns_and_their_order_do_not_depend_on_what_was_found(workspace, params):
    write_source(workspace)
    (workspace.data("optdigits") / "images").mkdir(parents=True)
    manifest.run(workspace, params, "source")
    manifest.run(workspace, params, "optdigits")

    full, empty = (
        pq.read_schema(workspace.stage("manifest", domain) / "manifest.parquet")
        for domain in ("source", "optdigits")
    )

    assert full.names == [
        "path", "status", "reason", "note", "label", "split", "sha256", "bytes", "group",
        "width", "height", "mode", "format", "phash", "luminance_mean", "luminance_std", "captured_at", "grey_low", "grey_high",
        "grey_share",
    ]  # fmt: skip
    assert full.equals(empty)
    assert summary_of(workspace, "optdigits")["rows"] == 0


def test_rows_are_sorted_by_content_then_path(workspace, params):
    folder = write_source(workspace)
    write(folder / "cat" / "note.txt", b"hello")
    write(folder / "cat" / ".hidden", b"hello")
    manifest.run(workspace, params, "source")

    keys = [(row["sha256"] or "", path) for path, row in rows_of(workspace, "source").items()]

    assert keys == sorted(keys)
    assert keys[0] == ("", "cat/.hidden")


def test_the_same_files_give_the_same_bytes_in_any_folder_and_order_of_creation(workspace, params, tmp_path):
    folder = write_source(workspace)
    write(folder / "dog" / "broken.jpg", image_bytes(5, "RGB", "JPEG")[:200])
    copy = Workspace(tmp_path / "elsewhere")
    paths = [path for path in folder.rglob("*") if path.is_file()]
    random.Random(0).shuffle(paths)
    for path in paths:
        write(copy.data("source") / path.relative_to(folder), path.read_bytes())

    for each in (workspace, copy, workspace):
        manifest.run(each, params, "source")
        assert outputs(each, "source") == outputs(workspace, "source")

    for content in outputs(workspace, "source"):
        assert str(tmp_path).encode() not in content


# --- splits ------------------------------------------------------------------------------------


def test_the_position_is_uniform_from_zero_to_below_one():
    assert position("0" * 64) == 0
    assert position("8" + "0" * 63) == 0.5
    assert position("f" * 64) == (2**32 - 1) / 2**32


@given(st.text("0123456789abcdef", min_size=64, max_size=64))
def test_the_position_needs_the_first_eight_digits_alone(sha256):
    assert position(sha256) == position(sha256[:8] + "0" * 56) < 1


def test_the_source_is_split_by_content(workspace, params):
    write_source(workspace, images=30)
    manifest.run(workspace, params, "source")

    for row in rows_of(workspace, "source").values():
        u = int(row["sha256"][:8], 16) / 2**32
        assert row["split"] == ("validation" if u < 0.25 else "train")
    splits = summary_of(workspace, "source")["splits"]
    assert splits["train"] + splits["validation"] == 60
    assert 5 <= splits["validation"] <= 25


def test_a_new_name_and_new_neighbours_do_not_move_an_image(workspace, params):
    folder = workspace.data("optdigits") / "images"
    for index in range(30):
        write(folder / f"{index}.png", image_bytes(index))
    manifest.run(workspace, params, "optdigits")
    before = {row["sha256"]: row["split"] for row in rows_of(workspace, "optdigits").values()}

    for path in list(folder.iterdir()):
        path.rename(folder / f"renamed {path.name}")
    for index in range(100, 120):
        write(workspace.data("optdigits") / "arrived" / "batch-1" / f"{index}.png", image_bytes(index))
    manifest.run(workspace, params, "optdigits")
    after = {row["sha256"]: row["split"] for row in rows_of(workspace, "optdigits").values()}

    assert set(before.values()) == {"adapt", "select", "test"}
    assert len(after) == 50
    assert {sha256: after[sha256] for sha256 in before} == before


def test_a_target_without_holdout_is_split_in_three(workspace, params):
    for index in range(40):
        area = "images" if index % 2 else "arrived/b1"
        write(workspace.data("optdigits") / area / f"{index}.png", image_bytes(index))
    manifest.run(workspace, params, "optdigits")

    rows = rows_of(workspace, "optdigits").values()

    assert all(row["split"] == expected_split(row, 0.5, 0.25) for row in rows)
    assert all(row["label"] is None for row in rows)
    assert summary_of(workspace, "optdigits")["classes"] is None


def test_a_holdout_of_its_own_leaves_the_rest_to_adapt_and_select(workspace, params):
    for index in range(40):
        write(workspace.data("optdigits") / "images" / f"{index}.png", image_bytes(index))
    for index in range(100, 110):
        name = "cat" if index % 2 else "dog"
        write(workspace.data("optdigits") / "holdout" / name / f"{index}.png", image_bytes(index))
    manifest.run(workspace, params, "optdigits")

    rows = rows_of(workspace, "optdigits")

    for path, row in rows.items():
        if path.startswith("holdout/"):
            assert (row["split"], row["label"]) == ("test", path.split("/")[1])
        else:
            assert (row["split"], row["label"]) == (expected_split(row, 0.5 / 0.75, 1), None)
    assert summary_of(workspace, "optdigits")["labels"] == {"cat": 5, "dog": 5}


def test_nothing_to_adapt_on_is_refused(workspace, params):
    write(workspace.data("optdigits") / "images" / "1.png", image_bytes(1))
    split = SplitParams(source_validation=0.2, target_adapt=0, target_select=0, group_by=None)

    with pytest.raises(BadInput, match=r"split\.target_adapt and split\.target_select are both 0"):
        manifest.run(workspace, params.model_copy(update={"split": split}), "optdigits")


# --- labels ------------------------------------------------------------------------------------


def test_a_targets_labels_are_written_for_its_test_split_only(workspace, params):
    for index in range(40):
        write(
            workspace.data("optdigits") / "images" / ("cat" if index % 3 else "dog") / f"{index}.png",
            image_bytes(index),
        )
    manifest.run(workspace, params, "optdigits")

    for path, row in rows_of(workspace, "optdigits").items():
        assert row["label"] == (path.split("/")[1] if row["split"] == "test" else None)
    summary = summary_of(workspace, "optdigits")
    assert summary["classes"] == ["cat", "dog"]
    assert sum(summary["labels"].values()) == summary["splits"]["test"]


def test_wrong_labels_in_adapt_and_select_change_nothing_that_training_reads(workspace, params, tmp_path):
    planted = Workspace(tmp_path / "planted")
    for index in range(40):
        content = image_bytes(index)
        name = "cat" if index % 2 else "dog"
        write(workspace.data("optdigits") / "images" / name / f"{index}.png", content)
        sha256 = hashlib.sha256(content).hexdigest()
        unseen = expected_split({"sha256": sha256}, 0.5, 0.25) != "test"
        wrong = {"cat": "dog", "dog": "cat"}[name] if unseen else name
        write(planted.data("optdigits") / "images" / wrong / f"{index}.png", content)
    for each in (workspace, planted):
        manifest.run(each, params, "optdigits")

    def readable(each: Workspace) -> list[tuple]:
        return [(row["sha256"], row["split"], row["label"]) for row in rows_of(each, "optdigits").values()]

    assert readable(planted) == readable(workspace)
    for digest in ("data_digest", "labels_digest"):
        assert summary_of(planted, "optdigits")[digest] == summary_of(workspace, "optdigits")[digest]


def test_the_data_digest_of_a_target_knows_no_labels_and_the_labels_digest_does(workspace, params):
    folder = workspace.data("optdigits")
    for index in range(20):
        write(folder / "images" / f"{index}.png", image_bytes(index))
    write(folder / "holdout" / "cat" / "a.png", image_bytes(100))
    manifest.run(workspace, params, "optdigits")
    before = summary_of(workspace, "optdigits")

    (folder / "holdout" / "cat").rename(folder / "holdout" / "dog")
    manifest.run(workspace, params, "optdigits")
    after = summary_of(workspace, "optdigits")

    assert after["data_digest"] == before["data_digest"]
    assert after["labels_digest"] != before["labels_digest"]


def test_the_data_digest_of_the_source_knows_labels_and_splits_and_no_names(workspace, params):
    folder = write_source(workspace)
    digests = []
    for change in (
        lambda: None,
        lambda: (folder / "cat" / "0.png").rename(folder / "cat" / "renamed.png"),
        lambda: (folder / "cat" / "renamed.png").rename(folder / "dog" / "moved.png"),
    ):
        change()
        manifest.run(workspace, params, "source")
        digests.append(summary_of(workspace, "source")["data_digest"])
    split = SplitParams(source_validation=1, target_adapt=0.5, target_select=0.25, group_by=None)
    manifest.run(workspace, params.model_copy(update={"split": split}), "source")
    digests.append(summary_of(workspace, "source")["data_digest"])

    assert digests[0] == digests[1]
    assert len({digests[0], digests[2], digests[3]}) == 3


def test_a_batch_that_arrives_beside_a_holdout_keeps_a_test_split_for_fresh_labels(workspace, params):
    folder = workspace.data("cam7")
    write_source(workspace)
    for index in range(60):
        write(folder / "images" / f"{index}.png", image_bytes(5000 + index))
        write(folder / "arrived" / "batch" / f"{index}.png", image_bytes(6000 + index))
    for index in range(4):
        write(folder / "holdout" / "cat" / f"{index}.png", image_bytes(7000 + index))

    manifest.run(workspace, params, "cam7")

    rows = rows_of(workspace, "cam7")
    arrived = {path: row for path, row in rows.items() if path.startswith("arrived")}
    assert {row["split"] for path, row in rows.items() if path.startswith("images")} == {"adapt", "select"}
    assert all(row["split"] == expected_split(row, 0.5, 0.25) for row in arrived.values())
    assert "test" in {row["split"] for row in arrived.values()}
    assert {row["label"] for row in arrived.values()} == {None}


def test_an_image_whose_label_has_retired_trains_wherever_it_lies(workspace, params):
    folder = workspace.data("cam7")
    write_source(workspace)
    for index in range(40):
        write(folder / "images" / f"{index}.png", image_bytes(5000 + index))
    for index in range(4):
        write(folder / "holdout" / "cat" / f"{index}.png", image_bytes(7000 + index))
    write(folder / "images" / "copy of 0.png", image_bytes(7000))
    manifest.run(workspace, params, "cam7")
    before = rows_of(workspace, "cam7")
    gone = {before["holdout/cat/0.png"]["sha256"]: "cat", before["images/7.png"]["sha256"]: "dog"}

    add_retired(folder, gone)
    manifest.run(workspace, params, "cam7")

    rows = rows_of(workspace, "cam7")
    used = {row["sha256"]: row for row in rows.values() if row["status"] == "ok"}
    assert {sha256: (used[sha256]["split"], used[sha256]["label"]) for sha256 in gone} == {
        sha256: ("labelled", label) for sha256, label in gone.items()
    }
    assert summary_of(workspace, "cam7")["labels"] == {"cat": 3}
    assert "labelled/retired.csv" not in rows
    others = [path for path in rows if path.startswith("images") and rows[path]["sha256"] not in gone]
    assert {path: rows[path]["split"] for path in others} == {path: before[path]["split"] for path in others}


def test_where_the_whole_holdout_has_retired_the_rest_is_split_in_three(workspace, params):
    folder = workspace.data("cam7")
    write_source(workspace)
    for index in range(40):
        write(folder / "images" / f"{index}.png", image_bytes(5000 + index))
    for index in range(4):
        write(folder / "holdout" / "cat" / f"{index}.png", image_bytes(7000 + index))
    manifest.run(workspace, params, "cam7")
    rows = rows_of(workspace, "cam7")

    add_retired(folder, {row["sha256"]: "cat" for path, row in rows.items() if path.startswith("holdout")})
    manifest.run(workspace, params, "cam7")

    rows = rows_of(workspace, "cam7")
    rest = [row for path, row in rows.items() if path.startswith("images")]
    assert all(row["split"] == expected_split(row, 0.5, 0.25) for row in rest)
    assert "test" in {row["split"] for row in rest}


def test_with_a_holdout_the_folders_in_images_are_no_classes(workspace, params):
    folder = workspace.data("optdigits")
    for index in range(10):
        write(folder / "images" / "2026-11" / f"{index}.png", image_bytes(index))
    write(folder / "holdout" / "cat" / "a.png", image_bytes(100))
    write(folder / "holdout" / "dog" / "b.png", b"")
    manifest.run(workspace, params, "optdigits")

    assert summary_of(workspace, "optdigits")["classes"] == ["cat", "dog"]


@pytest.mark.parametrize(
    "name", ["a b", 'it\'s "quoted"', "naïve 猫", "line\nbreak", "-rf", "$HOME;ls", "a,b"]
)
def test_a_class_folder_may_have_any_name(workspace, params, name):
    write_source(workspace, ("plain", name))
    manifest.run(workspace, params, "source")

    assert summary_of(workspace, "source")["classes"] == sorted(["plain", unicodedata.normalize("NFC", name)])
    assert rows_of(workspace, "source")[f"{name}/0.png"]["label"] == unicodedata.normalize("NFC", name)


def test_two_spellings_of_one_accented_class_are_one_class(workspace, params):
    folder = write_source(workspace, ("café", "dog"))
    write(folder / unicodedata.normalize("NFD", "café") / "x.png", image_bytes(50))
    manifest.run(workspace, params, "source")

    assert summary_of(workspace, "source")["labels"] == {"café": 7, "dog": 6}


# --- copies ------------------------------------------------------------------------------------


def test_the_first_copy_by_path_is_used_and_the_others_name_it(workspace, params):
    folder = write_source(workspace)
    for name in ("z.png", "deep/er/copy.png"):
        write(folder / "cat" / name, image_bytes(0))
    manifest.run(workspace, params, "source")

    rows = rows_of(workspace, "source")

    assert (rows["cat/0.png"]["status"], rows["cat/0.png"]["note"]) == ("ok", "first of duplicates")
    for name in ("cat/z.png", "cat/deep/er/copy.png"):
        assert (rows[name]["status"], rows[name]["reason"]) == ("quarantined", "duplicate of cat/0.png")
        assert rows[name]["split"] is rows[name]["label"] is None
    assert summary_of(workspace, "source")["notes"] == {"first of duplicates": 1}


def test_an_image_under_two_labels_of_the_source_is_used_under_neither(workspace, params):
    folder = write_source(workspace)
    write(folder / "dog" / "copy.png", image_bytes(0))
    manifest.run(workspace, params, "source")

    rows = rows_of(workspace, "source")

    for path in ("cat/0.png", "dog/copy.png"):
        assert (rows[path]["status"], rows[path]["reason"]) == (
            "quarantined",
            "same image under labels cat, dog",
        )


def test_two_labels_count_in_the_test_split_and_are_copies_elsewhere(workspace, params):
    folder = workspace.data("optdigits") / "images"
    for index in range(20):
        for name in ("cat", "dog"):
            write(folder / name / f"{index}.png", image_bytes(index))
    manifest.run(workspace, params, "optdigits")

    rows = rows_of(workspace, "optdigits")

    reasons = {"test": set(), "unseen": set()}
    for path, row in rows.items():
        seen = "test" if expected_split(row, 0.5, 0.25) == "test" else "unseen"
        reasons[seen].add((path.split("/")[1], (row["reason"] or "used").split("/")[0]))
    assert reasons["unseen"] == {("cat", "used"), ("dog", "duplicate of images")}
    assert reasons["test"] == {(name, "same image under labels cat, dog") for name in ("cat", "dog")}


def test_what_is_adapted_to_does_not_depend_on_a_label_in_the_holdout(workspace, params):
    folder = workspace.data("optdigits")
    for index in range(10):
        write(folder / "images" / f"{index}.png", image_bytes(index))
    write(folder / "holdout" / "cat" / "x.png", image_bytes(0))
    write(folder / "holdout" / "cat" / "y.png", image_bytes(100))
    digests = set()
    for second in ("cat", "dog"):
        copy = write(folder / "holdout" / second / "copy.png", image_bytes(0))
        manifest.run(workspace, params, "optdigits")
        unseen = [
            row for row in rows_of(workspace, "optdigits").values() if row["split"] in ("adapt", "select")
        ]
        digests.add(tuple((row["sha256"], row["split"]) for row in unseen))
        copy.unlink()

    assert len(unseen) == 9
    assert len(digests) == 1


def test_an_arrived_copy_does_not_take_an_image_out_of_the_holdout(workspace, params):
    folder = workspace.data("optdigits")
    write(folder / "holdout" / "cat" / "x.png", image_bytes(1))
    write(folder / "arrived" / "b1" / "y.png", image_bytes(1))
    write(folder / "images" / "z.png", image_bytes(1))
    manifest.run(workspace, params, "optdigits")

    rows = rows_of(workspace, "optdigits")

    assert (rows["holdout/cat/x.png"]["status"], rows["holdout/cat/x.png"]["split"]) == ("ok", "test")
    for path in ("arrived/b1/y.png", "images/z.png"):
        assert rows[path]["reason"] == "duplicate of holdout/cat/x.png"


# --- a few labelled target images --------------------------------------------------------------


def write_labelled_target(workspace: Workspace) -> Path:
    folder = workspace.data("optdigits")
    for index in range(40):
        write(folder / "images" / f"{index}.png", image_bytes(index))
    for index in range(8):
        write(
            folder / "labelled" / ("cat" if index % 2 else "dog") / f"{index}.png", image_bytes(100 + index)
        )
    return folder


def test_labelled_images_keep_their_label_in_a_split_of_their_own_whatever_their_content(workspace, params):
    folder = write_labelled_target(workspace)
    write(folder / "labelled" / "loose.png", image_bytes(200))
    manifest.run(workspace, params, "optdigits")

    rows = rows_of(workspace, "optdigits")

    assert rows["labelled/loose.png"]["reason"] == "outside any class folder"
    labelled = {
        path: row for path, row in rows.items() if row["status"] == "ok" and path.startswith("labelled/")
    }
    assert len(labelled) == 8
    for path, row in labelled.items():
        assert (row["split"], row["label"]) == ("labelled", path.split("/")[1])
    assert {expected_split(row, 0.5, 0.25) for row in labelled.values()} > {"adapt"}
    for path, row in rows.items():
        if path.startswith("images/"):
            assert (row["split"], row["label"]) == (expected_split(row, 0.5, 0.25), None)
    summary = summary_of(workspace, "optdigits")
    assert summary["splits"]["labelled"] == 8
    assert (summary["classes"], summary["labels"]) == (None, {})


def test_a_target_without_labelled_images_has_no_such_split(workspace, params):
    write(workspace.data("optdigits") / "images" / "1.png", image_bytes(1))
    manifest.run(workspace, params, "optdigits")

    assert list(summary_of(workspace, "optdigits")["splits"]) == ["adapt", "select", "test"]


def test_the_data_digest_knows_the_labels_that_training_sees_and_the_labels_digest_does_not(
    workspace, params
):
    folder = write_labelled_target(workspace)
    write(folder / "holdout" / "cat" / "a.png", image_bytes(300))
    digests = []
    for name in ("cat", "van"):
        (folder / "labelled" / "cat").rename(folder / "labelled" / name)
        manifest.run(workspace, params, "optdigits")
        summary = summary_of(workspace, "optdigits")
        digests.append((summary["data_digest"], summary["labels_digest"]))

    assert digests[0][0] != digests[1][0]
    assert digests[0][1] == digests[1][1]


@pytest.mark.parametrize(
    ("other", "kept"),
    [
        ("holdout/cat/x.png", "holdout/cat/x.png"),  # a label seen in training is never in the hold-out
        ("images/x.png", "labelled/cat/copy.png"),
        ("arrived/b1/x.png", "labelled/cat/copy.png"),
        ("labelled/cat/a.png", "labelled/cat/a.png"),
    ],
)
def test_of_a_labelled_image_and_its_copy_one_is_used(workspace, params, other, kept):
    folder = write_labelled_target(workspace)
    for path in ("labelled/cat/copy.png", other):
        write(folder / path, image_bytes(500))
    manifest.run(workspace, params, "optdigits")

    rows = rows_of(workspace, "optdigits")

    left_out = {"labelled/cat/copy.png", other} - {kept}
    assert rows[kept]["split"] == ("test" if kept.startswith("holdout") else "labelled")
    assert [rows[path]["reason"] for path in left_out] == [f"duplicate of {kept}"]


def test_without_a_holdout_folder_the_test_split_keeps_its_labelled_images(workspace, params):
    folder = workspace.data("optdigits")
    for index in range(20):
        write(folder / "images" / "cat" / f"{index}.png", image_bytes(index))
        write(folder / "labelled" / "cat" / f"{index}.png", image_bytes(index))
    manifest.run(workspace, params, "optdigits")

    rows = rows_of(workspace, "optdigits")

    used = {(path.split("/")[0], row["split"]) for path, row in rows.items() if row["status"] == "ok"}
    assert used == {("images", "test"), ("labelled", "labelled")}
    assert summary_of(workspace, "optdigits")["ok"] == 20


@pytest.mark.parametrize("other", ["labelled/dog/x.png", "holdout/dog/x.png"])
def test_a_labelled_image_under_two_labels_is_used_nowhere(workspace, params, other):
    folder = write_labelled_target(workspace)
    for path in ("labelled/cat/copy.png", other, "images/copy.png"):
        write(folder / path, image_bytes(500))
    manifest.run(workspace, params, "optdigits")

    rows = rows_of(workspace, "optdigits")

    for path in ("labelled/cat/copy.png", other, "images/copy.png"):
        assert (rows[path]["reason"], rows[path]["split"]) == ("same image under labels cat, dog", None)


# --- nothing is lost ---------------------------------------------------------------------------


def test_hostile_files_are_listed_with_a_reason_and_good_ones_go_through(workspace, params, tmp_path):
    folder = write_source(workspace)
    secret = write(tmp_path / "secret.png", image_bytes(99))
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    frames[0].save(folder / "cat" / "moving.gif", save_all=True, append_images=frames[1:])
    write(folder / "cat" / "zero.png", b"")
    write(folder / "cat" / "text 'with\nquotes\".jpg", b"hello")
    write(folder / "cat" / "cut.jpg", image_bytes(5, "RGB", "JPEG")[:-150])
    write(folder / "cat" / "large.png", _png(200, 200))
    write(folder / "cat" / "cmyk.jpg", image_bytes(6, "CMYK", "JPEG"))
    write(folder / "cat" / "alpha.png", image_bytes(8, "RGBA"))
    write(folder / "loose.png", image_bytes(9))
    write(folder / "cat" / ".DS_Store", b"x")
    (folder / "dog" / "out.png").symlink_to(secret)
    os.mkfifo(folder / "dog" / "pipe")
    write(folder / os.fsdecode(b"dog/\xff.png"), image_bytes(10))
    write(folder / "refused.jsonl", b'{"path": "dog/../../evil.png", "reason": "leaves the archive"}\n')
    manifest.run(workspace, params, "source")

    summary = summary_of(workspace, "source")
    rows = rows_of(workspace, "source")

    left_out = {entry["path"]: entry["reason"] for entry in summary["quarantined"]}
    assert left_out.pop("cat/cut.jpg").startswith("damaged or truncated JPEG (")
    assert left_out == {
        "cat/.DS_Store": "hidden file",
        "cat/large.png": "claims 200 x 200 px, more than max_pixels 10000 in params.yaml; not decoded",
        "cat/moving.gif": "animated, 2 frames; extract stills",
        "cat/text 'with\nquotes\".jpg": "text, not an image",
        "cat/zero.png": "empty file (0 bytes)",
        "dog/../../evil.png": "leaves the archive",
        "dog/\\udcff.png": "name is not UTF-8, rename this file",
        "dog/out.png": "symbolic link that leaves the domain folder; copy the file instead",
        "dog/pipe": "not a regular file",
        "loose.png": "outside any class folder",
    }
    assert summary["ok"] == 12 + 2
    assert summary["rows"] == len(rows) == 12 + 2 + 11
    assert summary["notes"] == {"CMYK converted to RGB": 1, "alpha laid on white": 1}
    assert "refused.jsonl" not in rows


@pytest.mark.parametrize(
    "folders",
    [
        ["train", "val", "test"],
        ["Training", "Testing"],
        ["train"],
        ["train_images", "test_images"],
        ["val2017", "train2017"],
    ],
)
def test_a_source_that_holds_the_parts_of_a_dataset_is_refused_with_the_way_out(workspace, params, folders):
    for folder in folders:
        for name in ("cat", "dog"):
            write(workspace.data("source") / folder / name / "1.png", image_bytes(len(folder)))

    with pytest.raises(BadInput) as raised:
        manifest.run(workspace, params, "source")

    named = ", ".join(f"{folder}/" for folder in sorted(folders))
    assert (
        f"data/source holds {named}, which are parts of a dataset and no classes. Put the class folders"
        in str(raised.value)
    )


@pytest.mark.parametrize(
    "classes",
    [
        ("train", "bus", "car"),
        ("test", "control"),
        ("train", "plane"),
        ("training shoes", "boots"),
        ("valid", "expired"),
    ],
)
def test_classes_that_are_called_like_a_part_of_a_dataset_are_classes(workspace, params, classes):
    write_source(workspace, classes)

    manifest.run(workspace, params, "source")

    assert summary_of(workspace, "source")["classes"] == sorted(classes)


def test_folders_of_a_target_that_are_no_class_of_the_source_are_no_labels(workspace, params):
    write_source(workspace)
    folder = workspace.data("optdigits")
    same = image_bytes(50)
    for number, name in enumerate(("cat", "2024-05-01", "2024-05-02")):
        for index in range(8):
            write(folder / "images" / name / f"{index}.png", image_bytes(100 * (number + 5) + index))
        write(folder / "images" / name / "same.png", same)
    manifest.run(workspace, params, "optdigits")

    rows = rows_of(workspace, "optdigits")

    assert {row["label"] for path, row in rows.items() if "2024" in path} == {None}
    assert summary_of(workspace, "optdigits")["classes"] == ["cat"]
    copies = [rows[f"images/{name}/same.png"]["reason"] for name in ("2024-05-01", "2024-05-02", "cat")]
    assert (
        sum(reason is None for reason in copies) == 1
    )  # one picture under two dates is a copy, and no contradiction


def test_folders_of_a_holdout_that_are_no_class_judge_nothing_and_say_so(workspace, params):
    write_source(workspace)
    folder = workspace.data("optdigits")
    for index in range(8):
        write(folder / "images" / f"{index}.png", image_bytes(500 + index))
        write(folder / "holdout" / "cat" / f"{index}.png", image_bytes(600 + index))
        write(folder / "holdout" / "fox" / f"{index}.png", image_bytes(700 + index))
    manifest.run(workspace, params, "optdigits")

    rows = rows_of(workspace, "optdigits")

    assert summary_of(workspace, "optdigits")["labels"] == {"cat": 8}
    assert {row["reason"] for path, row in rows.items() if "/fox/" in path} == {
        "in a folder that is no class of the source"
    }


def test_a_file_that_hangs_its_decoder_is_left_out_with_the_reason_and_the_stage_goes_on(
    workspace, params, monkeypatch
):
    folder = write_source(workspace)
    write(folder / "cat" / "scans.jpg", jpeg_of_scans(60))
    write(folder / "cat" / "a thousand scans.jpg", jpeg_of_scans(1000, side=64))
    write(folder / "cat" / "pages.tif", tiff_of_pages(20_000))
    monkeypatch.setattr(measuring, "DECODE_CPU_S", 0.3)
    images = ImagesParams(size_px=16, max_pixels=50_000_000, grey_range=None, orientation_matters=True)
    manifest.run(workspace, params.model_copy(update={"images": images}), "source")

    summary = summary_of(workspace, "source")

    assert {entry["path"]: entry["reason"] for entry in summary["quarantined"]} == {
        "cat/a thousand scans.jpg": "JPEG of more than 64 scans; save it anew with an ordinary encoder",
        "cat/pages.tif": "TIFF of more than 1000 pages; extract them as single images",
        "cat/scans.jpg": "takes more than 0.3 s of CPU time to decode",
    }
    assert summary["ok"] == 12


def _png(width: int, height: int) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def test_files_of_a_target_outside_its_folders_are_listed(workspace, params):
    folder = workspace.data("optdigits")
    write(folder / "images" / "a.png", image_bytes(1))
    write(folder / "loose.png", image_bytes(2))
    write(folder / "other" / "b.png", image_bytes(3))
    write(folder / "holdout" / "c.png", image_bytes(4))
    manifest.run(workspace, params, "optdigits")

    assert summary_of(workspace, "optdigits")["quarantined"] == [
        {"path": "holdout/c.png", "reason": "outside any class folder"},
        {"path": "loose.png", "reason": "outside images/, holdout/, labelled/ and arrived/"},
        {"path": "other/b.png", "reason": "outside images/, holdout/, labelled/ and arrived/"},
    ]


# --- clear messages ----------------------------------------------------------------------------


def message(workspace: Workspace, params: Params, domain: str = "source") -> str:
    with pytest.raises(BadInput) as caught:
        manifest.run(workspace, params, domain)
    return str(caught.value)


def test_a_missing_folder_is_named_with_what_belongs_there(workspace, params):
    text = message(workspace, params)

    assert f"{workspace.data('source')} is not a folder" in text
    assert "<class>/*.jpg" in text
    assert "source, optdigits, photo-digits" in text


def test_a_source_without_class_folders_names_what_is_there_instead(workspace, params):
    for index in range(7):
        write(workspace.data("source") / f"{index}.png", image_bytes(index))

    text = message(workspace, params)

    assert "has no class folders" in text
    assert "found 0.png, 1.png, 2.png, 3.png, 4.png and 2 more" in text


def test_one_class_only_is_refused(workspace, params):
    write_source(workspace, ("cat",))

    assert "has 1 class with images (cat): a classifier needs at least two" in message(workspace, params)


def test_a_class_without_a_usable_image_is_named_with_the_reasons(workspace, params):
    folder = write_source(workspace)
    (folder / "empty").mkdir()
    write(folder / "bad" / "x.jpg", b"hello")
    write(folder / "refused.jsonl", b'{"path": "gone/y.png", "reason": "leaves the archive"}\n')

    text = message(workspace, params)

    assert "3 of 5 classes" in text
    assert "\n  bad: bad/x.jpg (text, not an image)\n" in text
    assert "\n  empty: nothing\n" in text
    assert text.endswith("\n  gone: gone/y.png (leaves the archive)")


def test_a_target_without_images_says_where_to_put_them(workspace, params):
    write(workspace.data("optdigits") / "1.png", image_bytes(1))

    text = message(workspace, params, "optdigits")

    assert "has neither images/ nor arrived/" in text
    assert "found 1.png" in text


def test_a_refused_run_leaves_no_manifest(workspace, params):
    write_source(workspace, ("cat",))
    message(workspace, params)

    assert not workspace.stage("manifest", "source").exists()


def test_a_changed_domain_replaces_the_old_manifest(workspace, params):
    folder = write_source(workspace, ("cat", "dog", "cow"))
    manifest.run(workspace, params, "source")
    shutil.rmtree(folder / "cow")
    manifest.run(workspace, params, "source")

    assert summary_of(workspace, "source")["classes"] == ["cat", "dog"]
