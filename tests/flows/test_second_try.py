"""`acclimate try` on a workspace that has lived: what was there stays, and what it replaces is set aside."""

import json
import shutil
import threading
import time
from pathlib import Path

import pytest
import torch
import yaml

from flows.commands import try_pair
from flows.commands.try_pair import try_folders
from flows.runs.lock import lock_workspace
from flows.runs.result import Run
from flows.workspaces.imports import bring_in
from flows.workspaces.landing import hand_in, take_in
from tasks.config.params import load_params
from tasks.domains.retired import add_retired
from tasks.errors import BadInput, Fault
from tasks.files import write_text
from tasks.models.backbones.image_lenet import LeNet
from tasks.workspace import Workspace
from tests.flows.test_marker import listing
from tests.support.hf import write_text_folder
from tests.support.texts import reviews, write_csv
from tests.support.tiny import Pair, acclimate, draw, settings, write_pictures

NAME = "new-camera"


@pytest.fixture
def lived(workspace_copy: Workspace, tmp_path: Path) -> Workspace:
    """A workspace with settings and a remote of its owner, a batch that arrived, retired labels, and files put there by hand."""
    text = workspace_copy.params.read_text()
    write_text(
        workspace_copy.params,
        "# ours since March\n" + text.replace("max_map_points: 400", "max_map_points: 300  # slow browsers"),
    )
    write_text(
        workspace_copy.root / ".dvc" / "config",
        "[core]\n    remote = s3\n['remote \"s3\"']\n    url = s3://ours\n",
    )
    write_pictures(tmp_path / "batch", count=15, first_seed=8000, shifted=True, labelled=False)
    (tmp_path / "batch" / "out.png").symlink_to("/etc/passwd")
    hand_in(workspace_copy, NAME, tmp_path / "batch")
    assert take_in(workspace_copy, NAME, load_params(workspace_copy.params)).taken
    add_retired(workspace_copy.data(NAME), {"a" * 64: "bars"})
    draw("dots", seed=1, shifted=False).save(workspace_copy.data("source") / "dots" / "by hand.png")
    return workspace_copy


def run_try(
    pair: Pair,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    *overrides: str,
    target: Path | None = None,
    name: str | None = None,
):
    """Everything that `acclimate try` does before its stages."""
    monkeypatch.setattr(try_pair, "run_locked", lambda *_, **__: Run(None, {}))  # type: ignore[arg-type]
    return try_pair.try_folders(
        pair.source, target or pair.target, holdout=pair.holdout, labelled=None, workspace=workspace.root,
        overrides=list(overrides), name=name,
    )  # fmt: skip


def test_a_second_try_keeps_settings_remote_arrivals_retired_labels_and_files_put_there_by_hand(
    lived: Workspace, pair: Pair, monkeypatch: pytest.MonkeyPatch
):
    data, config, params = (
        listing(lived.root / "data"),
        (lived.root / ".dvc" / "config").read_text(),
        lived.params.read_text(),
    )
    assert len([name for name in data if "/arrived/" in name]) == 45

    run_try(pair, lived, monkeypatch)

    assert listing(lived.root / "data") == data
    assert (lived.root / ".dvc" / "config").read_text() == config
    assert lived.params.read_text() == params
    assert not (lived.private / "replaced").exists()


def test_settings_of_the_command_line_are_laid_over_those_of_the_workspace_and_comments_stay(
    lived: Workspace, pair: Pair, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    other = Path(shutil.copytree(pair.target, tmp_path / "third camera"))

    run_try(pair, lived, monkeypatch, "adapt.steps=33", target=other)

    text = lived.params.read_text()
    assert "# ours since March" in text
    assert "max_map_points: 300  # slow browsers" in text
    params = load_params(lived.params)
    assert params.adapt.steps == 33
    assert params.targets == (NAME, "third-camera")
    assert params.features.route == "end_to_end"
    assert (lived.data("third-camera") / "images").is_dir()


def test_images_that_changed_come_in_and_the_earlier_copy_is_set_aside(
    lived: Workspace, pair: Pair, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    source = Path(shutil.copytree(pair.source, tmp_path / "source"))
    gone, changed = sorted((source / "bars").iterdir())[:2]
    gone.unlink()
    draw("bars", seed=999, shifted=False).save(changed)
    before = (lived.data("source") / "bars" / changed.name).read_bytes()
    changed_pair = Pair(source, pair.target, pair.holdout)

    run_try(changed_pair, lived, monkeypatch)

    assert not (lived.data("source") / "bars" / gone.name).exists()
    assert (lived.data("source") / "bars" / changed.name).read_bytes() == changed.read_bytes()
    assert (lived.data("source") / "dots" / "by hand.png").exists()
    (aside,) = (lived.private / "replaced").glob("*/data/source")
    assert (aside / "bars" / gone.name).exists()
    assert (aside / "bars" / changed.name).read_bytes() == before


def test_a_lost_list_of_imports_keeps_every_file(
    lived: Workspace, pair: Pair, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    shutil.rmtree(lived.private / "imports")
    source = Path(shutil.copytree(pair.source, tmp_path / "source"))
    gone = min((source / "bars").iterdir())
    gone.unlink()

    run_try(Pair(source, pair.target, pair.holdout), lived, monkeypatch)

    assert (lived.data("source") / "bars" / gone.name).exists()


def test_lines_about_refused_files_of_arrived_batches_stay(
    lived: Workspace, pair: Pair, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    target = Path(shutil.copytree(pair.target, tmp_path / "new camera"))
    (target / "outside.png").symlink_to("/etc/hostname")
    run_try(pair, lived, monkeypatch, target=target, name=NAME)
    both = refused(lived)
    order = (lived.data(NAME) / "refused.jsonl").read_bytes()
    run_try(pair, lived, monkeypatch, target=target, name=NAME)
    assert (lived.data(NAME) / "refused.jsonl").read_bytes() == order
    (target / "outside.png").unlink()

    run_try(pair, lived, monkeypatch, target=target, name=NAME)

    assert {path.split("/")[0] for path in both} == {"arrived", "images"}
    assert {path.split("/")[0] for path in refused(lived)} == {"arrived"}


def refused(workspace: Workspace) -> list[str]:
    lines = (workspace.data(NAME) / "refused.jsonl").read_text().splitlines()
    return [json.loads(line)["path"] for line in lines]


def test_while_it_waits_for_another_run_it_has_changed_nothing(
    lived: Workspace, pair: Pair, monkeypatch: pytest.MonkeyPatch
):
    before = listing(lived.root)
    waiting = threading.Thread(target=run_try, args=(pair, lived, monkeypatch, "adapt.steps=33"))
    with lock_workspace(lived, purpose="retrain"):
        before[".acclimate/mutex"] = listing(lived.root)[".acclimate/mutex"]
        waiting.start()
        time.sleep(1.5)
        still = listing(lived.root)
    waiting.join()

    assert still == before
    assert load_params(lived.params).adapt.steps == 33


def test_a_setting_that_is_wrong_for_the_workspace_is_told_and_nothing_is_written(
    lived: Workspace, pair: Pair, monkeypatch: pytest.MonkeyPatch
):
    before = listing(lived.root)

    with pytest.raises(BadInput, match=r"adapt\.stepz: unknown key"):
        run_try(pair, lived, monkeypatch, "adapt.stepz=3")

    assert listing(lived.root) == before


def test_the_first_failure_is_told_and_not_that_of_the_record(
    lived: Workspace, pair: Pair, monkeypatch: pytest.MonkeyPatch
):
    def break_down(*_: object, **__: object) -> None:
        raise Fault("the disk is full")

    (lived.root / ".git" / "index.lock").touch()
    write_text(lived.champion(NAME), lived.champion(NAME).read_text() + "\n")
    monkeypatch.setattr(try_pair, "run_locked", break_down)

    with pytest.raises(Fault, match="the disk is full"):
        try_pair.try_folders(
            pair.source, pair.target, holdout=None, labelled=None, workspace=lived.root, overrides=[]
        )


def test_a_data_folder_that_is_a_link_to_somewhere_else_is_not_filled(
    lived: Workspace, pair: Pair, tmp_path: Path
):
    shutil.move(lived.data("source"), tmp_path / "big disk")
    lived.data("source").symlink_to(tmp_path / "big disk")
    before = listing(tmp_path / "big disk")

    done = acclimate("try", pair.source, pair.target, "-w", lived.root, *settings(), check=False)

    assert done.returncode == 2
    assert "is a link to" in done.stderr
    assert listing(tmp_path / "big disk") == before


@pytest.mark.parametrize(
    ("source", "target", "holdout", "labelled", "message"),
    [
        ("a", "a", None, None, "TARGET_DIR and SOURCE_DIR are both "),
        ("a", "b/../a", None, None, "TARGET_DIR and SOURCE_DIR are both "),
        ("a", "a/bars", None, None, "TARGET_DIR lies inside SOURCE_DIR "),
        ("a/bars", "a", None, None, "SOURCE_DIR lies inside TARGET_DIR "),
        ("a", "b", "link to a", None, "--holdout and SOURCE_DIR are both "),
        ("a", "b", None, "a/bars", "--labelled lies inside SOURCE_DIR "),
        ("a", "b", "b", None, "TARGET_DIR and --holdout are both "),
        ("a", "b", "c", "c", "--holdout and --labelled are both "),
    ],
)
def test_one_folder_in_two_roles_is_refused_before_anything_is_written(
    tmp_path: Path, source: str, target: str, holdout: str | None, labelled: str | None, message: str
):
    for folder in ("a/bars", "a/dots", "b/bars", "c/bars"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "link to a").symlink_to("a")

    with pytest.raises(BadInput) as raised:
        try_pair.try_folders(
            tmp_path / source, tmp_path / target, holdout=tmp_path / holdout if holdout else None,
            labelled=tmp_path / labelled if labelled else None, workspace=tmp_path / "w", overrides=[],
        )  # fmt: skip

    assert str(raised.value).startswith(message)
    assert not (tmp_path / "w").exists()


def test_a_name_that_is_empty_is_refused_and_not_made_up(tmp_path: Path):
    for folder in ("a/bars", "b/bars"):
        (tmp_path / folder).mkdir(parents=True)

    with pytest.raises(BadInput, match="target name '' must be lower-case letters"):
        try_pair.try_folders(
            tmp_path / "a", tmp_path / "b", holdout=None, labelled=None, workspace=tmp_path / "w", overrides=[], name="",
        )  # fmt: skip

    assert not (tmp_path / "w").exists()


def test_a_folder_of_another_place_under_the_same_name_is_refused_before_anything_is_written(
    lived: Workspace, pair: Pair, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    south = Path(shutil.copytree(pair.target, tmp_path / "south" / "new camera"))
    (next(south.iterdir())).unlink()
    before = listing(lived.root)

    with pytest.raises(BadInput) as raised:
        run_try(pair, lived, monkeypatch, target=south)

    assert f"{NAME} of {lived.root} came from {pair.target}, and {south} is another folder" in str(
        raised.value
    )
    assert f"If it is the same place, say so: --name {NAME}." in str(raised.value)
    assert listing(lived.root) == before


def test_a_name_that_is_given_says_which_target_a_folder_belongs_to(
    lived: Workspace, pair: Pair, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    moved = Path(shutil.copytree(pair.target, tmp_path / "moved" / "new camera"))

    run_try(pair, lived, monkeypatch, target=moved, name=NAME)
    run_try(pair, lived, monkeypatch, target=moved, name="no")

    assert load_params(lived.params).targets == (NAME, "no")
    assert (lived.data("no") / "images").is_dir()
    with pytest.raises(BadInput, match="came from"):
        run_try(pair, lived, monkeypatch)


def test_weights_of_the_command_line_lie_where_the_person_is_and_are_checked_before_anything_is_written(
    lived: Workspace, pair: Pair, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": LeNet(16).state_dict()}, "own.pth")
    torch.save({"layer1.weight": torch.zeros(3, 3)}, "other.pth")
    before = listing(lived.root)

    with pytest.raises(BadInput, match=r"other\.pth' is not a checkpoint of lenet"):
        run_try(pair, lived, monkeypatch, "model.weights=other.pth")
    assert listing(lived.root) == before

    run_try(pair, lived, monkeypatch, "model.weights=own.pth")
    assert load_params(lived.params).model.weights == str(tmp_path / "own.pth")


def test_a_folder_of_the_command_line_lies_where_the_person_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(try_pair, "run_locked", lambda *_, **__: Run(None, {}))  # type: ignore[arg-type]
    monkeypatch.chdir(tmp_path)
    write_text_folder(tmp_path / "own")
    write_csv(tmp_path / "books.csv", reviews("books", 4))
    write_csv(tmp_path / "tools.csv", reviews("tools", 4))

    def run(folder: str) -> None:
        try_folders(
            Path("books.csv"), Path("tools.csv"), holdout=None, labelled=None, workspace=tmp_path / "w",
            overrides=[f"model.backbone=hf/{folder}", "texts.tokens=24"],
        )  # fmt: skip

    with pytest.raises(BadInput, match=r"hf/.*other: .* is not a folder; expected one with config.json"):
        run("other")
    assert not (tmp_path / "w").exists()
    run("own")
    assert load_params(tmp_path / "w" / "params.yaml").model.backbone == f"hf/{tmp_path / 'own'}"


def test_two_tries_in_one_new_folder_take_turns(pair: Pair, tmp_path: Path):
    """The second finds the workspace of the first, and neither resets the other's settings."""
    place = Workspace(tmp_path / "w")
    with lock_workspace(place, purpose="try"):
        pass  # all that the first has done so far

    done = acclimate(
        "try",
        pair.source,
        pair.target,
        "-w",
        place.root,
        *settings("validate.min_rows_source=9999"),
        check=False,
    )
    content = yaml.safe_load(place.params.read_text())

    assert done.returncode == 2
    assert content["targets"] == [NAME]
    bring_in(place, "source", "", pair.source)
    assert not (place.private / "replaced").exists()
