"""Frames of one scene are noticed, and the setting that is advised keeps them together."""

import hashlib
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from tasks.checks import frames
from tasks.checks.frames import as_yaml, frames_table
from tasks.config.params import check_params, load_params
from tasks.config.sections.data import ByGap, ByPattern, SplitParams, WayToGroup
from tasks.domains.groups import group_rows
from tasks.domains.image.reader import Images
from tasks.domains.image.spec import image_spec
from tasks.records.manifest import Groups, Manifest, Row, read_manifest
from tasks.stages import manifest, validate
from tasks.workspace import Workspace
from tests.support.tiny import CHECKOUT
from tests.support.vectors import Vectors

IMAGES = Images(image_spec(16), 10_000)
SCENES, FRAMES = 20, 10

Naming = Callable[[int, int], str]
"""From the numbers of a scene and of a frame in it to a path."""


def scenes(
    naming: Naming, *, step_s: float | None = None, alike: bool = True, domain: str = "source"
) -> Manifest:
    """Frames that differ from those of their scene in at most 4 bits, and from all others in about 32.

    With ``step_s`` the frames of a scene are so many seconds apart, and scenes a thousand.
    """
    draw = np.random.default_rng(0)
    rows = []
    for scene in range(SCENES):
        base = int(draw.integers(0, 2**63))
        for frame in range(FRAMES):
            bits = base ^ (3 << frame) if alike else int(draw.integers(0, 2**63))
            measures = {"phash": f"{bits:016x}", "captured_at": step_s and 1000 * scene + step_s * frame}
            path = naming(scene, frame)
            rows.append(
                Row(
                    path,
                    "ok",
                    split="train",
                    sha256=hashlib.sha256(path.encode()).hexdigest(),
                    measures=measures,
                )
            )
    return Manifest(domain, sorted(rows, key=lambda row: row.path), None, "digest")


def remedy(found: Manifest) -> str:
    [text] = set(frames_table(found, IMAGES)["remedy"])
    return text


def scrambled(scene: int, frame: int) -> str:
    return (
        hashlib.sha256(f"{scene} {frame}".encode())
        .hexdigest()[:12]
        .translate({ord(d): ord(d) + 55 for d in "0123456789"})
    )


def counter(scene: int, frame: int) -> str:
    return f"IMG_{1000 + FRAMES * scene + frame}"


# --- what is advised ---------------------------------------------------------------------------

ADVISED: list[tuple[Naming, float | None, str, str]] = [
    (lambda s, f: f"cat/seq{s}/{f}.jpg", 1.0, "source", "folder"),
    (lambda s, f: f"{'cat' if s % 2 else 'dog'}/cam1/{s}/a{f}.jpg", None, "source", "folder"),
    (lambda s, f: f"cat/scene{s}_{f:03}.jpg", 1.0, "source", r"{pattern: '^(.*)_\d+\.jpg$'}"),
    (lambda s, f: f"{'cat' if s % 2 else 'dog'}/s{s}-{f}.png", None, "source", r"{pattern: '^(.*)\-\d+\.png$'}"),
    (lambda s, f: f"cat/s{s}f{f:03}.jpg", None, "source", r"{pattern: '^(.*?)\d+\.jpg$'}"),
    (lambda s, f: f"cat/s{s}_{f}.{'jpg' if f % 2 else 'png'}", None, "source", r"{pattern: '^(.*)_\d+(?:\.[^.]*)?$'}"),
    (lambda s, f: f"cat/s{s}_{f:02}_left.jpg", None, "source", r"{pattern: '^(.*?)\d+([^\d/]*)$'}"),
    (lambda s, f: f"cat/it's {s}_{f}.jpg", None, "source", r"{pattern: '^(.*)_\d+\.jpg$'}"),
    (lambda s, f: f"images/scene{s}_{f:03}.jpg", None, "site", r"{pattern: '^(?:.*/)?([^/]*)_\d+\.jpg$'}"),
    (lambda s, f: f"cat/{counter(s, f)}.jpg", 0.5, "source", "{gap_s: 1}"),
    (lambda s, f: f"cat/{counter(s, f)}.jpg", 8.0, "source", "{gap_s: 10}"),
    (lambda s, f: f"cat/{scrambled(s, f)}.jpg", 2.0, "source", "{gap_s: 2}"),
    (lambda s, f: f"cat/{counter(s, f)}.jpg", None, "source", "near_duplicates"),
]  # fmt: skip


@pytest.mark.parametrize(("naming", "step_s", "domain", "setting"), ADVISED)
def test_the_first_setting_that_keeps_the_frames_together_is_advised(naming, step_s, domain, setting):
    text = remedy(scenes(naming, step_s=step_s, domain=domain))

    assert text == f"100.0 % of the images, kept together by split.group_by: {setting} in params.yaml"


@pytest.mark.parametrize(("naming", "step_s", "domain", "setting"), ADVISED)
def test_the_advice_is_yaml_that_is_read_and_makes_the_scenes_the_groups(naming, step_s, domain, setting):
    found = scenes(naming, step_s=step_s, domain=domain)
    content = yaml.safe_load((CHECKOUT / "params.yaml").read_text())
    written = re.search(r"(?<=split\.)group_by: .*(?= in params\.yaml)", remedy(found))
    assert written is not None
    content["split"] |= yaml.safe_load(written[0])
    way = check_params(content, origin="params.yaml").split.group_by
    folders = frames._domain(found, IMAGES).scene_folders
    rows = frames._domain(found, IMAGES).rows
    groups = {
        row.path: row.group for row in group_rows(rows, folders, way, IMAGES, domain=domain, data=CHECKOUT)
    }

    by_scene = [{groups[naming(scene, frame)] for frame in range(FRAMES)} for scene in range(SCENES)]
    assert [len(one) for one in by_scene] == [1] * SCENES
    assert len(set.union(*by_scene)) == SCENES


@pytest.mark.parametrize(
    "way", ["folder", "near_duplicates", ByGap(gap_s=0.5), ByPattern(pattern=r"it's '(\d)'")], ids=str
)
def test_a_setting_is_written_as_it_is_read(way: WayToGroup):
    content = yaml.safe_load(f"group_by: {as_yaml(way)}")

    assert SplitParams(source_validation=0.2, target_adapt=0.5, target_select=0.2, **content).group_by == way


def test_an_example_and_the_neighbour_that_it_looks_like_are_named():
    table = frames_table(scenes(lambda s, f: f"cat/s{s}_{f}.jpg"), IMAGES)

    assert len(table["path"]) == SCENES * (FRAMES - 1)
    assert (table["path"][0], table["beside"][0]) == ("data/source/cat/s0_0.jpg", "data/source/cat/s0_1.jpg")


def test_names_count_as_people_count():
    """frame_2 stands before frame_10, or half of the neighbours would be those of other scenes."""
    table = frames_table(scenes(lambda s, f: f"cat/{FRAMES * s + f}.jpg"), IMAGES)

    assert len(table["path"]) == SCENES * (FRAMES - 1)


def test_where_no_setting_keeps_them_together_the_advice_is_to_make_folders():
    """Look-alikes chain all scenes into one group; half of the names end in no number."""
    found = scenes(lambda s, f: f"cat/{counter(s, f)}.jpg")
    bits = {row.path: 0 for row in found.rows}
    drift = 0
    for index, row in enumerate(found.rows):  # a slow pan over all there is: each frame is like the next
        drift ^= 3 << (2 * index % 62)
        bits[row.path] = drift
    rows = [
        Row(row.path, "ok", sha256=row.sha256, measures={"phash": f"{bits[row.path]:016x}"})
        for row in found.rows
    ]

    assert remedy(Manifest("source", rows, None, "digest")).endswith(
        ", kept together by a folder for each scene and split.group_by: folder in params.yaml"
    )


# --- silence -----------------------------------------------------------------------------------


def nothing(table: dict[str, list]) -> bool:
    return table == {"path": [], "beside": [], "remedy": []}


def test_pictures_that_differ_from_their_neighbours_are_no_frames():
    assert nothing(frames_table(scenes(lambda s, f: f"cat/s{s}_{f}.jpg", alike=False, step_s=1.0), IMAGES))


def test_pictures_that_are_all_alike_are_no_frames():
    """Blank ones, or tiny digits of one class: a neighbour is as like as any other."""
    draw = np.random.default_rng(0)
    for often in (1.0, 0.3):
        found = scenes(lambda s, f: f"cat/s{s}_{f}.jpg")
        rows = [
            Row(row.path, "ok", sha256=row.sha256,
                measures={"phash": f"{0 if draw.random() < often else int(draw.integers(0, 2**63)):016x}"})
            for row in found.rows
        ]  # fmt: skip

        assert nothing(frames_table(Manifest("source", rows, None, "digest"), IMAGES))


def test_a_few_copies_among_many_pictures_are_no_frames():
    found = scenes(lambda s, f: f"cat/s{s}_{f}.jpg", alike=False)
    for index in (10, 50, 90):
        found.rows[index + 1] = Row(
            "cat/copy.jpg", "ok", sha256="5" * 64, measures=found.rows[index].measures
        )

    assert nothing(frames_table(found, IMAGES))


def test_nothing_is_said_where_examples_are_grouped_already():
    found = scenes(lambda s, f: f"cat/s{s}_{f}.jpg")
    grouped = Manifest("source", found.rows, None, "digest", Groups(num=20, largest=10, splits={}))

    assert nothing(frames_table(grouped, IMAGES))


def test_nothing_is_said_of_a_kind_without_a_measure_of_likeness():
    assert nothing(frames_table(scenes(lambda s, f: f"cat/s{s}_{f}.jpg"), Vectors()))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_examples_are_no_special_case(count: int):
    found = scenes(lambda s, f: f"cat/s{s}_{f}.jpg")

    assert nothing(frames_table(Manifest("source", found.rows[:count], None, "digest"), IMAGES))


@given(st.integers(1, 60), st.data())
def test_the_bound_is_never_below_the_probability_that_chance_gives(num_pairs: int, data: st.DataObject):
    num_alike = data.draw(st.integers(0, num_pairs))
    by_chance = data.draw(st.integers(0, 200))
    p = (by_chance + 1) / 202
    tail = sum(
        math.comb(num_pairs, k) * p**k * (1 - p) ** (num_pairs - k) for k in range(num_alike, num_pairs + 1)
    )

    if frames._beyond_chance(num_alike, num_pairs, by_chance, 200):
        assert tail <= 1e-4 * (1 + 1e-9)
        assert num_alike / num_pairs > p


# --- real files through both stages ------------------------------------------------------------


def jittered(folder: Path, naming: Naming, *, scenes: int = 12, seed: int = 0) -> None:
    """Ten frames per scene: moved by a few pixels, lighter or darker, with noise."""
    draw = np.random.default_rng(seed)
    for scene in range(scenes):
        coarse_HW3 = draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        whole = Image.fromarray(coarse_HW3).resize((104, 104), Image.Resampling.BICUBIC)
        for frame in range(FRAMES):
            left, top = draw.integers(0, 4, 2).tolist()
            lit = ImageEnhance.Brightness(whole.crop((left, top, left + 100, top + 100))).enhance(
                draw.uniform(0.85, 1.15)
            )
            noisy_HW3 = np.asarray(lit) + draw.normal(0, 4, (100, 100, 3))
            path = folder / naming(scene, frame)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noisy_HW3.clip(0, 255).astype(np.uint8)).save(path)


def test_scenes_of_ten_jittered_frames_are_reported_until_they_are_grouped(tmp_path: Path):
    workspace = Workspace(tmp_path)
    jittered(workspace.data("source"), lambda s, f: f"{'cat' if s % 2 else 'dog'}/s{s:02}_{f}.png", scenes=20)
    jittered(workspace.data("site"), lambda s, f: f"images/{counter(s, f)}.png", scenes=20, seed=1)
    content = yaml.safe_load((CHECKOUT / "params.yaml").read_text())
    content["validate"] |= {"min_rows_source": 20, "min_rows_target": 10, "min_rows_per_class": 5}
    said = {}
    for way in (None, "near_duplicates"):
        content["split"]["group_by"] = way
        params = check_params(content, origin="params.yaml")
        for domain in ("source", "site"):
            manifest.run(workspace, params, domain)
        source, target = (read_manifest(workspace.stage("manifest", domain)) for domain in ("source", "site"))
        said[way] = validate.judge(source, target, params.validate_, IMAGES).warnings

    about_source, about_target = said[None]
    assert re.match(
        r"source: images that look like frames of one scene, which the splits tear apart, so that results look too good:"
        r" \d\d\.\d % of the images, kept together by split\.group_by: \{pattern: '\^\(\.\*\)_\\d\+\\\.png\$'\} in params\.yaml:"
        r" data/source/cat/s01_2\.png like data/source/cat/s01_3\.png, ",
        about_source,
    ), about_source
    assert "kept together by split.group_by: near_duplicates in params.yaml" in about_target
    assert said["near_duplicates"] == ()


def test_the_digits_of_the_demo_are_no_frames(tmp_path: Path):
    from sklearn.datasets import load_digits

    digits = load_digits()
    workspace = Workspace(tmp_path)
    for index, (values_88, label) in enumerate(zip(digits.images, digits.target, strict=True)):  # type: ignore[attr-defined]
        path = workspace.data("source") / str(label) / f"{index:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((values_88 * 255 / 16).astype(np.uint8)).save(path)
    manifest.run(workspace, load_params(CHECKOUT / "params.yaml"), "source")

    assert nothing(frames_table(read_manifest(workspace.stage("manifest", "source")), IMAGES))
