"""The pages that the benchmarks write, and the tasks that they find in a folder."""

import io
import json
import re
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmarks.accuracy import DIGITS, Outcome, document, settings_of, tasks_of
from benchmarks.harder import CAMERAS, FEW, harder
from benchmarks.languages import LANGUAGES, rows_by_language, write_rows
from benchmarks.rivals import skada_itself
from benchmarks.selection import Task, rightness_of_vetoes, say_of_losers, table
from benchmarks.telephone import RATE_HZ, by_telephone, split_by_telephone
from tasks.config.starting import starting_params
from tasks.config.yaml_file import read_yaml_file
from tasks.errors import BadInput
from tasks.selection.choose import Scored
from tasks.selection.pool import Candidate
from tests.support.sounds import encoded, noises, tone

GOOD = Outcome(
    pair="photo → cartoon", source_only=(0.4, 0.5), chosen="mcc-1", method=(0.7, 0.8), selected=0.8, oracle=0.83,
    num_holdout=200, selected_judged=0.79, source_only_judged=0.44, num_judged=400, preparing_s=30, pool_s=60,
    target_statistics=0.55,
)  # fmt: skip
BAD = replace(GOOD, pair="a → b", selected=0.44, oracle=0.5, pool_s=None)


@pytest.mark.parametrize("kind", ["image", "text", "sound", "table", None])
def test_a_benchmark_spends_its_labels_at_once_so_that_every_accuracy_is_shown(kind: str | None):
    content = starting_params(kind) if kind else read_yaml_file(DIGITS)

    settings = settings_of(content)

    assert settings["gate"]["labels"] == "open"
    assert {**settings["gate"], "labels": content["gate"]["labels"]} == content["gate"]


def test_the_page_tells_regret_and_names_every_pair_below_source_only():
    page = document([GOOD, BAD])

    assert (
        "| photo → cartoon | 45.0 (40.0–50.0) | 55.0 | **80.0** mcc-1 | 75.0 (70.0–80.0) | 83.0 | 3.0 | 200"
        " | 44.0 | 79.0 | 400 | 30 | 60 |"
    ) in page
    assert (
        "Mean regret over 2 pairs: 4.5 points. Selected below the mean of source-only on: a → b. On" in page
    )
    assert "harder targets" not in page
    assert "Selected below the mean of source-only on: none." in document([GOOD])


def test_harder_targets_are_summed_up_apart_and_so_is_a_loss_on_twice_the_images():
    harder = replace(GOOD, pair="photo-harder → cartoon-dark", oracle=0.9, selected_judged=0.4)

    page = document([GOOD, harder])

    assert "Mean regret over 1 pairs: 3.0 points." in page
    assert "Mean regret over 1 harder targets: 10.0 points." in page
    assert page.rstrip().endswith("stands for all: photo-harder → cartoon-dark.")


def test_tasks_are_what_the_folder_has_and_the_demo_and_digits_become_class_folders(tmp_path: Path):
    data = tmp_path / "data"
    (data / "digits").mkdir(parents=True)
    for name in ("mnist_train10k", "usps_train"):
        np.savez(data / "digits" / f"{name}.npz", images=np.zeros((3, 16, 16), np.uint8), labels=[0, 7, 7])

    tasks = {task.name: task for task in tasks_of(data, tmp_path / "scratch", [])}

    assert set(tasks) == {"mnist", "usps", "demo"}
    assert tasks["mnist"].targets == (tasks["usps"].source,)
    assert tasks["mnist"].source
    assert sorted(path.parent.name for path in tasks["mnist"].source.rglob("*.png")) == ["0", "7", "7"]


def test_nothing_is_made_for_a_task_that_is_not_wanted(tmp_path: Path):
    data, scratch = tmp_path / "data", tmp_path / "scratch"
    (data / "digits").mkdir(parents=True)
    (data / "pacs" / "photo" / "dog").mkdir(parents=True)

    assert [task.name for task in tasks_of(data, scratch, [], only=["demo"])] == ["demo"]
    assert not scratch.exists()


def test_texts_are_pairs_of_files_of_rows(tmp_path: Path):
    (tmp_path / "text").mkdir()

    books = next(task for task in tasks_of(tmp_path, tmp_path / "scratch", [], only=["books"]))

    assert (books.kind, books.template) == ("text", None)
    assert (books.source, books.targets) == (
        tmp_path / "text" / "books.csv",
        (tmp_path / "text" / "electronics.csv",),
    )


def emoji(number: int, *, language: str, group: int | None) -> dict[str, object]:
    named = {
        "label": f"thing {number}, {language}",
        "hexcode": f"1F{number:03X}",
        "tags": ["a", f"{language} b"],
    }
    return named if group is None else named | {"group": group}


def test_no_emoji_is_in_the_source_language_and_in_another_one_and_each_has_its_group_as_class(
    tmp_path: Path,
):
    archive, told = tmp_path / "e.tgz", {}
    with tarfile.open(archive, "w:gz") as package:
        for language, code in LANGUAGES.items():
            things = [emoji(number, language=language, group=number % 10) for number in range(200)]
            content = json.dumps([*things, emoji(999, language=language, group=None)]).encode()
            info = tarfile.TarInfo(f"package/{code}/data.json")
            info.size = len(content)
            package.addfile(info, io.BytesIO(content))

    for language, rows in rows_by_language(archive).items():
        write_rows(tmp_path / "languages" / f"{language}.csv", rows)
        kept = pd.read_csv(tmp_path / "languages" / f"{language}.csv")
        told[language] = dict(zip(kept["text"], kept["label"], strict=True))

    numbers = {
        language: {int(re.findall(r"\d+", text)[0]) for text in rows} for language, rows in told.items()
    }
    assert numbers["french"] == numbers["german"] == numbers["japanese"]
    assert numbers["english"] | numbers["french"] == {number for number in range(200) if number % 10 != 2}
    assert not numbers["english"] & numbers["french"]
    assert len(numbers["english"]) > 60
    assert len(numbers["french"]) > 60
    text = next(iter(told["german"]))
    assert re.fullmatch(r"thing \d+, german, a, german b", text)
    assert set(told["german"].values()) == set(told["english"].values())
    assert len(set(told["german"].values())) == 9
    [english] = tasks_of(tmp_path, tmp_path / "scratch", [], only=["english"])
    assert (english.kind, len(english.targets)) == ("text", 3)
    assert all(path.is_file() for path in (english.source, *english.targets) if path)


def test_rivals_need_their_library_and_are_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "skada", None)

    with pytest.raises(BadInput, match=r"skada is not installed .*pip install 'acclimate\[bench\]'"):
        skada_itself()


# --- other rules of selection ------------------------------------------------------------------


def scored(name: str, *, infomax: float, vetoes: tuple[str, ...] = (), is_ensemble: bool = False) -> Scored:
    preset, _, seed = name.rpartition("-")
    candidate = Candidate(name, preset, int(seed), "", True, is_ensemble=is_ensemble)
    return Scored(candidate, {"infomax": infomax, "bnm": infomax, "v_measure": 1 - infomax}, vetoes)


POOL = [
    scored("source_only-0", infomax=0.3),
    scored("mcc_centroid-0", infomax=0.9),
    scored("ensemble-0", infomax=0.6, is_ensemble=True),
    scored("dann-0", infomax=0.1, vetoes=("collapse",)),
]
TASK = Task(
    "a → b",
    POOL,
    POOL[0].candidate,
    {"source_only-0": 0.5, "mcc_centroid-0": 0.6, "ensemble-0": 0.8, "dann-0": 0.2},
)


def test_a_rule_that_prefers_the_better_candidate_comes_first_with_its_gain_and_regret():
    lines = table([TASK]).splitlines()

    assert lines[2] == "| always ensemble | +30.00 | 0.00 | +30.0 | a → b |"
    assert "| the gate's rule | +30.00 | 0.00 | +30.0 | a → b |" in lines
    assert "| highest infomax | +10.00 | 20.00 | +10.0 | a → b |" in lines
    assert "| always propagation | +0.00 | 30.00 | +0.0 | a → b |" in lines


def test_losers_are_left_out_one_at_a_time_and_vetoes_are_counted_by_the_truth():
    assert say_of_losers([TASK]) == "Leaving out one losing candidate changed the choice in 0 of 2 cases."
    assert rightness_of_vetoes([TASK]) == "1 candidates were vetoed; 1 of them are worse than source-only."
    kind = replace(TASK, accuracies={**TASK.accuracies, "dann-0": 0.7})
    assert rightness_of_vetoes([kind]) == "1 candidates were vetoed; 0 of them are worse than source-only."


# --- harder targets ----------------------------------------------------------------------------


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Four classes of forty grey images each."""
    folder = tmp_path / "data" / "target"
    for name in "abcd":
        (folder / name).mkdir(parents=True)
        for number in range(40):
            Image.new("RGB", (32, 24), (120, 120, 120)).save(folder / name / f"{number}.png")
    return folder


def counts(folder: Path) -> list[int]:
    return sorted((len(list(place.iterdir())) for place in folder.iterdir()), reverse=True)


def test_skewed_shares_fall_by_equal_factors_to_the_ratio_that_was_asked_for(images: Path, tmp_path: Path):
    assert counts(harder(images, tmp_path / "skewed", how="skew8")) == [40, 20, 10, 5]


def test_few_images_are_as_many_as_promised_and_the_same_each_time(images: Path, tmp_path: Path):
    first, again = (harder(images, tmp_path / name, how="few") for name in ("first", "again"))

    assert sum(counts(first)) == FEW
    assert {p.relative_to(first) for p in first.rglob("*.png")} == {
        p.relative_to(again) for p in again.rglob("*.png")
    }


def test_two_images_of_one_stem_stay_two(tmp_path: Path):
    folder = tmp_path / "data" / "a"
    folder.mkdir(parents=True)
    for suffix in ("png", "bmp"):
        Image.new("RGB", (32, 24)).save(folder / f"same.{suffix}")

    assert counts(harder(folder.parent, tmp_path / "made", how="dark")) == [2]


@pytest.mark.parametrize("how", CAMERAS)
def test_a_worse_camera_keeps_every_image_its_size_and_its_class(images: Path, tmp_path: Path, how: str):
    made = harder(images, tmp_path / how, how=how)

    assert counts(made) == counts(images)
    with Image.open(next(made.rglob("*.png"))) as image:
        assert image.size == (32, 24)


def test_noise_and_darkness_change_what_is_seen(images: Path, tmp_path: Path):
    noise, dark = (
        np.asarray(Image.open(harder(images, tmp_path / how, how=how) / "a" / "0.png.png"))
        for how in ("noise", "dark")
    )

    assert 30 < noise.std() < 45
    assert dark.max() == 35


def test_a_telephone_passes_its_band_alone_and_half_of_the_recordings(tmp_path: Path):
    def power(samples: np.ndarray, hertz: float) -> float:
        times = np.arange(len(samples)) / RATE_HZ
        return float(np.abs(np.mean(samples * np.exp(-2j * np.pi * hertz * times))) ** 2)

    inside, outside = (by_telephone(tone(hertz, seconds=1.0), 8000, seed=0) for hertz in (1000, 100))
    for number, (samples, label) in enumerate(noises(12)):
        path = tmp_path / "voice" / label / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(samples))
    near, far = split_by_telephone(tmp_path / "voice", tmp_path / "made")

    assert power(inside, 1000) > 1000 * power(outside, 100)
    assert np.abs(inside).max() <= 1
    names = [{path.name for path in folder.glob("*/*.wav")} for folder in (near, far)]
    assert [len(one) for one in names] == [6, 6]
    assert not names[0] & names[1]
