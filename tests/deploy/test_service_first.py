"""The commands of service, on a registry: nothing that goes on elsewhere keeps them waiting or stops another target."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from deploy import registry
from flows.release import promote_by_policy, release_due
from tasks.errors import BadInput, Refused
from tasks.workspace import Workspace
from tests.deploy.conftest import against
from tests.support.killed import killed_at
from tests.support.tiny import CHECKOUT, acclimate

RELEASE = "release:\n  auto_promote: {allowed}\n  record: {record}\ntargets: [cam7, cam8]\n"

HOLD = """
import sys, time
from pathlib import Path
from flows.runs.lock import lock_workspace
from tasks.workspace import Workspace
with lock_workspace(Workspace(Path(sys.argv[1])), purpose="retrain"):
    print("locked", flush=True)
    time.sleep(600)
"""


@contextmanager
def retraining(workspace: Workspace) -> Iterator[None]:
    """A process that has the workspace's mutex, as a run has it."""
    command = [sys.executable, "-c", HOLD, str(workspace.root)]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "locked\n"
            yield
        finally:
            process.kill()


def set_release(workspace: Workspace, *, allowed: str = "[promote]", record: str = "none") -> None:
    with workspace.params.open("a") as file:
        file.write(RELEASE.format(allowed=allowed, record=record))


def champion(workspace: Workspace, target: str = "cam7") -> int | None:
    return json.loads(workspace.champion(target).read_text())["champion"]


def run(workspace: Workspace, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return acclimate(*arguments, "-w", workspace.root, check=check)


# While a run has the workspace


def test_a_rollback_changes_the_pointer_while_a_retrain_runs_and_needs_neither_git_nor_dvc(
    three, tmp_path, record_property
):
    set_release(three)
    nowhere = tmp_path / "no programs"
    nowhere.mkdir()
    command = [sys.executable, "-m", "flows.cli", "rollback", "cam7", "-w", str(three.root)]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "PATH": str(nowhere)}
    with retraining(three):
        start = time.monotonic()
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
            while champion(three) == 3 and process.poll() is None:
                time.sleep(0.005)
            seconds = time.monotonic() - start
            assert process.wait(timeout=60) == 0, process.stderr and process.stderr.read()

    assert champion(three) == 2
    record_property("seconds from command to changed pointer", seconds)
    print(f"{seconds:.2f} s from command to changed pointer")
    assert seconds < 5


def test_promote_takes_the_newest_published_version_while_a_retrain_runs_and_says_so(published):
    with retraining(published):
        done = run(published, "promote", "cam7", check=False)
        assert (done.returncode, champion(published)) == (0, 2), done.stderr
        assert "version 2 is in service (the newest published one: a run has the workspace" in done.stdout

        named = run(published, "promote", "cam7", "--version", "1", "--force", "--by", "ana", "--reason", "x")
        assert named.stdout == "cam7: version 1 is in service\n"
        nothing_left = run(published, "promote", "cam7", check=False)

    assert nothing_left.returncode == 4
    assert "every version of cam7 was in service before or is withdrawn" in nothing_left.stderr
    assert "`acclimate promote cam7 --version N`" in nothing_left.stderr


def test_promote_under_a_retrain_leaves_withdrawn_versions_out(published):
    registry.withdraw(published, "cam7", 2, by="ana", reason="x")

    with retraining(published):
        run(published, "promote", "cam7")

    assert champion(published) == 1


def test_withdraw_and_freeze_do_not_wait_for_a_retrain(three):
    with retraining(three):
        said = run(three, "withdraw", "cam7", "--version", "3", "--by", "ana", "--reason", "x").stdout
        run(three, "freeze", "cam7", "--by", "ana", "--reason", "the fair")

    assert said == "cam7: version 3 is withdrawn; version 2 is in service\n"
    assert registry.status(three)["cam7"].frozen is not None


# The commands that show


def test_withdrawn_versions_and_a_freeze_are_shown_by_status_and_history(three):
    set_release(three)
    run(three, "rollback", "cam7", "--to", "1", "--by", "ana", "--reason", "dogs are cats")
    run(three, "freeze", "cam7", "--by", "bo", "--reason", "the fair")

    (row, unpublished) = json.loads(run(three, "status", "--json").stdout)
    table = run(three, "status").stdout
    entries = json.loads(run(three, "history", "cam7", "--json").stdout)
    lines = run(three, "history", "cam7").stdout.splitlines()

    assert (row["champion"], row["withdrawn"], row["problem"]) == (1, [3], None)
    assert row["frozen"].startswith("by bo on ")
    assert row["frozen"].endswith(": the fair")
    assert (unpublished["champion"], unpublished["withdrawn"]) == (None, [])
    assert "the fair" in table
    assert [entry["action"] for entry in entries[-2:]] == ["rollback", "freeze"]
    assert entries[-2]["reason"] == "dogs are cats"
    assert lines[-2].split()[1:4] == ["rollback", "1", "3"]
    assert lines[-2].endswith("dogs are cats")

    lifted = run(three, "freeze", "cam7", "--lift").stdout
    assert lifted == "cam7 is no longer frozen\n"
    assert registry.status(three)["cam7"].frozen is None


def test_promoting_a_withdrawn_version_by_its_number_says_that_this_is_lifted(three):
    run(three, "rollback", "cam7")

    refused = run(three, "promote", "cam7", "--force", "--by", "ana", "--reason", "x", check=False)
    done = run(three, "promote", "cam7", "--version", "3", "--force", "--by", "ana", "--reason", "x")
    unlifted = run(three, "withdraw", "cam7", "--version", "2", "--lift").stdout

    assert refused.returncode == 3
    assert "was rolled back to version 2" in refused.stderr
    assert done.stdout == "cam7: version 3 is in service; no longer withdrawn: 3\n"
    assert unlifted == "cam7: version 2 is not withdrawn; nothing was changed\n"


def test_a_damaged_target_is_named_by_status_and_stops_no_command_on_another(three, publish):
    set_release(three)
    publish(three, target="cam8")
    path = three.registry("cam7") / "history.jsonl"
    path.write_text(path.read_text() + "{\n")

    shown = run(three, "status").stdout
    rows = json.loads(run(three, "status", "--json").stdout)
    run(three, "promote", "cam8", "--version", "1")
    refused = run(three, "rollback", "cam7", check=False)

    assert "! cam7: registry/cam7/history.jsonl, line 7 is no history entry" in shown
    assert [(row["target"], row["champion"]) for row in rows] == [("cam7", 3), ("cam8", None)]
    assert champion(three, "cam8") == 1
    assert refused.returncode == 2
    assert "`git checkout -- registry/cam7/history.jsonl`" in refused.stderr


def test_a_broken_params_yaml_keeps_nobody_from_a_rollback(three):
    three.params.write_text("targets: [")

    done = run(three, "rollback", "cam7")

    assert done.stdout == "cam7: version 2 is back in service\n"


# The record in git


def test_promotions_and_rollbacks_are_committed_and_nothing_else_is(three):
    set_release(three, record="commit")
    (three.root / ".env").write_text("SECRET=1")
    (three.registry("cam7") / "credentials.json").write_text("SECRET=1")

    run(three, "rollback", "cam7")
    git = ["git", "-C", str(three.root)]
    message = subprocess.check_output([*git, "log", "-1", "--format=%s"], text=True)
    files = subprocess.check_output([*git, "show", "--name-only", "--format="], text=True).splitlines()

    assert message == "rollback cam7: version 2\n"
    assert {"registry/cam7/champion.json", "registry/cam7/history.jsonl"} <= set(files)
    assert "registry/cam7/credentials.json" not in files
    assert all(name.startswith("registry/cam7/") for name in files)


def test_a_rollback_whose_record_fails_has_changed_the_pointer_all_the_same(three):
    set_release(three, record="commit")
    (three.root / ".git" / "index.lock").write_text("")

    done = run(three, "rollback", "cam7")

    assert done.stdout == "cam7: version 2 is back in service\n"
    assert "not recorded in git: rollback cam7: version 2. Nothing is lost" in done.stderr
    assert champion(three) == 2


# The policy


@pytest.mark.parametrize("damage", ["history", "export", "pointer"])
def test_the_policy_releases_the_healthy_targets_whatever_is_wrong_with_another(
    published, write_outcome, damage
):
    set_release(published)
    for target in ("cam7", "cam8"):
        registry.create_registry(published, target)
        files = write_outcome(published, target=target)
        if target == "cam7" and damage == "export":
            files["model"].unlink()
    if damage == "history":
        (published.registry("cam7") / "history.jsonl").write_text("{\n")
    if damage == "pointer":
        published.champion("cam7").unlink()
        published.champion("cam7").mkdir()

    failed = promote_by_policy(published, ("cam7", "cam8"))

    assert list(failed) == ["cam7"]
    assert not isinstance(failed["cam7"], Refused)
    assert champion(published, "cam8") == 1


def test_the_policy_promotes_neither_what_is_withdrawn_nor_on_a_frozen_target(published, write_outcome):
    set_release(published)
    registry.promote(published, "cam7", 1, by="ana", reason="x")
    registry.promote(published, "cam7", 2, by="ana", reason="x")
    registry.rollback(published, "cam7", by="ana", reason="bad")
    registry.create_registry(published, "cam8")
    registry.freeze(published, "cam8", by="ana", reason="the fair")
    write_outcome(published, target="cam7", sharpness=2.0)
    write_outcome(published, target="cam8")

    failed = promote_by_policy(published, ("cam7", "cam8"))

    assert {target: type(error) for target, error in failed.items()} == {"cam7": Refused, "cam8": Refused}
    assert "was rolled back to version 1" in str(failed["cam7"])
    assert "was frozen on" in str(failed["cam8"])
    assert (champion(published), champion(published, "cam8")) == (1, None)
    assert release_due(published, "cam7") is release_due(published, "cam8") is None


def test_what_is_due_follows_from_state_and_changes_nothing(workspace, write_outcome):
    set_release(workspace)
    assert release_due(workspace, "cam7") is None
    write_outcome(workspace)
    assert release_due(workspace, "cam7") == "publish"
    assert not workspace.registry("cam7").exists()

    registry.publish(workspace, "cam7", by="ana", reason="x")
    assert release_due(workspace, "cam7") == "promote"
    promote_by_policy(workspace, ("cam7",))
    assert (champion(workspace), release_due(workspace, "cam7")) == (1, None)

    write_outcome(workspace, verdict="hold")  # a new verdict about the same bytes
    assert release_due(workspace, "cam7") == "publish"
    registry.publish(workspace, "cam7", by="ana", reason="x")
    assert release_due(workspace, "cam7") is None

    write_outcome(workspace, sharpness=2.0, verdict="provisional")
    registry.publish(workspace, "cam7", by="ana", reason="x")
    assert release_due(workspace, "cam7") is None  # the policy does not let it in


def test_a_promotion_that_was_killed_is_not_due_again_once_its_pointer_is_settled(workspace, publish):
    set_release(workspace)
    publish(workspace)
    code = "registry.promote(workspace, 'cam7', 1, by='acclimate', reason='x', automatic=True)"

    killed_at("history.jsonl", workspace, code)
    assert release_due(workspace, "cam7") == "promote"
    killed_at("champion.json", workspace, code)
    assert champion(workspace) is None
    promote_by_policy(workspace, ("cam7",))

    assert (champion(workspace), release_due(workspace, "cam7")) == (1, None)


def test_nothing_is_due_while_the_records_of_a_run_do_not_agree(workspace, write_outcome):
    set_release(workspace)
    write_outcome(workspace, gate={"checkpoint_sha256": "f" * 64})

    assert release_due(workspace, "cam7") is None


def test_what_is_due_for_a_damaged_target_is_an_error_that_names_it(published, write_outcome):
    set_release(published)
    write_outcome(published)
    (published.registry("cam7") / "history.jsonl").write_text("{\n")

    with pytest.raises(BadInput, match="registry/cam7/history"):
        release_due(published, "cam7")


def test_a_verdict_that_compared_with_a_champion_that_was_rolled_back_meanwhile_is_not_promoted(
    three, write_outcome
):
    """The run judged against version 3; somebody rolled back before the policy came to it."""
    set_release(three)
    third = registry.read_version(three, "cam7", 3)
    write_outcome(three, sharpness=4.0, gate={"champion": against(3, third.checkpoint_sha256)})
    registry.rollback(three, "cam7", by="ana", reason="bad")

    failed = promote_by_policy(three, ("cam7",))

    assert "compared with version 3, but version 2 is in service" in str(failed["cam7"])
    assert champion(three) == 2
    assert release_due(three, "cam7") is None
