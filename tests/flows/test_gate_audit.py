"""`acclimate gate-audit` on a small finished workspace: the files it leaves, and what it says."""

import json
import logging
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from flows.commands.gate_audit import audit
from flows.commands.tables import audit_tables
from tasks.audit import candidates as audit_candidates
from tasks.audit.replay import BAD_KINDS, Draws, estimates
from tasks.config.params import load_params
from tasks.engine.trainer import LabelledRows, train
from tasks.errors import BadInput
from tasks.files import read_json, sha256_of_file
from tasks.records.manifest import read_manifest
from tasks.stages import adapt, features, manifest
from tasks.workspace import Workspace
from tests.support.manifests import write_rows
from tests.support.tiny import Finished, acclimate, write_pictures

TARGET = "new-camera"
DRAWS = Draws(holdout=20, count=3, seed=0)


def contents(folder: Path) -> dict[str, str]:
    return {str(path): sha256_of_file(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def forget_labels(workspace: Workspace) -> None:
    rows = read_manifest(workspace.stage("manifest", TARGET)).rows
    write_rows(workspace, TARGET, [replace(row, label=None) for row in rows])


@dataclass(frozen=True)
class Audited:
    """A copy of the finished workspace after `acclimate gate-audit --json`."""

    workspace: Workspace
    results_before: dict[str, str]
    answer: dict[str, Any]
    log: str

    @property
    def scratch(self) -> Path:
        return self.workspace.scratch("gate-audit", TARGET)


@pytest.fixture(scope="module")
def audited(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Audited:
    workspace = Workspace(tmp_path_factory.mktemp("audited") / "a copy")
    shutil.copytree(finished.workspace.root, workspace.root, symlinks=True)
    before = contents(workspace.root / "results")
    done = acclimate(
        "gate-audit", workspace.root, "--holdout", "20", "--draws", "3", "--years", "2", "--json"
    )
    return Audited(workspace, before, json.loads(done.stdout), done.stderr)


def test_an_audit_leaves_results_alone_and_bad_candidates_in_scratch(audited: Audited):
    assert contents(audited.workspace.root / "results") == audited.results_before
    (models,) = {path.parent.parent for path in audited.scratch.rglob("candidate.json")}
    assert {path.name for path in models.iterdir()} == {f"{kind}-0" for kind in BAD_KINDS}
    pool = read_json(audited.scratch / "pool" / "candidates.json")["candidates"]
    good = ["source_only-0", "target_statistics-0", "mcc-0"]
    assert [row["name"] for row in pool] == [*good, *(f"{kind}-0" for kind in BAD_KINDS)]
    assert not list(audited.scratch.rglob("unfinished*"))


def test_an_audit_spends_sealed_labels_since_it_shows_what_they_say_of_every_candidate(
    workspace_copy: Workspace,
):
    ledger = workspace_copy.ledger(TARGET)
    lines = ledger.read_text().splitlines(keepends=True)
    kept = next(number for number, line in enumerate(lines) if '"unsealed"' in line)
    ledger.write_text("".join(lines[:kept]))

    audit([workspace_copy.root], DRAWS, years=0)

    added = [json.loads(line) for line in ledger.read_text().splitlines()[kept:]]
    assert [(line["kind"], line["reason"]) for line in added] == [("unsealed", "acclimate gate-audit")]


def test_another_audit_says_the_same_and_trains_nothing(audited: Audited, caplog: pytest.LogCaptureFixture):
    made = contents(audited.scratch)

    with caplog.at_level(logging.INFO):
        again = audit([audited.workspace.root], DRAWS, years=0)

    assert again == {**audited.answer, "years": [], "first_verdicts": []}
    assert contents(audited.scratch) == made
    assert "bad_collapsed-0 trained after 60 steps" in audited.log
    assert "3 hold-outs of 20 examples" in caplog.text
    assert "trained after" not in caplog.text


def test_what_an_interrupted_audit_had_trained_is_not_trained_again(
    audited: Audited, caplog: pytest.LogCaptureFixture
):
    made = contents(audited.scratch)
    (unmarked,) = audited.scratch.glob("*/bad_collapsed-0/candidate.json")
    unmarked.unlink()

    with caplog.at_level(logging.INFO):
        audit([audited.workspace.root], DRAWS, years=0)

    assert [message for message in caplog.messages if "trained after" in message] == [
        "gate-audit: bad_collapsed-0 trained after 60 steps"
    ]
    assert contents(audited.scratch) == made


def test_bad_candidates_are_bad_in_the_way_their_names_say(audited: Audited):
    said = {
        path.parent.name: load_file(path)["test.probabilities"]
        for path in (audited.scratch / "pool").glob("*/outputs.safetensors")
    }
    moved = said["bad_class_order-0"][:, [1, 2, 0]]
    assert any(np.array_equal(moved, said[good]) for good in ("mcc-0", "target_statistics-0"))
    assert said["bad_collapsed-0"].max(1).mean() > 0.9
    assert len(set(said["bad_collapsed-0"].argmax(1))) == 1

    (task,) = audited.answer["tasks"]
    assert (task["labelled"], task["truth_images"], task["unusable"]) == (36, 16, [])
    assert all(sum(row["with_labels"].values()) == 3 for row in task["candidates"])
    gains = {row["kind"]: row["gain"] for row in task["candidates"]}
    for kind in ("bad_class_order", "bad_collapsed", "bad_sign_flipped"):
        assert gains[kind] < gains["mcc"] - 0.1


def test_the_tables_say_what_the_truth_was_counted_on(audited: Audited):
    text = audit_tables(audited.answer)

    assert (
        "8 candidates of 1 targets; with labels, 3 hold-outs of 20 examples each, drawn with seed 0" in text
    )
    assert "outside the drawn hold-out (16 to 16)" in text
    assert "| bad_class_order | 1 |" in text
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 5
    assert "| twenty scenes of ten frames | 2 | " in text
    for table in tables:
        assert len({line.count("|") for line in table}) == 1


def test_vetoes_are_counted_and_whether_they_were_right(audited: Audited):
    (task,) = audited.answer["tasks"]
    vetoed = {row["kind"]: row["gain"] for row in task["candidates"] if row["vetoed"]}

    assert "bad_collapsed" in vetoed
    assert "mcc" not in vetoed
    counts = audited.answer["vetoes"]
    assert counts == {"of": len(vetoed), "right": sum(gain < 0 for gain in vetoed.values())}
    said = (
        f"{counts['of']} candidates were vetoed; {counts['right']} of them are truly worse than source-only."
    )
    assert said in audit_tables(audited.answer)


def test_an_estimate_without_labels_is_held_against_the_truth(audited: Audited):
    (task,) = audited.answer["tasks"]
    assert (task["estimate"], audited.answer["estimates"]["of"]) == (None, 0)  # one method alone allows none
    row = task | {"accuracy": 0.8, "estimate": {"accuracy": 0.74, "low": 0.7, "high": 0.78}}
    other = row | {"accuracy": 0.76}

    assert estimates([row, other, task]) == {"of": 2, "mean_error": pytest.approx(0.04), "held": 1}
    text = audit_tables(audited.answer | {"estimates": estimates([row, other])})
    assert "off by 4.0 points on average; the interval held 1 of 2." in text


def test_too_few_images_for_the_truth_are_warned_of(audited: Audited, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        audit([audited.workspace.root], Draws(holdout=10, count=1, seed=0), years=0)

    assert "counted on 26 examples outside the hold-out, fewer than 200" in caplog.text
    assert "--holdout 10 is less than gate.min_holdout 20" in caplog.text


def test_a_source_free_workspace_is_audited_without_its_source(workspace_copy: Workspace):
    values = yaml.safe_load(workspace_copy.params.read_text())
    values["adapt"]["candidates"] = ["source_only", "shot"]
    workspace_copy.params.write_text(yaml.safe_dump(values))
    shutil.rmtree(workspace_copy.stage("adapt", TARGET))
    adapt.run(workspace_copy, load_params(workspace_copy.params), TARGET)
    shutil.rmtree(workspace_copy.stage("features", "source"))

    (task,) = audit([workspace_copy.root], DRAWS, years=0)["tasks"]

    assert [row["kind"] for row in task["candidates"]] == [
        "target_statistics",
        "shot",
        "bad_label_shifted",
        "bad_class_order",
        "bad_collapsed",
    ]


def test_bad_candidates_are_trained_on_the_labelled_target_images_like_all_others(
    workspace_copy: Workspace, monkeypatch: pytest.MonkeyPatch
):
    params = load_params(workspace_copy.params)
    write_pictures(
        workspace_copy.data(TARGET) / "labelled", count=3, first_seed=7000, shifted=True, labelled=True
    )
    for stage in (manifest, features, adapt):
        stage.run(workspace_copy, params, TARGET)
    seen = []

    def count_labelled(*arguments, labelled: LabelledRows | None, **keywords):
        seen.append(0 if labelled is None else len(labelled.labels_N))
        return train(*arguments, labelled=labelled, **keywords)

    monkeypatch.setattr(audit_candidates, "train", count_labelled)
    audit_candidates.with_bad_candidates(workspace_copy, params, TARGET)

    assert seen == [9] * (len(BAD_KINDS) - 1)


def test_a_hold_out_of_all_labels_is_refused_before_anything_is_trained(workspace_copy: Workspace):
    with pytest.raises(
        BadInput, match=r"36 labelled test examples: a hold-out of 200 leaves none .*Lower --holdout"
    ):
        audit([workspace_copy.root], Draws(holdout=200, count=1, seed=0), years=0)

    assert not workspace_copy.scratch("gate-audit").exists()


def test_a_workspace_without_labels_is_told_how_to_get_some(workspace_copy: Workspace):
    forget_labels(workspace_copy)

    with pytest.raises(
        BadInput, match=r"no target of .* has labelled test examples \(new-camera\).*--holdout DIR"
    ):
        audit([workspace_copy.root], DRAWS, years=0)


def test_a_workspace_without_results_is_told_what_to_run(workspace_copy: Workspace):
    shutil.rmtree(workspace_copy.stage("adapt", TARGET))

    with pytest.raises(BadInput, match=r"candidates.json does not exist.*acclimate run"):
        audit([workspace_copy.root], DRAWS, years=0)
