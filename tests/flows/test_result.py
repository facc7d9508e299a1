"""The order of the walk, and result.json: written after each target, merged by target."""

from pathlib import Path

import pytest

from flows.runs.child import StageRun
from flows.runs.result import Run, TargetsFailed, Walked, keep_result
from flows.runs.walk import walk
from tasks.config.params import Params
from tasks.errors import AcclimateError, BadInput, Fault
from tasks.records.result import (
    JSON,
    Digests,
    Result,
    Ruling,
    StageResult,
    TargetResult,
    read_result,
)
from tasks.records.verdict import Measured, Oracle, Price
from tasks.workspace import Workspace
from tests.support.tiny import photograph_params


@pytest.fixture
def params() -> Params:
    return photograph_params("domains=[source, north, south, west]", "targets=[north, south, west]")


def row(said: str) -> TargetResult:
    measured = Measured(accuracy=None, n=0, candidate="mcc-0")
    return TargetResult(
        source_only=measured,
        target_statistics=measured,
        selected=measured,
        oracle=Oracle(accuracy=None, n=0, candidate=None),
        verdict=Ruling(verdict="provisional", reasons=(said,), warnings=()),
        evidence=None,
        price=Price(share=0.05, left=0.05, planned=12, next_fresh=0.004, holdout=None, fresh=None),
        sealed=False,
        candidates=(),
        quarantined=(),
        report=said,
    )


def result(*done: str, said: str, failed: tuple[str, ...] = ()) -> Result:
    digests = Digests(source_data=said, target_data=said, checkpoint=said, model=said)
    return Result(
        targets=dict.fromkeys(done, row(said)),
        failed=dict.fromkeys(failed, said),
        stages=(StageResult(name=said, target=None, status="ran", seconds=0.0, peak_mib=0),),
        versions={"acclimate": said},
        digests=dict.fromkeys(done, digests),
    )


def written(root: Path, params: Params, *results: Result) -> Result:
    for one in results:
        keep_result(Workspace(root), params, one)
    return read_result(root)


def said_of(found: Result) -> dict[str, str]:
    """The name of each target's row, by target; its digests are of the same run."""
    assert {name: one.model for name, one in found.digests.items()} == {
        name: one.report for name, one in found.targets.items()
    }
    return {name: one.report for name, one in found.targets.items()}


def test_a_run_of_one_target_keeps_the_rows_of_the_others(tmp_path: Path, params: Params):
    found = written(tmp_path, params, result("north", "south", said="first"), result("south", said="second"))

    assert said_of(found) == {"north": "first", "south": "second"}
    assert [stage.name for stage in found.stages] == ["second"]


def test_a_target_that_fails_loses_its_row_and_one_that_succeeds_its_failure(tmp_path: Path, params: Params):
    found = written(
        tmp_path, params, result("north", said="first", failed=("south", "west")), result("south", said="second", failed=("north",))
    )  # fmt: skip

    assert said_of(found) == {"south": "second"}
    assert found.failed == {"north": "second", "west": "first"}


def test_a_target_that_is_no_longer_listed_is_dropped(tmp_path: Path, params: Params):
    found = written(tmp_path, params, result("east", "north", said="first"), result("south", said="second"))

    assert list(found.targets) == ["north", "south"]


@pytest.mark.parametrize(
    "earlier", ["", "{", '{"schema_version": 7, "targets": {"north": {}}}', "[1]", "null"]
)
def test_an_earlier_file_that_cannot_be_read_or_is_of_another_version_is_replaced(
    tmp_path: Path, params: Params, earlier: str
):
    (tmp_path / JSON).write_text(earlier)

    assert said_of(written(tmp_path, params, result("south", said="now"))) == {"south": "now"}


def test_the_first_target_is_kept_before_the_second_begins():
    seen: list[str] = []

    def run(stage: str, target: str | None) -> StageRun:
        seen.append(f"{stage}@{target}")
        if (stage, target) == ("adapt", "two"):
            raise Fault("killed", retryable=True)
        return StageRun(stage, target, "ran", 0.0, 0)

    def keep(target: str, walked: Walked) -> None:
        seen.append(f"kept {target}: {','.join(walked.done)}")

    walk(["one", "two"], run, after_target=keep)

    assert seen[:3] == ["manifest@source", "features@source", "finetune@None"]
    assert seen.index("kept one: one") == seen.index("report@one") + 1 == seen.index("manifest@two") - 1
    assert seen[-2:] == ["adapt@two", "kept two: one"]


def test_a_target_whose_files_the_system_refuses_leaves_with_their_path_and_the_others_go_on():
    def run(stage: str, target: str | None) -> StageRun:
        if (stage, target) == ("validate", "one"):
            raise PermissionError(13, "Permission denied", "registry/one")
        return StageRun(stage, target, "ran", 0.0, 0)

    walked = walk(["one", "two"], run)

    assert walked.done == ["two"]
    assert isinstance(walked.failed["one"], Fault)
    assert "Permission denied (registry/one). Mend the disk or the permissions" in str(walked.failed["one"])


@pytest.mark.parametrize("error", [BadInput("too few examples"), Fault("killed", retryable=True)])
def test_a_target_that_fails_leaves_and_the_others_go_on_whatever_it_fails_of(error: AcclimateError):
    def run(stage: str, target: str | None) -> StageRun:
        if (stage, target) == ("validate", "one"):
            raise error
        return StageRun(stage, target, "ran", 0.0, 0)

    walked = walk(["one", "two"], run)

    assert walked.done == ["two"]
    assert walked.failed == {"one": error}
    assert [run.stage for run in walked.runs if run.target == "one"] == ["manifest", "validate"]


def test_a_failure_of_the_source_ends_the_walk():
    def run(stage: str, target: str | None) -> StageRun:
        raise BadInput(f"{stage} of {target}")

    with pytest.raises(BadInput, match="manifest of source"):
        walk(["one"], run)


@pytest.mark.parametrize(
    ("failed", "status"),
    [({"one": BadInput("too few")}, 2), ({"one": BadInput("too few"), "two": Fault("disk full")}, 1)],
)
def test_a_run_with_failed_targets_names_each_once_and_keeps_what_the_others_came_to(
    failed: dict[str, AcclimateError], status: int
):
    run = Run(result("three", said="fine"), failed)

    with pytest.raises(TargetsFailed) as raised:
        run.raise_failures()

    assert raised.value.exit_status == status
    assert str(raised.value).splitlines() == [f"{name}: {error}" for name, error in failed.items()]
    assert raised.value.result is run.result
