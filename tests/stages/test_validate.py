import hashlib
import json
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.config.params import Params, load_params
from tasks.config.sections.data import ValidateParams
from tasks.domains.image.reader import Images
from tasks.domains.image.spec import image_spec
from tasks.domains.places import NO_CLASS
from tasks.errors import BadInput
from tasks.records.manifest import Row, read_summary
from tasks.stages import manifest, validate
from tasks.workspace import Workspace
from tests.support.manifests import write_rows
from tests.support.tiny import CHECKOUT

BOUNDS = ValidateParams(
    min_rows_source=20,
    min_rows_target=10,
    min_rows_per_class=5,
    max_class_ratio=3,
    min_side_px=8,
    max_quarantine_fraction=0.1,
)
IMAGES = Images(image_spec(16), 10_000)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture
def params() -> Params:
    return load_params(CHECKOUT / "params.yaml").model_copy(update={"validate_": BOUNDS})


def usable(path: str, split: str, label: str | None = None, **changes) -> Row:
    sha256 = hashlib.sha256(path.encode()).hexdigest()
    measures = {
        "width": 32, "height": 24, "mode": "RGB", "format": "JPEG", "phash": sha256[:16],
        "luminance_mean": 100.0, "luminance_std": 10.0,
    }  # fmt: skip
    row = Row(path, "ok", label=label, split=split, sha256=sha256, bytes=100, measures=measures)
    return replace(row, **changes)


def measured(row: Row, **measures: int | str) -> Row:
    return replace(row, measures={**row.measures, **measures})


def source_rows(classes: tuple[str, ...] = ("cat", "dog"), images: int = 15) -> list[Row]:
    return [
        usable(f"{name}/{index}.jpg", "validation" if index % 5 == 4 else "train", name)
        for name in classes
        for index in range(images)
    ]


def target_rows(classes: tuple[str, ...] | None = ("cat", "dog"), images: int = 20) -> list[Row]:
    def row(index: int) -> Row:
        name = classes[index // 5 % len(classes)] if classes else None
        split = ("adapt", "adapt", "adapt", "select", "test")[index % 5]
        folder = f"images/{name}" if name else "images"
        return usable(f"{folder}/{index}.jpg", split, name if split == "test" else None)

    return [row(index) for index in range(images)]


def verdict(
    workspace: Workspace,
    params: Params,
    source: list[Row],
    target: list[Row],
    classes: tuple[str, ...] | None = ("cat", "dog"),
    *,
    grouped: bool = False,
) -> dict:
    """The verdict on two manifests, which are written and read like real ones."""
    names = sorted({row.label for row in source if row.label})
    write_rows(workspace, "source", source, names, grouped=grouped)
    write_rows(workspace, "site", target, sorted(classes) if classes else None, grouped=grouped)
    kept = workspace.private / "verdicts" / "validate-site.json"
    written = workspace.stage("validate", "site") / "verdict.json"
    raised = ""
    try:
        validate.run(workspace, params, "site")
    except BadInput as error:
        raised = str(error)
    result = json.loads(written.read_text(encoding="utf-8"))
    assert result["passed"] == (not result["reasons"]) == (not raised)
    for reason in result["reasons"]:
        assert f"  {reason}\n" in raised
    assert raised == "" or raised.endswith(str(kept))
    assert kept.read_bytes() == written.read_bytes()
    return result


def only(messages: list[str]) -> str:
    [message] = messages
    return message


# --- a pair that can be worked with --------------------------------------------------------------


@pytest.mark.parametrize("classes", [("cat", "dog"), None], ids=["labelled", "flat"])
def test_good_data_passes_without_a_warning(workspace, params, classes):
    result = verdict(workspace, params, source_rows(), target_rows(classes), classes)

    assert (result["passed"], result["reasons"], result["warnings"]) == (True, [], [])
    assert result["target"] == "site"
    assert len(result["checks"]) >= 26
    assert all(check["passed"] and check["message"] is None for check in result["checks"])
    assert {check["suite"] for check in result["checks"]} == {"source", "target", "pair"}
    for domain, name in (("source", "source"), ("target", "site")):
        assert result["data_digest"][domain] == read_summary(workspace.stage("manifest", name)).data_digest


def test_the_verdict_has_the_same_bytes_every_time_and_no_path_of_this_machine(workspace, params):
    written = workspace.stage("validate", "site") / "verdict.json"
    source = [*source_rows(), Row("cat/x.jpg", "quarantined", "empty file (0 bytes)")]
    verdict(workspace, params, source, target_rows())
    first = written.read_bytes()
    verdict(workspace, params, source, target_rows())

    assert written.read_bytes() == first
    assert str(workspace.root).encode() not in first


def test_bounds_come_from_the_parameters(workspace, params):
    result = verdict(workspace, params, source_rows(), target_rows())

    rows = [check for check in result["checks"] if check["expected"]["column"] == "num_examples"]
    assert [
        (check["observed"], check["expected"]["min_value"]) for check in rows if check["table"] == "summary"
    ] == [
        (30, 20),
        (20, 10),
    ]


# --- critical ----------------------------------------------------------------------------------


def test_a_target_of_three_images_ends_in_a_clear_line(workspace, params):
    rows = [usable(f"images/{split}.jpg", split) for split in ("adapt", "select", "test")]
    result = verdict(workspace, params, source_rows(), rows, None)

    assert result["reasons"] == [
        "target: 3 usable images, fewer than validate.min_rows_target 10: data/site. Add images."
    ]


def test_too_few_source_images_and_too_few_of_a_class_are_two_reasons(workspace, params):
    result = verdict(workspace, params, source_rows(images=4), target_rows())

    assert result["reasons"] == [
        "source: 8 usable images, fewer than validate.min_rows_source 20: data/source. Add images.",
        "source: classes with fewer usable images than validate.min_rows_per_class 5:"
        " data/source/cat (4), data/source/dog (4). Add images.",
    ]


def test_exactly_the_minimum_is_enough(workspace, params):
    source = [*source_rows(("dog",), images=15), *source_rows(("cat",), images=5)]

    assert verdict(workspace, params, source, target_rows(images=10))["passed"]


def test_a_class_that_is_never_trained_on_is_named(workspace, params):
    source = [replace(row, split="validation") if row.label == "dog" else row for row in source_rows()]
    result = verdict(workspace, params, source, target_rows())

    assert only(result["reasons"]) == (
        "source: classes without any image in the train split: data/source/dog."
        " Add images or lower split.source_validation."
    )


@pytest.mark.parametrize("split", ["adapt", "select"])
def test_an_empty_split_of_the_target_is_named(workspace, params, split):
    rows = [row for row in target_rows(images=40) if row.split != split]
    result = verdict(workspace, params, source_rows(), rows)

    assert only(result["reasons"]).startswith(f"target: no image in the {split} split")
    assert f"raise split.target_{split}" in only(result["reasons"])


def test_classes_that_the_target_lacks_and_folders_that_are_no_class_are_warnings(workspace, params):
    source = source_rows(("bus", "cat", 'it\'s a "dog"'))
    beside = [usable(f"holdout/old/{index}.jpg", "test", "cat") for index in range(3)]
    judges = usable("holdout/cat/0.jpg", "test", "cat")
    target = [*target_rows(("cat", "van", "ñu")), judges, *(replace(row, label=None) for row in beside)]
    result = verdict(workspace, params, source, target, ("cat",))

    assert result["passed"]
    assert result["warnings"] == [
        "pair: folders of the hold-out that are no class of the source, so that their images judge nothing:"
        " data/site/holdout/old",
        "pair: folders beside class folders of site that are no class of the source, so that their images have no label:"
        " data/site/images/van, data/site/images/ñu",
        "pair: classes of which the labelled hold-out of site has no image, so nothing is known about them:"
        ' bus, it\'s a "dog"',
    ]


def test_a_target_in_folders_of_dates_is_flat_and_no_warning(workspace, params):
    dated = [
        replace(row, path=row.path.replace("images/", "images/2024-05-01/")) for row in target_rows(None)
    ]
    result = verdict(workspace, params, source_rows(), dated, None)

    assert (result["reasons"], result["warnings"]) == ([], [])


@pytest.mark.parametrize("name", ["Cat", "CAT", "_cat", "cat ", "c-a-t"])
def test_a_folder_that_is_called_almost_like_a_class_is_critical(workspace, params, name):
    rows = [usable(f"images/{name}/{index}.jpg", "adapt") for index in range(3)]
    result = verdict(workspace, params, source_rows(), [*target_rows(), *rows])

    assert only(result["reasons"]) == (
        "pair: folders of site whose names differ from a class of the source by case or signs alone:"
        f" cat: data/site/images/{name}. Rename them."
    )


def test_a_holdout_whose_labels_have_retired_is_no_fault(workspace, params):
    retired = [usable(f"holdout/cat/{index}.jpg", "labelled", "cat") for index in range(3)]
    result = verdict(workspace, params, source_rows(), [*target_rows(None), *retired], None)

    assert (result["passed"], result["reasons"]) == (True, [])


@pytest.mark.parametrize(("share", "warns"), [(400 / 65535, True), (0.5, False), (None, False)])
def test_deep_grey_that_uses_little_of_its_range_is_a_warning_with_the_setting(
    workspace, params, share, warns
):
    grey = [measured(row, grey_low=7000.0, grey_high=7400.0, grey_share=share) for row in target_rows()]
    result = verdict(workspace, params, source_rows(), grey)

    told = [one for one in result["warnings"] if "images.grey_range" in one]
    assert len(told) == warns
    assert all("7000 to 7400" in one for one in told)


def test_a_holdout_whose_folders_are_all_of_other_names_is_critical(workspace, params):
    rows = [Row(f"holdout/{index}/a.jpg", "quarantined", NO_CLASS) for index in range(20)]
    result = verdict(workspace, params, source_rows(), [*target_rows(None, images=40), *rows], None)

    assert only(result["reasons"]) == (
        "pair: no image of the hold-out can judge: data/site/holdout. Name its folders after the classes of the source."
    )


@pytest.mark.parametrize(
    ("severity", "split", "label"), [("critical", "test", "cat"), ("warning", "adapt", None)]
)
def test_an_image_of_the_source_in_the_target_is_critical_in_the_holdout_only(
    workspace, params, severity, split, label
):
    source = source_rows()
    copy = usable("images/copy.jpg", split, label, sha256=source[0].sha256, measures=source[0].measures)
    result = verdict(workspace, params, source, [*target_rows(), copy])

    message = only(result["reasons" if severity == "critical" else "warnings"])
    where = {
        "critical": "in the hold-out of site",
        "warning": "among the images of site outside its hold-out",
    }[severity]
    assert message.startswith(f"pair: the same image in the source and {where}: ")
    assert f"data/site/{copy.path}, data/source/{source[0].path}" in message
    assert (result["passed"], len(result["reasons"]) + len(result["warnings"])) == (severity == "warning", 1)


def test_an_image_in_two_splits_of_a_domain_is_critical(workspace, params):
    copy = usable("images/cat/copy.jpg", "select", sha256=target_rows()[0].sha256)
    result = verdict(workspace, params, source_rows(), [*target_rows(), copy])

    assert result["reasons"] == [
        "target: the manifest holds the same image twice: data/site/images/cat/0.jpg,"
        " data/site/images/cat/copy.jpg. Delete results/manifest/site and run again.",
        "pair: the same image in two splits of one domain: data/site/images/cat/0.jpg,"
        " data/site/images/cat/copy.jpg. Delete results/manifest and run again.",
    ]


@pytest.mark.parametrize(("unusable", "passed"), [(3, True), (4, False)])
def test_the_share_of_unusable_files_is_bounded(workspace, params, unusable, passed):
    bad = [Row(f"cat/bad{index}.jpg", "quarantined", "empty file (0 bytes)") for index in range(unusable)]
    source = [*source_rows(images=14)[: 30 - unusable], *bad]  # 30 files, at most a tenth of them unusable
    result = verdict(workspace, params, source, target_rows())

    assert result["passed"] == passed
    check = next(check for check in result["checks"] if check["expected"]["column"] == "fault")
    assert check["paths"] == [f"data/source/cat/bad{index}.jpg" for index in range(unusable)]


def test_unusable_files_are_grouped_by_their_reason(workspace, params):
    bad = [Row(f"images/z{index}.jpg", "quarantined", "text, not an image") for index in range(30)]
    bad += [Row("images/cut.jpg", "quarantined", "damaged or truncated PNG (x)")]
    result = verdict(workspace, params, source_rows(), [*target_rows(), *bad])

    message = only(result["reasons"])
    assert (
        "validate.max_quarantine_fraction 0.1 allows: damaged or truncated PNG (x): data/site/images/cut.jpg; "
        in message
    )
    assert "text, not an image: data/site/images/z0.jpg, data/site/images/z1.jpg, " in message
    assert message.endswith("data/site/images/z12.jpg, and 25 more. Repair or remove them.")
    check = next(check for check in result["checks"] if not check["passed"])
    assert (len(check["paths"]), check["num_paths"]) == (31, 31)


def test_copies_and_hidden_files_are_no_fault_but_copies_are_reported(workspace, params):
    first = source_rows()[0]
    copies = [
        Row(f"cat/copy{index}.jpg", "quarantined", f"duplicate of {first.path}", sha256=first.sha256)
        for index in range(10)
    ]
    hidden = [Row(f"cat/.{index}", "quarantined", "hidden file") for index in range(10)]
    hidden += [Row(f"cat/{index}/Thumbs.db", "quarantined", "system file") for index in range(10)]
    hidden += [
        Row("cat/*.json", "quarantined", "sidecar files, 30 of them, beside files of the same name; not read")
    ]
    result = verdict(workspace, params, [*source_rows(), *copies, *hidden], target_rows())

    assert result["passed"]
    message = only(result["warnings"])
    assert message.startswith(
        "source: exact copies, of which one is used: data/source/cat/0.jpg, data/source/cat/copy0"
    )
    assert ".0" not in message


# --- warnings ----------------------------------------------------------------------------------


def test_classes_out_of_balance_are_a_warning_with_the_ratio(workspace, params):
    source = [*source_rows(("dog",), images=31), *source_rows(("cat",), images=10)]
    result = verdict(workspace, params, source, target_rows())

    assert result["passed"]
    assert only(result["warnings"]).startswith(
        "source: the largest class has 3.1 times the images of the smallest, more than validate.max_class_ratio 3"
    )


def test_a_look_alike_of_a_source_image_in_the_holdout_is_a_warning(workspace, params):
    source, target = source_rows(), target_rows()
    holdout = next(index for index, row in enumerate(target) if row.split == "test")
    for flipped_bits, warned in ((0b1111, True), (0b11111, False)):
        phash = f"{int(str(source[3].measures['phash']), 16) ^ flipped_bits:016x}"
        target[holdout] = measured(target[holdout], phash=phash)
        result = verdict(workspace, params, source, target)

        assert result["passed"]
        path = f"data/site/{target[holdout].path}"
        expected = (
            f"look like a copy of a labelled image that training sees: {path} like data/source/cat/3.jpg"
        )
        assert [expected in warning for warning in result["warnings"]] == ([True] if warned else [])
        check = next(check for check in result["checks"] if check["table"] == "holdout")
        assert check["paths"] == ([path] if warned else [])


def test_look_alikes_among_the_unlabelled_images_are_nobodys_business(workspace, params):
    source = source_rows()
    target = [
        row if row.split == "test" else replace(row, measures=source[0].measures) for row in target_rows()
    ]

    assert verdict(workspace, params, source, target)["warnings"] == []


def test_a_look_alike_of_a_labelled_target_image_in_the_holdout_is_a_warning(workspace, params):
    target = target_rows()
    holdout = next(row for row in target if row.split == "test")
    labelled = usable("labelled/cat/a.jpg", "labelled", "cat", measures=holdout.measures)
    result = verdict(workspace, params, source_rows(), [*target, labelled])

    assert result["passed"]
    assert f": data/site/{holdout.path} like data/site/labelled/cat/a.jpg" in only(result["warnings"])


def test_labelled_target_images_need_not_show_every_class_and_are_no_holdout(workspace, params):
    labelled = [usable(f"labelled/cat/{index}.jpg", "labelled", "cat") for index in range(3)]
    result = verdict(workspace, params, source_rows(), [*target_rows(None), *labelled], classes=None)

    assert (result["passed"], result["warnings"]) == (True, [])
    holdout = [check for check in result["checks"] if check["table"] == "holdout"]
    assert all(check["passed"] for check in holdout)


def test_labelled_target_images_of_a_class_that_the_source_lacks_are_critical(workspace, params):
    labelled = [usable(f"labelled/{name}/a.jpg", "labelled", name) for name in ("cat", "van", "bus")]
    result = verdict(workspace, params, source_rows(), [*target_rows(None), *labelled], classes=None)

    assert result["reasons"] == [
        "pair: labelled images of site of classes that the source does not have: data/site/labelled/bus,"
        " data/site/labelled/van. Rename these folders to classes of the source, or remove them."
    ]


def test_a_class_that_the_hash_left_out_of_the_holdout_is_a_warning(workspace, params):
    target = [row for row in target_rows() if row.label != "dog"]
    result = verdict(workspace, params, source_rows(), target)

    assert result["passed"]
    assert only(result["warnings"]) == (
        "pair: classes of which the labelled hold-out of site has no image, so nothing is known about them: dog"
    )


def test_small_images_and_odd_pixel_layouts_are_warnings_with_their_values(workspace, params):
    target = target_rows()
    target[0] = measured(target[0], width=7, height=300)
    target[1] = measured(target[1], mode="F")
    result = verdict(workspace, params, source_rows(), target)

    assert result["passed"]
    assert result["warnings"] == [
        "target: files of a pixel layout that does not say where black and white are: F: data/site/images/cat/1.jpg",
        "target: images whose shorter side is below validate.min_side_px 8: data/site/images/cat/0.jpg (7)",
    ]


def test_a_format_outside_the_reviewed_list_is_critical(workspace, params):
    target = [measured(row, format="PSD") for row in target_rows()[:2]] + target_rows()[2:]
    result = verdict(workspace, params, source_rows(), target)

    assert only(result["reasons"]) == (
        "target: files of a format that is not allowed:"
        " PSD: data/site/images/cat/0.jpg, data/site/images/cat/1.jpg"
    )


def test_warnings_are_logged_and_reasons_are_left_to_the_error_which_is_told_once(workspace, params, caplog):
    caplog.set_level(logging.INFO)
    rows = [row for row in target_rows() if row.label != "dog"]
    result = verdict(workspace, params, source_rows(images=4), rows)

    levels = [
        (record.levelname, record.getMessage())
        for record in caplog.records
        if record.name == "tasks.stages.validate"
    ]
    assert [level for level, _ in levels] == ["WARNING", "WARNING"]
    assert "has no image, so nothing is known about them: dog" in levels[1][1]
    assert any("data/source/cat (4)" in reason for reason in result["reasons"])
    assert [record for record in caplog.records if record.name.startswith("great_expectations")] == []


# --- capture groups ------------------------------------------------------------------------------


def in_groups(rows: list[Row], *sizes: int) -> list[Row]:
    """``rows``, the first ones in groups of the sizes given."""
    names = [f"{number:016x}" for number, size in enumerate(sizes) for _ in range(size)]
    return [replace(row, group=name) for row, name in zip(rows, names, strict=False)] + rows[len(names) :]


def test_a_group_of_more_than_a_tenth_is_a_warning_with_its_first_file_and_share(workspace, params):
    rows = in_groups(target_rows(), 2, 3)  # of 20
    result = verdict(workspace, params, source_rows(), rows, grouped=True)

    message = only([text for text in result["warnings"] if text.startswith("target")])
    assert result["passed"]
    assert message.startswith(
        "target: groups that hold more than a tenth of the images, which one split takes as a whole:"
        " data/site/images/cat/2.jpg (0.15). Look at them. Blank or flat images all look alike;"
    )


def test_a_setting_that_groups_nothing_is_a_warning(workspace, params):
    result = verdict(workspace, params, source_rows(), in_groups(target_rows(), 2), grouped=True)

    assert only(result["warnings"]) == (
        "source: split.group_by puts no two images of this domain into one group: data/source"
    )


def test_frames_of_scenes_of_the_holdout_are_left_out_and_no_fault(workspace, params):
    beside = [
        Row(
            f"images/{i}_x.jpg",
            "quarantined",
            "same group as holdout/cat/a.jpg of the hold-out",
            sha256=f"{i:064x}",
        )
        for i in range(30)
    ]
    result = verdict(workspace, params, source_rows(), [*target_rows(), *beside])

    assert (result["passed"], result["reasons"], result["warnings"]) == (True, [], [])


# --- the stage ---------------------------------------------------------------------------------


def test_without_a_manifest_the_stage_says_what_to_run(workspace, params):
    with pytest.raises(BadInput, match=r"manifest\.json does not exist. Run the stage"):
        validate.run(workspace, params, "site")


def test_real_folders_go_through_both_stages(workspace, params):
    rng = np.random.default_rng(0)
    for folder, images in (("source/cat", 12), ("source/dog", 12), ("site/images", 30)):
        (workspace.data("") / folder).mkdir(parents=True)
        for index in range(images):
            noise_HW3 = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(noise_HW3).save(workspace.data("") / folder / f"{index}.png")
    for domain in ("source", "site"):
        manifest.run(workspace, params, domain)
    validate.run(workspace, params, "site")

    result = json.loads((workspace.stage("validate", "site") / "verdict.json").read_text())
    assert (result["passed"], result["warnings"]) == (True, [])


def test_importing_the_stage_does_not_import_great_expectations():
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, tasks.stages.validate; print(*sys.modules)"],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()

    assert "tasks.stages.validate" in loaded
    assert not {"great_expectations", "pandas", "pyarrow", "torch"} & set(loaded)
