"""Labels that are spent: the ledger is opened once and never lost in silence, and labels retire into training."""

import csv
import json
import logging
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from flows.commands.unseal import unseal
from flows.workspaces.programs import git
from flows.workspaces.spent import create_ledger, retire, retire_answers
from tasks.domains.folder import RETIRED
from tasks.domains.image.reader import MEASURES
from tasks.domains.retired import read_retired
from tasks.errors import BadInput
from tasks.files import write_text
from tasks.records.answers import Answer, write_answers
from tasks.records.ledger import Retired, append, digits, read_ledger
from tasks.records.manifest import read_manifest, write_manifest
from tasks.workspace import Workspace
from tests.stages import test_gate as world
from tests.stages.test_gate import TARGET, World, lay_out
from tests.support.tiny import acclimate

NAME = "new-camera"
TODAY = datetime.now(UTC).date().isoformat()


def entries(workspace: Workspace, target: str = TARGET) -> list[dict]:
    return [json.loads(line) for line in workspace.ledger(target).read_text().splitlines()]


def kinds(workspace: Workspace, target: str = TARGET) -> list[str]:
    return [entry["kind"] for entry in entries(workspace, target)]


# --- the ledger is opened ------------------------------------------------------------------------


def test_a_new_target_gets_a_ledger_once_and_it_stays_as_it_is(tmp_path: Path):
    workspace = Workspace(tmp_path)

    create_ledger(workspace, TARGET)
    before = workspace.ledger(TARGET).read_bytes()
    create_ledger(workspace, TARGET)

    assert kinds(workspace) == ["opened"]
    assert workspace.ledger(TARGET).read_bytes() == before


def test_labels_that_were_judged_by_before_there_was_a_ledger_are_spent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    workspace = lay_out(tmp_path, World())
    world.judge(workspace)
    workspace.ledger(TARGET).unlink()

    with caplog.at_level(logging.WARNING):
        create_ledger(workspace, TARGET)

    assert kinds(workspace) == ["opened", "read", "unsealed"]
    assert "the 120 labels of the hold-out were judged by before there was a ledger" in caplog.text
    world.other_candidate(workspace, "dann-0")
    verdict = world.judge(workspace, labels="sealed")
    assert verdict["verdict"] == "hold"
    assert verdict["price"]["holdout"]["spent_since"] == TODAY


def test_a_ledger_that_dvc_knows_and_that_is_gone_is_not_made_anew(tmp_path: Path):
    workspace = lay_out(tmp_path, World())
    workspace.ledger(TARGET).unlink()
    lock = {"stages": {f"gate@{TARGET}": {"outs": [{"path": f"ledger/{TARGET}.jsonl"}]}}}
    write_text(workspace.dvc_lock, json.dumps(lock))

    with pytest.raises(BadInput, match=rf"git checkout -- ledger/{TARGET}\.jsonl.*acclimate unseal {TARGET}"):
        create_ledger(workspace, TARGET)

    assert not workspace.ledger(TARGET).exists()


def test_a_ledger_that_git_knows_is_not_made_anew_though_nothing_else_is_left_of_its_target(tmp_path: Path):
    workspace = Workspace(tmp_path)
    git(workspace, "init", "--quiet")
    create_ledger(workspace, TARGET)
    create_ledger(workspace, NAME)
    git(workspace, "add", "--", f"ledger/{TARGET}.jsonl")
    for target in (TARGET, NAME):
        workspace.ledger(target).unlink()

    with pytest.raises(BadInput, match=rf"git checkout -- ledger/{TARGET}\.jsonl"):
        create_ledger(workspace, TARGET)
    create_ledger(workspace, NAME)

    assert not workspace.ledger(TARGET).exists()
    assert kinds(workspace, NAME) == ["opened"]


# --- labels retire -------------------------------------------------------------------------------


def answered(root: Path) -> tuple[Workspace, str]:
    """A comparison of mcc-0 with two answers of its own and two of another; the key of its arms."""
    workspace = world.compared(root)
    arms = world.lines(workspace, "frozen")[0]["arms"]
    images = world.asked(workspace)
    given = [Answer(1, images[0], "green", arms), Answer(1, images[1], "unsure", arms)]
    others = [Answer(1, images[2], "green", "another"), Answer(1, images[3], "blue", "another")]
    write_answers(workspace.answers(TARGET), [*given, *others])
    return workspace, images[0]


def test_answers_stay_while_their_comparison_goes_on(tmp_path: Path):
    workspace, _ = answered(tmp_path)

    retire_answers(workspace, TARGET, all_of_them=False)

    assert read_retired(workspace.data(TARGET)) == {}


def test_answers_that_brought_the_champion_into_service_train_and_those_without_a_class_do_not(
    tmp_path: Path,
):
    workspace, image = answered(tmp_path)
    world.point_at(workspace, champion=1, checkpoint_sha256=world.sha("mcc-0"), model_sha256="m", path="p")

    retire_answers(workspace, TARGET, all_of_them=False)
    retire_answers(workspace, TARGET, all_of_them=False)

    assert read_retired(workspace.data(TARGET)) == {image: "green"}
    assert [entry["images"] for entry in entries(workspace) if entry["kind"] == "retired"] == [
        [digits(image)]
    ]


def test_new_data_retires_all_answers(tmp_path: Path):
    workspace, image = answered(tmp_path)

    retire_answers(workspace, TARGET, all_of_them=True)

    assert len(read_retired(workspace.data(TARGET))) == 3
    assert read_retired(workspace.data(TARGET))[image] == "green"


def test_a_kill_between_the_list_and_the_ledger_is_made_good_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    workspace, image = answered(tmp_path)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("flows.workspaces.spent.append", killed)
        with pytest.raises(KeyboardInterrupt):
            retire(workspace, TARGET, {image: "green"})
    assert read_retired(workspace.data(TARGET)) == {image: "green"}

    assert retire(workspace, TARGET, {image: "green"}) == 0
    assert read_ledger(workspace.ledger(TARGET)).retired() == {digits(image)}


def test_a_damaged_list_of_retired_labels_is_named(tmp_path: Path):
    path = tmp_path / RETIRED
    path.parent.mkdir()
    path.write_text("sha256;label\n")

    with pytest.raises(BadInput, match=r"retired\.csv is not a list of sha256,label"):
        read_retired(tmp_path)


# --- unseal --------------------------------------------------------------------------------------


def unsealed(workspace: Workspace) -> list[dict]:
    return [entry for entry in entries(workspace, NAME) if entry["kind"] == "unsealed"]


def test_unseal_shows_every_candidate_and_the_next_run_trains_with_the_labels(workspace_copy: Workspace):
    sealed = workspace_copy.params.read_text().replace("labels: open", "labels: sealed")
    write_text(workspace_copy.params, sealed)
    row = json.loads(acclimate("run", "--no-prefect", "-w", workspace_copy.root, "--json").stdout)["targets"][
        NAME
    ]
    assert row["sealed"]
    assert {one["holdout_accuracy"] for one in row["candidates"]} == {None}

    said = acclimate("unseal", NAME, "-w", workspace_copy.root).stdout

    assert "mcc-0" in said
    assert "source-only" in said
    assert f"{NAME}: the labels of 36 images of the hold-out are open, and prove nothing any more." in said
    assert len(unsealed(workspace_copy)) == 1
    with (workspace_copy.data(NAME) / RETIRED).open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 36
    row = json.loads(acclimate("run", "--no-prefect", "-w", workspace_copy.root, "--json").stdout)["targets"][
        NAME
    ]
    manifest = json.loads((workspace_copy.stage("manifest", NAME) / "manifest.json").read_text())
    assert manifest["splits"]["labelled"] == 36
    assert manifest["splits"]["test"] > 0  # without a hold-out of its own, the target keeps a test split
    assert manifest["labels"] == {}
    assert row["verdict"]["verdict"] in ("provisional", "hold", "reject")
    assert row["selected"]["n"] == 0


def test_unseal_without_any_label_says_so_and_writes_nothing(workspace_copy: Workspace):
    folder = workspace_copy.stage("manifest", NAME)
    unlabelled = [replace(row, label=None) for row in read_manifest(folder).rows]
    write_manifest(folder, NAME, unlabelled, classes=None, measures=MEASURES)
    before = workspace_copy.ledger(NAME).read_bytes()

    with pytest.raises(BadInput, match=f"{NAME} has no labels that could be shown"):
        unseal(workspace_copy.root, NAME)

    assert workspace_copy.ledger(NAME).read_bytes() == before


def test_a_lost_ledger_is_begun_anew_by_unseal_alone_and_its_labels_are_spent(workspace_copy: Workspace):
    workspace_copy.ledger(NAME).unlink()
    refused = acclimate("run", "--no-prefect", "-w", workspace_copy.root, check=False)
    assert refused.returncode == 2
    assert f"acclimate unseal {NAME}" in refused.stderr

    unseal(workspace_copy.root, NAME)

    assert kinds(workspace_copy, NAME)[:3] == ["opened", "read", "unsealed"]
    create_ledger(workspace_copy, NAME)  # the step of a run that refused


# --- git keeps it --------------------------------------------------------------------------------


def test_with_record_none_a_run_commits_ledger_and_answers_and_nothing_else(workspace_copy: Workspace):
    text = workspace_copy.params.read_text()
    assert "record: commit" in text
    write_text(workspace_copy.params, text.replace("record: commit", "record: none"))
    write_text(workspace_copy.root / "mine.txt", "a note of the user's")
    git(workspace_copy, "add", "mine.txt")
    append(workspace_copy.ledger(NAME), [Retired(at=date(2031, 5, 6), images=("a" * 12,))])

    acclimate("run", "--no-prefect", "-w", workspace_copy.root)

    names = git(workspace_copy, "show", "--name-only", "--format=%s", "HEAD").split("\n")
    assert names[0] == f"run: {NAME}"
    assert [name for name in names[1:] if name] == [f"ledger/{NAME}.jsonl"]
    assert git(workspace_copy, "diff", "--cached", "--name-only").strip() == "mine.txt"
    assert git(workspace_copy, "status", "--porcelain", "--", "ledger", "answers") == ""


def test_where_git_refuses_the_run_ends_well_and_says_that_the_ledger_is_not_recorded(
    workspace_copy: Workspace,
):
    hook = workspace_copy.root / ".git" / "hooks" / "pre-commit"
    write_text(hook, "#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    append(workspace_copy.ledger(NAME), [Retired(at=date(2031, 5, 6), images=("a" * 12,))])

    done = acclimate("run", "--no-prefect", "-w", workspace_copy.root)

    assert "not recorded in git: run: " in done.stderr
