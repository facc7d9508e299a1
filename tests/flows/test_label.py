"""`acclimate label`: what a person fills in is read whole or refused with every line named, kept, and judged."""

import csv
import io
import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.commands.label import Taken, ask_for_labels, take_in_answers
from flows.workspaces.filled import create_answers, keep_unsent, read_filled
from flows.workspaces.programs import dvc
from tasks.errors import BadInput
from tasks.files import read_json, write_text
from tasks.records.answers import read_answers
from tasks.records.selection import read_selected
from tasks.selection.pool import read_outputs, read_pool
from tasks.workspace import Workspace
from tests.stages import test_gate as world
from tests.stages.test_gate import CLASSES, TARGET, World, lay_out
from tests.support.tiny import acclimate

HEADER = ["path", "sha256", "arms", "label"]
Rows = list[dict[str, str]]
Fill = Callable[[str, int], Rows]


@pytest.fixture(scope="module")
def provisional(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace whose gate has judged without labels: 40 greens that source-only calls blue."""
    return judged(tmp_path_factory.mktemp("provisional") / "w", World().without_labels())


@pytest.fixture
def workspace(provisional: Workspace, tmp_path: Path) -> Workspace:
    """A copy of it, free to change."""
    return Workspace(shutil.copytree(provisional.root, tmp_path / "w"))


def judged(root: Path, what: World, **gate: Any) -> Workspace:
    place = lay_out(root, what)
    for i, number in enumerate(what.champion_says):
        path = place.data(TARGET) / what.names[i]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(world.picture(number, i))
    world.judge(place, **gate)
    return place


def listed(workspace: Workspace) -> Rows:
    return world.to_label(workspace)


def filled(workspace: Workspace, label: str = "green", count: int = 40) -> Rows:
    return [row | {"label": label if i < count else ""} for i, row in enumerate(listed(workspace))]


def as_csv(rows: Rows, *, header: list[str] | None = None, delimiter: str = ",", end: str = "\n") -> str:
    text = io.StringIO()
    writer = csv.DictWriter(
        text, header or HEADER, delimiter=delimiter, lineterminator=end, extrasaction="ignore"
    )
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write(workspace: Workspace, content: str | bytes) -> Path:
    path = workspace.root / "my answers.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def hand_in(workspace: Workspace, content: str | bytes) -> Taken:
    path = write(workspace, content)
    return take_in_answers(workspace, world.params(), TARGET, path, read_filled(path))


def labels(workspace: Workspace) -> list[tuple[int, str, str]]:
    answers = read_answers(workspace.answers(TARGET), CLASSES)
    return [(one.round, one.sha256, one.label) for one in answers]


# --- what is taken in --------------------------------------------------------------------------


def test_answers_about_images_on_which_the_models_disagree_by_known_shares_alone_are_taken_in(tmp_path: Path):
    weak = world.Says(world.CONFUSED, world.CONFUSED, certainty=0.35)
    unlabelled = World({"source_only-0": weak, "mcc-0": world.Says(certainty=0.6)}).without_labels()
    place = judged(tmp_path / "w", unlabelled, target_prior={"blue": 0.66, "green": 0.33, "red": 0.01})
    # Both heads name the reds red; known shares move that of the candidate to blue.
    reds = {f"images/frame {i:03}.png" for i, number in enumerate(world.TRUTH) if number == 2}
    moved = [row | {"label": "blue"} for row in listed(place) if row["path"] in reds]

    taken = hand_in(place, as_csv(moved))

    assert taken.new == len(moved) == 40


def test_answers_are_kept_with_what_was_compared_and_settle_the_verdict(workspace: Workspace):
    taken = hand_in(workspace, as_csv(filled(workspace)))

    assert taken == Taken(new=40, corrected=0, unchanged=0)
    answers = read_answers(workspace.answers(TARGET), CLASSES)
    assert [one.sha256 for one in answers] == world.asked(workspace)
    assert {(one.round, one.label) for one in answers} == {(1, "green")}
    assert {one.arms for one in answers} == {world.lines(workspace, "frozen")[0]["arms"]}
    assert world.judge(workspace)["verdict"] == "promote"


def test_labelling_again_adds_a_correction_counts_from_then_on_and_nothing_is_forgotten(workspace: Workspace):
    hand_in(workspace, as_csv(filled(workspace, count=3)))
    world.judge(workspace)
    rows = listed(workspace)
    assert [row["label"] for row in rows[:4]] == ["green", "green", "green", ""]
    rows[1]["label"], rows[3]["label"] = "unsure", "red"

    taken = hand_in(workspace, as_csv(rows))

    assert taken == Taken(new=1, corrected=1, unchanged=2)
    order = world.asked(workspace)
    assert labels(workspace) == [
        (1, order[0], "green"),
        (1, order[1], "green"),
        (1, order[2], "green"),
        (2, order[3], "red"),
        (2, order[1], "unsure"),
    ]
    world.judge(workspace)
    assert [row["label"] for row in listed(workspace)[:4]] == ["green", "unsure", "green", "red"]


def test_the_same_file_again_changes_no_byte(workspace: Workspace):
    content = as_csv(filled(workspace))
    hand_in(workspace, content)
    before = workspace.answers(TARGET).read_bytes()

    assert hand_in(workspace, content) == Taken(new=0, corrected=0, unchanged=40)
    assert workspace.answers(TARGET).read_bytes() == before


def test_what_spreadsheets_make_of_the_list_is_read_as_well(workspace: Workspace):
    rows = filled(workspace, count=5)
    expected = read_filled(write(workspace, as_csv(rows)))
    assert [row.line for row in expected] == [2, 3, 4, 5, 6]
    variants = {
        "semicolons, carriage returns and a byte-order mark": b"\xef\xbb\xbf"
        + as_csv(rows, delimiter=";", end="\r\n").encode(),
        "tabs in UTF-16": as_csv(rows, delimiter="\t").encode("utf-16"),
        "columns in another order and two more": as_csv(
            [row | {"notes": "seen", "": ""} for row in rows],
            header=["label", "notes", "arms", "sha256", "path", ""],
        ).encode(),
        "a header in capitals, empty lines": as_csv(rows)
        .replace("label", " Label ", 1)
        .replace("\n", "\n\n", 3)
        .encode(),
        "no comma after the last cell": "\n".join(
            line.rstrip(",") for line in as_csv(rows).splitlines()
        ).encode(),
        "old line ends": as_csv(rows, end="\r").encode(),
    }
    for name, content in variants.items():
        read = read_filled(write(workspace, content))
        assert [(row.sha256, row.label, row.path) for row in read] == [
            (row.sha256, row.label, row.path) for row in expected
        ], name


def test_rows_in_another_order_are_the_same_answers(workspace: Workspace):
    hand_in(workspace, as_csv(sorted(filled(workspace), key=lambda row: row["path"])))

    assert world.judge(workspace)["evidence"]["disagreements"]["labelled"] == 40


def test_answers_about_images_on_which_target_statistics_alone_differs_are_taken_in_without_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    blues = [i for i, number in enumerate(world.TRUTH) if number == 0][:3]
    says = tuple(1 if i in blues else number for i, number in enumerate(world.TRUTH))
    simplest = world.Says(test=says, certainty=0.8)
    candidates = {"source_only-0": world.BASELINE, "target_statistics-0": simplest, "mcc-0": world.Says()}
    workspace = judged(tmp_path / "w", World(candidates).without_labels())
    truth = {f"images/frame {i:03}.png": CLASSES[number] for i, number in enumerate(world.TRUTH)}
    rows = [row | {"label": truth[row["path"]]} for row in listed(workspace)]
    assert [row["label"] for row in rows].count("blue") == 3

    with caplog.at_level(logging.WARNING):
        taken = hand_in(workspace, as_csv(rows))

    assert taken == Taken(new=43, corrected=0, unchanged=0)
    assert caplog.messages == []
    verdict = world.judge(workspace)
    assert verdict["verdict"] == "promote"
    assert (verdict["evidence"]["better"], verdict["evidence"]["disagreements"]["labelled"]) == (40, 43)


# --- what is refused ---------------------------------------------------------------------------


def changed(workspace: Workspace, line: int, **cells: str) -> str:
    rows = filled(workspace)
    rows[line - 2] |= cells
    return as_csv(rows)


REFUSALS = {
    "an unknown class": (
        lambda w: changed(w, 5, label="Green"),
        r"line 5: 'Green' is not a class\nThe classes are blue, green, red; write `none` for",
    ),
    "an unknown example": (
        lambda w: changed(w, 3, sha256="ab" * 32),
        r"line 3: no example of the test split has sha256 'abab.*' \(images/frame \d+\.png\)",
    ),
    "a column that was sorted alone": (
        lambda w: changed(w, 4, path=listed(w)[0]["path"]),
        r"line 4: sha256 [0-9a-f]{12}\.\.\. is that of images/frame \d+\.png, not of images/frame \d+\.png: was one",
    ),
    "a row twice": (
        lambda w: as_csv([*filled(w), filled(w)[6]]),
        r"line 42 is about the same example as line 8: images/frame",
    ),
    "another header": (
        lambda w: as_csv(filled(w)).replace("label", "class", 1),
        r"line 1: expected the columns path, sha256, arms, label, each once; got path, .*, class\.",
    ),
    "a column twice": (
        lambda w: as_csv(filled(w), header=[*HEADER, "label"]),
        r"line 1: expected the columns .* each once; got",
    ),
    "a label with a bare comma": (
        lambda w: as_csv(filled(w)).replace(",green\n", ",green, I think\n", 1),
        r"line 2 has more cells than the header: put text that holds a comma in quotes",
    ),
    "no label at all": (lambda w: as_csv(listed(w)), r"no row has a label\. Write the class of each example into"),
    "an empty file": (lambda w: b" \n", r"my answers\.csv is empty\. Expected a filled-in copy"),
    "a spreadsheet": (lambda w: b"PK\x03\x04\x00\x00", r"line 1: not text but a binary file\. Save it as CSV"),
    "another encoding": (
        lambda w: as_csv(filled(w)).replace("green", "grün").encode("latin-1"),
        r"line 2: not text in UTF-8\. Save it as CSV",
    ),
    "an open quote": (lambda w: as_csv(filled(w)).replace("images", '"images', 1), r"line 2: not CSV \("),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_a_file_that_cannot_be_taken_in_is_refused_whole_with_its_line(workspace: Workspace, name: str):
    make, message = REFUSALS[name]
    before = labels(workspace)

    with pytest.raises(BadInput, match=message) as caught:
        hand_in(workspace, make(workspace))

    assert "my answers.csv" in str(caught.value)
    assert labels(workspace) == before == []


def test_many_faults_are_told_at_once_and_the_rest_counted(workspace: Workspace):
    with pytest.raises(BadInput) as caught:
        hand_in(workspace, as_csv(filled(workspace, label="purple")))

    assert str(caught.value).count("'purple' is not a class") == 10
    assert "and 30 more" in str(caught.value)


@pytest.mark.parametrize("what", ["changed", "gone"])
def test_an_image_that_changed_since_the_list_was_written_is_refused(workspace: Workspace, what: str):
    path = workspace.data(TARGET) / listed(workspace)[6]["path"]
    path.unlink() if what == "gone" else path.write_bytes(world.picture(0, 119))

    with pytest.raises(BadInput, match=rf"line 8: .*{path.name} changed since the list was written"):
        hand_in(workspace, as_csv(filled(workspace)))
    assert (
        hand_in(workspace, as_csv(filled(workspace, count=6))).new == 6
    )  # what was not labelled is not asked


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(BadInput, match=r"cannot be read: .* Expected a filled-in copy of to_label\.csv"):
            read_filled(path)


def another_selection(workspace: Workspace, root: Path, says: tuple[int, ...]) -> Workspace:
    """A workspace over the same images in which a candidate that says something else was selected."""
    candidates = {"source_only-0": world.BASELINE, "mcc-0": world.Says(test=says)}
    return judged(root, World(candidates).without_labels())


def test_a_list_of_another_comparison_is_refused_though_the_models_differ_on_the_same_images(
    workspace: Workspace, tmp_path: Path
):
    now = judged(
        tmp_path / "now",
        World({"source_only-0": world.BASELINE, "dann-0": world.Says()}).without_labels(),
    )

    with pytest.raises(
        BadInput,
        match=r"my answers\.csv, line 2: the list was written for another comparison than that of dann-0 with source_only-0\."
        r" Label the rows of .*to_label\.csv",
    ):
        hand_in(now, as_csv(filled(workspace)))

    assert labels(now) == []


def test_rows_of_another_comparison_among_others_are_kept_with_a_warning_and_prove_nothing(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
):
    rows = filled(workspace)
    rows[2]["arms"] = "what was compared last week"

    with caplog.at_level(logging.WARNING):
        taken = hand_in(workspace, as_csv(rows))

    assert taken.new == 40
    assert "my answers.csv, line 4: 1 of 40 rows were written for another comparison" in caplog.text
    verdict = world.judge(workspace)
    assert verdict["evidence"]["disagreements"] == {"labelled": 39, "total": 39, "images": 120}


def test_candidates_that_changed_since_the_selection_ask_for_a_run(workspace: Workspace):
    recorded = workspace.stage("adapt", TARGET) / "candidates.json"
    write_text(recorded, recorded.read_text().replace(world.sha("mcc-0"), world.sha("mcc-0 anew")))

    with pytest.raises(
        BadInput, match=r"the candidates of cam7 have changed since mcc-0 was selected\. Run `acclimate run"
    ):
        hand_in(workspace, as_csv(filled(workspace)))


def test_answers_about_hold_out_images_are_left_out_with_a_warning(
    workspace: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    first = int(listed(workspace)[0]["path"][-7:-4])
    some = tuple("green" if i == first else None for i in range(120))
    now = judged(tmp_path / "now", World(labels=some))
    mine = listed(now)[0]["arms"]

    with caplog.at_level(logging.WARNING):
        taken = hand_in(now, as_csv([row | {"arms": mine} for row in filled(workspace)]))

    assert taken.new == 39
    assert "1 rows, from line 2 on, are about examples of the labelled hold-out" in caplog.text
    assert world.asked(workspace)[0] not in {image for _, image, _ in labels(now)}


# --- one by one --------------------------------------------------------------------------------


class Person:
    """Answers what it is asked, and remembers what was shown."""

    def __init__(self, *written: str | None) -> None:
        self.written = list(written)
        self.shown: list[str] = []

    def __call__(self, line: str) -> str | None:
        self.shown.append(line)
        return self.written.pop(0) if self.written else None


def ask(workspace: Workspace, person: Person) -> int:
    return ask_for_labels(workspace, world.params(), TARGET, person)


def test_labels_are_asked_for_one_by_one_in_the_frozen_order_until_the_matter_is_settled(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
):
    person = Person(*["green\n"] * 40)

    with caplog.at_level(logging.INFO):
        given = ask(workspace, person)

    assert given < 40
    assert len(person.shown) == given
    paths = [row["path"] for row in listed(workspace)[:given]]
    assert all(path.replace(" ", "%20") in line for path, line in zip(paths, person.shown, strict=True))
    assert f"settled after {given} labels: enough for a promotion" in caplog.text
    assert world.judge(workspace)["verdict"] == "promote"
    assert ask(workspace, Person("green")) == 0  # nothing more is asked


def test_nothing_that_is_shown_depends_on_what_a_model_says(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Two candidates that say the opposite: the same images, and the same words but for the order."""
    texts = []
    for name, says in (
        ("a", world.TRUTH),
        ("b", tuple(2 if number == 1 else number for number in world.TRUTH)),
    ):
        place = judged(
            tmp_path / name,
            World({"source_only-0": world.BASELINE, "mcc-0": world.Says(test=says)}).without_labels(),
        )
        person = Person(*["unsure"] * 40)
        caplog.clear()
        with caplog.at_level(logging.INFO):
            ask(place, person)
        texts.append(
            [line.replace(str(place.root), "").replace("%20", " ") for line in (*person.shown, caplog.text)]
        )

    assert texts[0] == texts[1]


def test_a_person_may_write_a_number_a_name_or_no_class_and_is_told_what_is_none(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.INFO):
        given = ask(workspace, Person("2", "Purple", "4", "unsure", "NONE", " red ", "stop"))

    assert given == 4
    assert [label for _, _, label in labels(workspace)] == ["green", "unsure", "none", "red"]
    assert "'Purple' is no class. 1 blue   2 green   3 red" in caplog.text
    assert "'4' is no class" in caplog.text
    assert "stopped after 4 labels; `acclimate label cam7` goes on" in caplog.text


def test_every_label_is_kept_at_once_and_the_next_time_goes_on(workspace: Workspace):
    def killed(line: str) -> str:
        if len(labels(workspace)) == 2:
            raise KeyboardInterrupt
        return "green"

    with pytest.raises(KeyboardInterrupt):
        ask_for_labels(workspace, world.params(), TARGET, killed)

    assert [image for _, image, _ in labels(workspace)] == world.asked(workspace)[:2]
    assert len(world.lines(workspace, "look")) == 1  # the first label spent it
    person = Person(None)
    ask(workspace, person)
    assert person.shown[0].startswith("3. file://")


def test_a_candidate_that_is_worse_is_settled_early(workspace: Workspace):
    given = ask(workspace, Person(*["blue"] * 40))

    assert given < 12
    assert world.judge(workspace)["verdict"] in ("hold", "reject")


def test_where_the_labels_left_cannot_be_enough_no_more_is_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    says = tuple(
        1 if number == 1 and i < 12 else 0 if number == 1 else number for i, number in enumerate(world.TRUTH)
    )
    place = judged(
        tmp_path / "w",
        World({"source_only-0": world.BASELINE, "mcc-0": world.Says(test=says)}).without_labels(),
    )
    assert len(listed(place)) == 4

    with caplog.at_level(logging.INFO):
        given = ask(place, Person("green", "green"))

    assert given == 1
    assert "even if the other 3 all spoke for it, they would not be enough" in caplog.text


def test_where_every_image_was_labelled_before_it_says_where_fresh_ones_come_from(tmp_path: Path):
    place = judged(tmp_path / "w", World())

    with pytest.raises(BadInput, match=r"no fresh label can be given\. New images of the target can"):
        ask(place, Person())


def test_where_nothing_is_compared_it_says_why(tmp_path: Path):
    unsure = world.Says(select=world.flipped(world.TRUTH, 30), certainty=0.6)
    place = judged(
        tmp_path / "w",
        World({"source_only-0": world.Says(test=world.CONFUSED), "dann-0": unsure}).without_labels(),
    )

    with pytest.raises(BadInput, match="nothing of cam7 is to be compared: source_only-0 is source-only"):
        ask(place, Person())


# --- nothing is lost ---------------------------------------------------------------------------


def test_a_list_filled_in_place_and_not_handed_in_is_copied_aside_once(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
):
    create_answers(workspace, TARGET)
    path = workspace.stage("gate", TARGET) / "to_label.csv"
    unsent = workspace.root / "answers" / "unsent"
    keep_unsent(workspace, TARGET)
    assert not unsent.exists()
    path.write_text(as_csv(filled(workspace, label=" Unsure")))
    content = path.read_bytes()

    with caplog.at_level(logging.WARNING):
        keep_unsent(workspace, TARGET)
        keep_unsent(workspace, TARGET)

    (copy,) = unsent.iterdir()
    assert copy.read_bytes() == content
    assert caplog.text.count("was changed and not handed in") == 1
    assert f"acclimate label cam7 {copy}" in caplog.text
    take_in_answers(workspace, world.params(), TARGET, copy, read_filled(copy))
    copy.unlink()
    keep_unsent(workspace, TARGET)
    assert list(unsent.iterdir()) == []


def test_a_list_that_was_spoilt_in_place_is_copied_aside(workspace: Workspace):
    path = workspace.stage("gate", TARGET) / "to_label.csv"
    path.write_text("my notes")

    keep_unsent(workspace, TARGET)

    assert [copy.read_text() for copy in (workspace.root / "answers" / "unsent").iterdir()] == ["my notes"]


def test_making_the_file_of_answers_leaves_the_answers_there_are(workspace: Workspace):
    create_answers(workspace, TARGET)
    assert labels(workspace) == []
    hand_in(workspace, as_csv(filled(workspace)))
    create_answers(workspace, TARGET)

    assert len(labels(workspace)) == 40


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_answers_that_cannot_be_written_leave_the_old_ones(workspace: Workspace):
    hand_in(workspace, as_csv(filled(workspace, count=2)))
    folder = workspace.answers(TARGET).parent
    folder.chmod(0o500)
    with pytest.raises(Exception, match="cannot write"):
        hand_in(workspace, as_csv(filled(workspace)))
    folder.chmod(0o700)

    assert len(labels(workspace)) == 2


# --- the whole way -----------------------------------------------------------------------------


def test_answers_reach_nothing_but_the_gate():
    from tasks.provenance import code_files
    from tests.test_architecture import PIPELINE

    readers = {
        stage for stage, definition in PIPELINE.items() if "answers/${item.target}.csv" in definition["deps"]
    }
    importers = {
        stage for stage in PIPELINE if "tasks/records/answers.py" in code_files(f"tasks.stages.{stage}")
    }

    assert readers == importers == {"gate"}


def said_by(workspace: Workspace, target: str) -> dict[str, str]:
    """The classes that the selected candidate predicts for the test split, by image."""
    selected = read_selected(workspace.stage("gate", target))
    pool = read_pool(workspace.stage("adapt", target))
    outputs = read_outputs(pool, "test")[selected.candidate]
    return {
        image: pool.classes[number]
        for image, number in zip(outputs.sha256_N, outputs.predictions(), strict=True)
    }


def test_the_command_settles_a_provisional_verdict_and_a_plain_repro_agrees(workspace_copy: Workspace):
    """From a provisional verdict to a proven one: only the gate and what reads it run again."""
    name = "new-camera"
    shutil.rmtree(workspace_copy.data(name) / "holdout")
    content = yaml.safe_load(workspace_copy.params.read_text())
    content["gate"]["budget"]["verdicts"] = 1  # a handful of images can tell these models apart
    content["gate"]["budget"]["false_promotions"] = 0.5
    content["adapt"]["presets"]["mcc"] = [{"loss": "infomax", "weight": 3.0}]
    write_text(workspace_copy.params, yaml.safe_dump(content, sort_keys=False))
    run = json.loads(acclimate("run", "--no-prefect", "-w", workspace_copy.root, "--json").stdout)
    assert run["targets"][name]["verdict"]["verdict"] == "provisional"
    listed = workspace_copy.stage("gate", name) / "to_label.csv"
    selection = (workspace_copy.stage("gate", name) / "selection.json").read_bytes()
    rows = list(csv.DictReader(io.StringIO(listed.read_text())))
    assert len(rows) >= 5
    said = said_by(workspace_copy, name)
    listed.write_text(as_csv([row | {"label": said[row["sha256"]]} for row in rows], delimiter=";"))

    done = json.loads(acclimate("label", name, listed, "-w", workspace_copy.root, "--json").stdout)

    ran = {stage["name"] for stage in done["stages"] if stage["status"] != "unchanged"}
    assert ran == {"gate", "report"}
    row = done["targets"][name]
    assert row["verdict"]["verdict"] == "promote"
    assert row["evidence"]["kind"] == "disagreements"
    assert row["evidence"]["disagreements"]["labelled"] == len(rows)
    assert (workspace_copy.stage("gate", name) / "selection.json").read_bytes() == selection
    assert len(workspace_copy.answers(name).read_text().splitlines()) == len(rows) + 1
    assert not (workspace_copy.root / "answers" / "unsent").exists()
    lock = workspace_copy.dvc_lock.read_text()
    assert f"answers/{name}.csv" in lock
    dvc(workspace_copy, "repro")
    assert workspace_copy.dvc_lock.read_text() == lock
    assert json.loads(dvc(workspace_copy, "status", "--json")) == {}
    assert read_json(workspace_copy.stage("gate", name) / "verdict.json")["verdict"] == "promote"

    by_hand = as_csv([row | {"label": "unsure"} for row in rows])
    listed.write_text(by_hand)
    dvc(workspace_copy, "repro")
    assert listed.read_text() != by_hand
    assert [copy.read_text() for copy in (workspace_copy.root / "answers" / "unsent").iterdir()] == [by_hand]

    refused = acclimate("label", name, workspace_copy.params, "-w", workspace_copy.root, check=False)
    assert refused.returncode == 2
    assert "params.yaml, line 1: expected the columns path" in refused.stderr
