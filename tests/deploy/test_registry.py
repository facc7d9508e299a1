"""The registry, judged by the files it leaves: after refusals, kills, reruns and lost bytes."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from deploy import registry
from deploy.registry.history import read_history
from tasks.errors import BadInput, Refused
from tasks.workspace import Workspace
from tests.support.killed import killed_at


def read(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


def history(workspace, target="cam7") -> list[dict]:
    text = (workspace.registry(target) / "history.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def actions(workspace) -> list[tuple[str, int]]:
    return [(entry["action"], entry["version"]) for entry in history(workspace)]


def promote(workspace, version, **options):
    registry.promote(workspace, "cam7", version, **({"by": "ana", "reason": "a test"} | options))


def rollback(workspace) -> int:
    return registry.rollback(workspace, "cam7", by="ana", reason="a test")


# Before anything is published


def test_a_new_registry_has_a_pointer_that_names_nothing(workspace):
    registry.create_registry(workspace, "cam7")

    assert read(workspace.champion("cam7")) == {
        "schema_version": 1,
        "champion": None,
        "previous": None,
        "model_sha256": None,
        "checkpoint_sha256": None,
        "path": None,
        "former": [],
        "moves": 0,
    }
    assert registry.registered_targets(workspace) == ["cam7"]
    assert registry.read_champion(workspace, "cam7") is None


def test_creating_a_registry_again_changes_nothing(published):
    promote(published, 1)
    before = {path: path.read_bytes() for path in published.registry("cam7").rglob("*.json*")}

    registry.create_registry(published, "cam7")

    assert before == {path: path.read_bytes() for path in published.registry("cam7").rglob("*.json*")}
    assert len(before) == 4


@pytest.mark.parametrize("name", ["../up", "Cam7", "source", "", "a b"])
def test_names_that_cannot_be_folders_or_urls_are_refused(workspace, name):
    with pytest.raises(BadInput, match="must be lower-case letters, digits and dashes"):
        registry.create_registry(workspace, name)


def test_an_unknown_target_is_answered_with_the_known_ones(published):
    for act in (registry.read_champion, lambda w, t: registry.rollback(w, t, by="", reason="")):
        with pytest.raises(BadInput, match="unknown target 'cam8'; registered targets: cam7"):
            act(published, "cam8")


# Publishing


def test_a_version_holds_the_bytes_and_who_said_what_about_them(published, write_outcome, run):
    folder = published.registry("cam7") / "versions" / "1"
    record = read(folder / "version.json")
    files = write_outcome(published)

    assert (folder / "model.onnx").read_bytes() == files["model"].read_bytes()
    assert record["model_sha256"] == hashlib.sha256(files["model"].read_bytes()).hexdigest()
    assert record["version"] == 1
    assert record["target"] == "cam7"
    assert record["candidate"] == "mcc-0"
    assert record["classes"] == ["red", "green", "blue"]
    assert record["acclimate_version"] == "0.1.0"
    assert record["data_digest"] == {"source": "1" * 64, "target": "2" * 64}
    assert record["by"] == "ana"
    assert record["verdicts"]["gate"]["verdict"] == "promote"
    gate_sha256 = hashlib.sha256(files["gate"].read_bytes()).hexdigest()
    assert record["verdicts"]["gate"]["sha256"] == gate_sha256
    assert record["git_commit"] == run(published.root, "git", "rev-parse", "HEAD").strip()
    assert record["created_at"].endswith("+00:00")


def test_git_sees_the_pointer_and_dvc_can_bring_the_bytes_back(published, run):
    folder = published.registry("cam7") / "versions" / "2"
    content = (folder / "model.onnx").read_bytes()

    run(published.root, "git", "add", "registry")
    tracked = run(published.root, "git", "ls-files", "registry").splitlines()
    (folder / "model.onnx").unlink()
    run(published.root, sys.executable, "-m", "dvc", "checkout", "--quiet")

    assert "registry/cam7/versions/2/model.onnx.dvc" in tracked
    assert "registry/cam7/versions/2/model.onnx" not in tracked
    assert (folder / "model.onnx").read_bytes() == content


def test_publishing_alone_puts_nothing_in_service_and_leaves_the_pointer_alone(published):
    assert read(published.champion("cam7"))["champion"] is None
    assert registry.status(published)["cam7"].challenger == 2
    assert actions(published) == [("publish", 1), ("publish", 2)]


def test_publishing_the_same_bytes_again_returns_the_version_there_is(published, publish):
    assert publish(published, sharpness=1.0) == 1
    assert publish(published, sharpness=2.0) == 2
    assert actions(published) == [("publish", 1), ("publish", 2)]


def test_a_new_verdict_about_the_same_bytes_is_kept_and_decides(published, publish):
    record = (published.registry("cam7") / "versions" / "1" / "version.json").read_bytes()

    assert publish(published, sharpness=1.0, verdict="reject") == 1

    assert actions(published) == [("publish", 1), ("publish", 2), ("judge", 1)]
    assert (published.registry("cam7") / "versions" / "1" / "version.json").read_bytes() == record
    assert [row.verdict for row in registry.status(published)["cam7"].versions] == ["promote", "reject"]
    with pytest.raises(Refused, match=r"version 1 of cam7 has the verdict reject \(because\)"):
        promote(published, 1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param(
            {"probe": {"model_sha256": "a" * 64}},
            f"model_sha256 of the probe verdict is {'a' * 64}, of model.onnx it is ",
            id="probe-of-other-bytes",
        ),
        pytest.param(
            {"export": {"model_sha256": "a" * 64}},
            f"model_sha256 of export.json is {'a' * 64}, of model.onnx it is ",
            id="export-of-other-bytes",
        ),
        pytest.param(
            {"gate": {"checkpoint_sha256": "b" * 64}},
            f"checkpoint_sha256 of the gate verdict is {'b' * 64}, of model.onnx it is ",
            id="gate-of-another-checkpoint",
        ),
        pytest.param(
            {"export": {"checkpoint_sha256": "b" * 64}},
            f"checkpoint_sha256 of export.json is {'b' * 64}, of model.onnx it is ",
            id="export-of-another-checkpoint",
        ),
        pytest.param(
            {"model": {"data_digest": "f" * 64}},
            f"of model.onnx it is {'f' * 64}",
            id="model-of-other-data",
        ),
        pytest.param(
            {"gate": {"data_digest": {"source": "9" * 64, "target": "2" * 64}}},
            f'data_digest of the gate verdict is {{"source": "{"9" * 64}"',
            id="gate-of-other-data",
        ),
        pytest.param(
            {"gate": {"target": "cam8"}},
            "target of the gate verdict is cam8, of the request it is cam7",
            id="t",
        ),
        pytest.param(
            {"model": {"target": "cam8"}}, "target of model.onnx is cam8", id="model-of-another-target"
        ),
        pytest.param(
            {"probe": {"passed": False, "reasons": ["finite: NaN"]}},
            "the probe verdict did not pass (finite: NaN)",
            id="probe-failed",
        ),
        pytest.param({"data": {"passed": False}}, "the data verdict did not pass", id="data-failed"),
    ],
)
def test_a_mismatch_is_refused_and_nothing_is_published(workspace, publish, changes, words):
    with pytest.raises(Refused) as caught:
        publish(workspace, **changes)

    assert words in str(caught.value)
    assert not (workspace.registry("cam7") / "versions").exists()
    assert not (workspace.registry("cam7") / "history.jsonl").exists()


def test_every_mismatch_is_named_at_once(workspace, publish):
    with pytest.raises(Refused) as caught:
        publish(
            workspace, probe={"model_sha256": "a" * 64, "passed": False}, gate={"checkpoint_sha256": "b" * 64}
        )

    assert str(caught.value).count("; ") == 2


@pytest.mark.parametrize(
    ("key", "value"),
    [("checkpoint_sha256", None), ("verdict", "fine"), ("surprise", 1)],
    ids=["without-a-digest", "no-such-verdict", "unknown-key"],
)
def test_a_damaged_verdict_is_no_verdict(workspace, write_outcome, key, value):
    files = write_outcome(workspace)
    files["gate"].write_text(json.dumps(read(files["gate"]) | {key: value}))

    with pytest.raises(BadInput, match=rf"gate/cam7/verdict\.json is not as .*\n  {key}: "):
        registry.publish(workspace, "cam7", by="ana", reason="")


def test_versions_of_an_older_and_of_a_newer_acclimate_can_be_read(published):
    path = published.registry("cam7") / "versions" / "1" / "version.json"
    record = read(path)
    del record["answers_digest"]
    path.write_text(json.dumps(record | {"surprise": 1}))

    promote(published, 1)

    assert registry.read_version(published, "cam7", 1).answers_digest is None


def test_a_workspace_without_dvc_is_named(tmp_path, publish):
    with pytest.raises(BadInput, match="is no DVC repository"):
        publish(Workspace(tmp_path))

    assert list((tmp_path / "registry" / "cam7" / "versions").iterdir()) == []


# Promoting and rolling back


def test_promotions_and_rollbacks_move_the_pointer_and_are_all_remembered(published):
    promote(published, 1, at="2026-01-01T00:00:00+00:00")
    promote(published, 2)
    pointer = read(published.champion("cam7"))
    record = read(published.registry("cam7") / "versions" / "2" / "version.json")

    assert (pointer["champion"], pointer["previous"]) == (2, 1)
    assert pointer["path"] == "registry/cam7/versions/2/model.onnx"
    assert pointer["model_sha256"] == record["model_sha256"]
    assert pointer["checkpoint_sha256"] == record["checkpoint_sha256"]
    assert registry.read_champion(published, "cam7").version == 2

    assert rollback(published) == 1

    assert read(published.champion("cam7"))["champion"] == 1
    assert read(published.champion("cam7"))["previous"] is None
    assert actions(published) == [
        ("publish", 1),
        ("publish", 2),
        ("promote", 1),
        ("promote", 2),
        ("rollback", 1),
    ]
    promoted, rolled_back = history(published)[2], history(published)[4]
    assert promoted["at"] == "2026-01-01T00:00:00+00:00"
    assert (promoted["by"], promoted["reason"], promoted["forced"]) == ("ana", "a test", False)
    assert rolled_back["from"] == 2


def test_rolling_back_twice_never_returns_to_the_version_just_taken_out(published):
    for version in (1, 2, 1):
        promote(published, version, force=True)

    assert rollback(published) == 2
    with pytest.raises(
        Refused, match="no previous champion that may serve: version 1 was rolled back to version 2"
    ):
        rollback(published)
    assert read(published.champion("cam7"))["champion"] == 2


def test_there_is_nothing_to_roll_back_to_before_the_first_promotion(published):
    with pytest.raises(Refused, match="no previous champion: nothing was promoted yet"):
        rollback(published)


def test_promoting_the_champion_again_changes_nothing(published):
    promote(published, 1)
    promote(published, 1)

    assert actions(published)[2:] == [("promote", 1)]
    assert read(published.champion("cam7"))["previous"] is None


def test_an_unknown_version_is_answered_with_the_published_ones(published):
    with pytest.raises(BadInput, match="target cam7 has no version 3; published versions: 1, 2"):
        promote(published, 3)


@pytest.mark.parametrize(
    ("verdict", "candidate", "champion", "options", "allowed"),
    [
        pytest.param("promote", "mcc-0", True, {}, True, id="promote"),
        pytest.param("provisional", "mcc-0", False, {}, False, id="provisional"),
        pytest.param(
            "provisional", "mcc-0", True, {"allow_provisional": True}, True, id="provisional-allowed"
        ),
        pytest.param("provisional", "mcc-0", True, {"force": True}, True, id="provisional-forced"),
        pytest.param("hold", "mcc-0", False, {}, False, id="hold-of-a-candidate"),
        pytest.param("hold", "source_only-0", False, {}, True, id="source-only-ships-when-nothing-beats-it"),
        pytest.param(
            "hold", "source_only@deeper-2", False, {}, True, id="source-only-of-the-deeper-route-too"
        ),
        pytest.param("hold", "source_only-mine-0", False, {}, False, id="a-preset-of-a-like-name-does-not"),
        pytest.param("hold", "source_only-0", True, {}, False, id="source-only-does-not-replace-a-champion"),
        pytest.param("hold", "mcc-0", True, {"force": True}, True, id="hold-forced"),
        pytest.param("reject", "mcc-0", False, {"allow_provisional": True}, False, id="reject"),
        pytest.param("reject", "source_only-0", False, {}, False, id="reject-of-source-only"),
        pytest.param("reject", "mcc-0", False, {"force": True}, True, id="reject-forced"),
    ],
)
def test_the_verdict_decides_what_may_enter_service(
    published, verdict, candidate, champion, options, allowed
):
    if champion:
        promote(published, 2)
    judge(published, 1, verdict, candidate)
    before = published.champion("cam7").read_bytes()

    if allowed:
        promote(published, 1, **options)
        assert read(published.champion("cam7"))["champion"] == 1
        assert history(published)[-1]["forced"] is options.get("force", False)
        assert history(published)[-1]["verdict"] == verdict
    else:
        with pytest.raises(Refused, match=f"has the verdict {verdict} .*--force with --by and --reason"):
            promote(published, 1, **options)
        assert published.champion("cam7").read_bytes() == before


def judge(workspace, version: int, verdict: str, candidate: str) -> None:
    """Add to the history what publishing the same bytes with another verdict would add."""
    entry = {"at": "2026-01-01", "action": "judge", "version": version, "by": "ana", "reason": "a test"}
    gate = {"verdict": verdict, "candidate": candidate, "reasons": ["because"], "champion": None}
    champion = registry.read_champion(workspace, "cam7")
    if champion:
        gate["champion"] = {"version": champion.version, "checkpoint_sha256": champion.checkpoint_sha256}
    with (workspace.registry("cam7") / "history.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry | {"verdicts": {"gate": gate}}) + "\n")


@pytest.mark.parametrize("missing", ["by", "reason"])
def test_a_forced_promotion_needs_a_name_and_a_reason(published, missing):
    with pytest.raises(BadInput, match=r"needs --by \(who decides\) and --reason \(why\)"):
        promote(published, 1, force=True, **{missing: "  "})


# Bytes that are gone or changed


def test_bytes_that_are_not_here_are_fetched_by_the_command_in_the_message(published):
    promote(published, 1)
    registry.model_path(published, "cam7", 1).unlink()
    registry.model_path(published, "cam7", 2).unlink()

    for act in (
        lambda: promote(published, 2),
        lambda: registry.champion_bytes(published, registry.read_champion(published, "cam7")),
    ):
        with pytest.raises(BadInput, match=r"`dvc pull registry/cam7/versions/\d/model\.onnx\.dvc`"):
            act()
    assert read(published.champion("cam7"))["champion"] == 1
    assert [row.here for row in registry.status(published)["cam7"].versions] == [False, False]


def test_bytes_that_were_not_judged_are_never_served_or_promoted(published):
    promote(published, 1)
    promote(published, 2)
    path = registry.model_path(published, "cam7", 1)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    with pytest.raises(
        Refused, match=r"must not serve: .* has the sha256 [0-9a-f]{64}, but [0-9a-f]{64} was"
    ):
        rollback(published)
    with pytest.raises(Refused, match="must not serve"):
        promote(published, 1, force=True)
    assert read(published.champion("cam7"))["champion"] == 2


# Kills: the process is killed (SIGKILL) at the moment of one rename


@pytest.mark.parametrize("step", ["history.jsonl", "champion.json"])
def test_a_promotion_killed_at_any_step_is_finished_by_a_rerun(published, step):
    promote(published, 1)

    killed_at(step, published, "registry.promote(workspace, 'cam7', 2, by='ana', reason='a test')")
    assert read(published.champion("cam7"))["champion"] == 1
    promote(published, 2)

    assert read(published.champion("cam7"))["champion"] == 2
    assert actions(published)[2:] == [("promote", 1), ("promote", 2)]
    files = sorted(path.name for path in published.registry("cam7").iterdir())
    assert files == ["champion.json", "history.jsonl", "versions"]


@pytest.mark.parametrize("step", ["history.jsonl", "champion.json"])
def test_a_rollback_killed_at_any_step_is_finished_by_a_rerun_and_not_done_twice(published, step):
    for version in (1, 2, 1):
        promote(published, version, force=True)

    killed_at(step, published, "registry.rollback(workspace, 'cam7', by='ana', reason='a test')")
    assert read(published.champion("cam7"))["champion"] == 1
    assert rollback(published) == 2

    assert read(published.champion("cam7"))["champion"] == 2
    assert actions(published)[-1] == ("rollback", 2)
    assert [action for action, _ in actions(published)].count("rollback") == 1


@pytest.mark.parametrize("step", ["version.json", "1", "history.jsonl"])
def test_a_publish_killed_at_any_step_is_finished_by_a_rerun(workspace, write_outcome, publish, step):
    write_outcome(workspace)

    killed_at(step, workspace, "registry.publish(workspace, 'cam7', by='ana', reason='a run')")
    versions = workspace.registry("cam7") / "versions"
    assert (versions / "1").exists() is (step == "history.jsonl")
    assert publish(workspace) == 1

    assert [path.name for path in versions.iterdir()] == ["1"]
    assert {path.name for path in (versions / "1").iterdir()} == {
        "model.onnx",
        "model.onnx.dvc",
        "version.json",
        ".gitignore",
    }
    assert actions(workspace) == [("publish", 1)]


def test_a_damaged_pointer_is_rewritten_from_the_history(published):
    promote(published, 1)
    pointer = published.champion("cam7").read_bytes()
    published.champion("cam7").write_text("{")
    with pytest.raises(BadInput, match=r"champion\.json is not JSON"):
        registry.read_champion(published, "cam7")

    registry.create_registry(published, "cam7")

    assert published.champion("cam7").read_bytes() == pointer


def test_a_damaged_history_is_named_by_line_and_nothing_is_done(published):
    path = published.registry("cam7") / "history.jsonl"
    path.write_text(path.read_text() + '{"action": "promo')

    with pytest.raises(BadInput, match=r"registry/cam7/history\.jsonl, line 3 is no history entry"):
        promote(published, 1)


def test_a_reason_may_hold_any_character(published):
    reason = "one\u2028two\x85three\nfour \x1e five"
    promote(published, 1, reason=reason)

    assert read_history(published, "cam7")[-1].reason == reason


def test_a_history_that_is_not_utf_8_is_named_by_line(published):
    path = published.registry("cam7") / "history.jsonl"
    path.write_bytes(path.read_bytes() + b"\xff\n")

    with pytest.raises(BadInput, match=r"history\.jsonl, line 3 is no history entry: '\ufffd'"):
        promote(published, 1)


def test_the_pointer_does_not_depend_on_when_or_why(published, published_template, tmp_path):
    other = Workspace(tmp_path / "other")
    subprocess.run(["cp", "-r", published_template, other.root], check=True)

    promote(published, 1, at="2026-01-01T00:00:00+00:00", by="ana")
    promote(other, 1, at="2027-01-01T00:00:00+00:00", by="bo", reason="x")

    assert published.champion("cam7").read_bytes() == other.champion("cam7").read_bytes()
