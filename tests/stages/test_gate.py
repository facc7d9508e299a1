"""The gate by the files it leaves: a workspace as the stages before it would, then what was decided and why."""

import csv
import hashlib
import io
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from deploy.registry.pointer import Pointer
from tasks.config.params import Params
from tasks.config.sections.data import ImagesParams
from tasks.config.sections.gate import GateParams, GateRules
from tasks.errors import BadInput, ConfigError
from tasks.files import read_json, sha256_of_lines, write_bytes, write_json
from tasks.records.answers import Answer, write_answers
from tasks.records.candidates import SPLITS, Outputs
from tasks.records.data_checks import DataChecked, write_data_checked
from tasks.records.ledger import Look, Opened, Read, Unsealed, append, digits
from tasks.records.manifest import Row, Summary, read_labels, read_manifest, read_summary
from tasks.records.verdict import DataDigest
from tasks.selection.diagnostics import DIAGNOSTICS
from tasks.selection.pool import read_pool
from tasks.stages import gate
from tasks.workspace import Workspace
from tests.support import onnx_models
from tests.support.candidates import write_pool
from tests.support.manifests import write_rows

TARGET = "cam7"
TODAY = date(2031, 5, 6)
SPENT = (
    "the labels of the hold-out are spent by this verdict, since it shows the accuracy of every candidate"
    " (gate.labels is open). A model that is promoted later needs fresh ones: `acclimate label`"
)
CLASSES = ("blue", "green", "red")  # another order than the champion's, which is asked by name
OUTPUTS = ("selection.json", "verdict.json", "calibration.json", "to_label.csv")

TRUTH = tuple([0, 1, 2] * 40)
"""The classes of the 120 images of the select and of the test split."""
CONFUSED = tuple([0, 0, 2] * 40)
"""Every green is called blue."""


@dataclass(frozen=True)
class Says:
    """Predictions of one candidate, as class numbers, split by split."""

    select: Sequence[int] = TRUTH
    test: Sequence[int] = TRUTH
    validation: Sequence[int] = tuple([0, 1, 2] * 10)
    certainty: float = 0.9
    diverged: bool = False
    adapt: Sequence[int] = TRUTH


BASELINE = Says(CONFUSED, CONFUSED, certainty=0.7)


@dataclass(frozen=True)
class World:
    """Everything the gate reads. ``labels`` are of the test images, ``None`` where there is none."""

    candidates: dict[str, Says] = field(default_factory=lambda: {"source_only-0": BASELINE, "mcc-0": Says()})
    labels: Sequence[str | None] = tuple(CLASSES[number] for number in TRUTH)
    champion: dict[str, Any] | None = None
    champion_says: Sequence[int] = TRUTH
    """The class that the champion sees in the test images: the colour they are painted in."""
    planted: str | None = None
    """A label written where none may be: on the adapt and select rows."""
    names: Sequence[str] = tuple(f"images/frame {i:03}.png" for i in range(120))
    frames: int = 1
    """Test images of one scene, which lie beside each other."""

    def without_labels(self) -> "World":
        return replace(self, labels=(None,) * 120)


def lay_out(root: Path, world: World) -> Workspace:
    workspace = Workspace(root)
    pictures = [picture(number, i) for i, number in enumerate(world.champion_says)]
    tests = [hashlib.sha256(content).hexdigest() for content in pictures]
    write_candidates(workspace, world, tests)
    source = [("train", image("train", i), CLASSES[i % 3]) for i in range(9)]
    source += [("validation", image("validation", i), CLASSES[i % 3]) for i in range(30)]
    write_manifest(
        workspace,
        "source",
        [(f"{label}/{i}.png", *row) for i, row in enumerate(source) for label in row[2:]],
        {},
    )
    rows = [(f"images/adapt {i}.png", "adapt", image("adapt", i), world.planted) for i in range(9)]
    rows += [(f"images/select {i}.png", "select", image("select", i), world.planted) for i in range(120)]
    rows += [(world.names[i], "test", tests[i], world.labels[i]) for i in range(120)]
    scenes = {name: f"scene {i // world.frames:03}" for i, name in enumerate(world.names)}
    write_manifest(workspace, TARGET, rows, scenes if world.frames > 1 else {})
    validated(workspace)
    append(workspace.ledger(TARGET), [Opened(at=TODAY, target=TARGET)])
    point_at(workspace, **(world.champion or {}))
    if world.champion:
        for i, content in enumerate(pictures):
            path = workspace.data(TARGET) / world.names[i]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return workspace


def write_candidates(workspace: Workspace, world: World, tests: Sequence[str]) -> None:
    images = {"test": tests} | {
        split: [image(split, i) for i in range(120)] for split in ("adapt", "select", "validation")
    }

    def outputs(says: Says, split: str) -> Outputs:
        predicted = np.asarray(getattr(says, split), dtype=int)
        truth = np.asarray(TRUTH[: len(predicted)], dtype=int)
        p_NC = np.full((len(predicted), 3), (1 - says.certainty) / 2, np.float32)
        p_NC[np.arange(len(predicted)), predicted] = says.certainty
        noise = 0.05 * np.random.default_rng(0).standard_normal((len(predicted), 3))
        features_ND = (np.eye(3)[truth] + noise).astype(np.float32)
        return Outputs(p_NC, features_ND, tuple(images[split][: len(predicted)]))

    said = {
        name: None if says.diverged else {split: outputs(says, split) for split in SPLITS}
        for name, says in world.candidates.items()
    }
    write_pool(workspace.stage("adapt", TARGET), said, CLASSES)


def validated(workspace: Workspace) -> None:
    """The data checks passed on the manifests as they are now."""
    digests = {
        key: read_summary(workspace.stage("manifest", domain)).data_digest
        for key, domain in (("source", "source"), ("target", TARGET))
    }
    checked = DataChecked(
        target=TARGET, passed=True, data_digest=DataDigest(**digests), checks=(), reasons=(), warnings=()
    )
    write_data_checked(workspace.stage("validate", TARGET), checked)


def write_manifest(
    workspace: Workspace,
    domain: str,
    rows: Sequence[tuple[str, str, str, str | None]],
    groups: Mapping[str, str],
) -> Summary:
    usable = [
        Row(path, "ok", split=split, sha256=sha256, label=label, group=groups.get(path))
        for path, split, sha256, label in rows
    ]
    torn = Row("torn.png", "quarantined", "torn", label="red", split="test", sha256=sha("torn"))
    return write_rows(workspace, domain, [*usable, torn])


@cache
def picture(number: int, i: int) -> bytes:
    """A PNG in the colour of a class, unlike any other."""
    colour = [i % 100, i // 100]
    colour.insert("rgb".index(CLASSES[number][0]), 250)
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), tuple(colour)).save(buffer, format="PNG")
    return buffer.getvalue()


def put_in_service(workspace: Workspace, *, checkpoint: str = "another", **changes: Any) -> Path:
    """The tiny colour-naming model as version 4."""
    content = onnx_models.make_onnx(**changes)
    path = workspace.root / "registry" / TARGET / "versions" / "4" / "model.onnx"
    write_bytes(path, content)
    point_at(
        workspace,
        champion=4,
        model_sha256=hashlib.sha256(content).hexdigest(),
        checkpoint_sha256=sha(checkpoint),
        path=f"registry/{TARGET}/versions/4/model.onnx",
    )
    return path


def point_at(workspace: Workspace, **changes: Any) -> None:
    """The pointer of the registry; without ``changes`` as before the first promotion."""
    nothing = dict.fromkeys(("champion", "previous", "model_sha256", "checkpoint_sha256", "path"))
    write_json(workspace.champion(TARGET), Pointer(**(nothing | changes)).model_dump())


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def image(split: str, i: int) -> str:
    return sha(f"{split} {i}")


def params(rules: GateRules | None = None, **changes: Any) -> Params:
    values: dict[str, Any] = {
        "metric": "accuracy",
        "rules": rules or GateRules(max_p_value=0.05, min_gain=0.0, max_loss_against_champion=0.02),
        "confidence": 0.95,
        "budget": {"false_promotions": 0.05, "verdicts": 12},
        "labels": "open",
        "min_holdout": 50,
        "min_effective_classes": 0.4,  # BASELINE names two classes of three, which is no collapse
        "max_share_ratio": 2.5,
        "max_source_accuracy_loss": 0.1,
        "target_prior": None,
        "max_prior_divergence": 0.5,
        "coverage": 0.9,
        "seed": 0,
    }
    return Params.model_construct(
        kind="image",
        targets=(TARGET,),
        gate=GateParams(**(values | changes)),
        images=ImagesParams(size_px=32, max_pixels=10_000, grey_range=None, orientation_matters=True),
    )


def judge(workspace: Workspace, **changes: Any) -> dict[str, Any]:
    on = changes.pop("on", TODAY)
    gate.run(workspace, params(**changes), TARGET, on=on)
    return read_json(workspace.stage("gate", TARGET) / "verdict.json")


def written(workspace: Workspace) -> dict[str, bytes]:
    return {name: (workspace.stage("gate", TARGET) / name).read_bytes() for name in OUTPUTS}


def to_label(workspace: Workspace) -> list[dict[str, str]]:
    with (workspace.stage("gate", TARGET) / "to_label.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def flipped(says: Sequence[int], how_many: int) -> tuple[int, ...]:
    """``says`` with the first images named wrongly, whatever they were named."""
    return tuple((TRUTH[i] + 1) % 3 if i < how_many else number for i, number in enumerate(says))


# --- classes that are rare ---------------------------------------------------------------------


def rare_greens(num: int) -> tuple[str | None, ...]:
    """Labels of all images but of greens, of which only so many are labelled."""
    seen = 0
    labels: list[str | None] = []
    for number in TRUTH:
        seen += number == 1
        labels.append(CLASSES[number] if number != 1 or seen <= num else None)
    return tuple(labels)


def test_a_candidate_that_finds_a_rare_class_is_promoted_by_balanced_accuracy_and_not_by_accuracy(tmp_path):
    # source-only names no green; the candidate names them all, and 14 others as green
    wrong = tuple(1 if number != 1 and i < 21 else number for i, number in enumerate(TRUTH))
    world = World({"source_only-0": BASELINE, "mcc-0": Says(test=wrong)}, labels=rare_greens(12))

    plain = judge(lay_out(tmp_path / "plain", world))
    balanced = judge(lay_out(tmp_path / "balanced", world), metric="balanced_accuracy")

    assert (plain["verdict"], plain["evidence"]["gain"] < 0) == ("hold", True)
    assert balanced["verdict"] == "promote"
    assert balanced["metric"] == "balanced_accuracy"
    assert balanced["source_only"]["accuracy"] == pytest.approx(2 / 3)
    assert balanced["selected"]["accuracy"] == pytest.approx((33 / 40 * 2 + 1) / 3)
    assert balanced["evidence"]["gain"] == pytest.approx(0.216667, abs=1e-5)
    assert balanced["evidence"]["smallest_detectable_gain"] is None
    assert balanced["reasons"][0].startswith(
        "mcc-0 has a balanced accuracy of 88.3 % on 92 labelled examples, source_only-0 of 66.7 %: gain +21.7 points"
    )
    assert "exact test by classes" in balanced["reasons"][1]


def test_labels_of_disagreements_prove_nothing_in_balanced_accuracy(tmp_path):
    workspace = lay_out(tmp_path, World().without_labels())

    verdict = judge(workspace, metric="balanced_accuracy")

    assert verdict["verdict"] == "provisional"
    assert not any("fresh labels prove it" in reason for reason in verdict["reasons"])


# --- with labels -------------------------------------------------------------------------------


def test_a_candidate_that_labels_prove_is_promoted_with_all_numbers(tmp_path):
    labels = [CLASSES[number] for number in TRUTH]
    workspace = lay_out(tmp_path, World({"source_only-0": BASELINE, "mcc-0": Says(test=flipped(TRUTH, 6))}))

    verdict = judge(workspace)

    # source-only names the 40 greens wrongly, mcc the first six images: two of them are greens
    tests = [hashlib.sha256(picture(number, i)).hexdigest() for i, number in enumerate(TRUTH)]
    assert verdict["schema_version"] == 5
    assert verdict["target"] == TARGET
    assert verdict["verdict"] == "promote"
    assert verdict["candidate"] == "mcc-0"
    assert verdict["checkpoint_sha256"] == sha("mcc-0")
    assert verdict["source_only"] == {"accuracy": 80 / 120, "n": 120, "candidate": "source_only-0"}
    assert verdict["selected"] == {"accuracy": 114 / 120, "n": 120, "candidate": "mcc-0"}
    assert verdict["oracle"] == {"accuracy": 114 / 120, "n": 120, "candidate": "mcc-0"}
    assert verdict["champion"] is None
    evidence = verdict["evidence"]
    assert (evidence["better"], evidence["worse"]) == (38, 4)
    assert evidence["gain"] == pytest.approx(34 / 120, abs=1e-6)
    assert evidence["interval"][0] < evidence["gain"] < evidence["interval"][1]
    assert evidence["confidence"] == 0.95
    assert evidence["mcnemar_p"] < 1e-6 < 0.99 < evidence["mcnemar_p_worse"]
    assert 0 < evidence["smallest_detectable_gain"] < 0.2
    digests = [read_summary(workspace.stage("manifest", domain)).data_digest for domain in ("source", TARGET)]
    assert verdict["data_digest"] == dict(zip(("source", "target"), digests, strict=True))
    assert verdict["labels_digest"] == sha256_of_lines(
        [f"{i} {label}" for i, label in zip(tests, labels, strict=True)]
    )
    assert verdict["per_class"] == [
        {"class": "blue", "n": 40, "source_only": 1.0, "selected": 0.95, "p_worse": 0.75},
        {"class": "green", "n": 40, "source_only": 0.0, "selected": 0.95, "p_worse": 1.0},
        {"class": "red", "n": 40, "source_only": 1.0, "selected": 0.95, "p_worse": 0.75},
    ]
    assert verdict["confusion"] == {
        "classes": list(CLASSES),
        "source_only": [[40, 0, 0], [40, 0, 0], [0, 0, 40]],
        "selected": [[38, 2, 0], [0, 38, 2], [2, 0, 38]],
    }
    assert [row["holdout_accuracy"] for row in verdict["candidates"]] == [80 / 120, 114 / 120]
    assert verdict["warnings"] == [
        "recall fell in 2 of 3 classes: blue (100.0 % to 95.0 % of 40 examples), red (100.0 % to 95.0 % of 40 examples)",
        SPENT,
    ]
    assert verdict["price"]["holdout"] == {"place": 1, "alpha": 0.025, "level": 0.025, "spent_since": None}
    assert (verdict["price"]["share"], verdict["price"]["left"]) == (0.05, 0.025)
    assert to_label(workspace) == []


def test_selection_json_repeats_the_choice_and_the_candidates_of_the_verdict(tmp_path):
    workspace = lay_out(tmp_path, World())
    verdict = judge(workspace)

    selection = read_json(workspace.stage("gate", TARGET) / "selection.json")

    assert list(selection) == [
        "schema_version",
        "target",
        "candidate",
        "checkpoint_sha256",
        "reasons",
        "source_only",
        "target_statistics",
        "estimate",
        "target_prior",
        "candidates",
    ]
    assert selection["candidate"] == verdict["candidate"]
    assert selection["checkpoint_sha256"] == verdict["checkpoint_sha256"]
    assert selection["target_prior"] == verdict["target_prior"]
    assert selection["candidates"] == [
        {key: value for key, value in row.items() if key != "holdout_accuracy"}
        for row in verdict["candidates"]
    ]
    assert "accuracy" not in json.dumps(selection).replace("source_accuracy", "")


def test_the_verdict_reports_diagnostics_and_estimated_class_shares_and_warns_of_what_looks_odd(tmp_path):
    no_green = tuple([0, 2] * 60)
    world = World({"source_only-0": Says((0, 0, 1) * 40, certainty=0.7), "mcc-0": Says(no_green)})
    workspace = lay_out(tmp_path, world.without_labels())

    verdict = judge(workspace)

    assert verdict["candidate"] == "mcc-0"
    assert verdict["verdict"] == "provisional"
    assert all(set(row["diagnostics"]) == set(DIAGNOSTICS) for row in verdict["candidates"])
    prior = verdict["target_prior"]
    assert [row["class"] for row in prior["classes"]] == list(CLASSES)
    assert [row["bbse"] for row in prior["classes"]] == pytest.approx([0.5, 0, 0.5], abs=1e-6)
    assert [row["source"] for row in prior["classes"]] == pytest.approx([1 / 3] * 3, abs=1e-6)
    assert {row["given"] for row in prior["classes"]} == {None}
    starts = [
        "mcc-0: 1 of 3 classes are predicted for less than 20 % of the examples they should have on the target: green (0",
        "mcc-0: the classes of the target seem to be distributed unlike the source: total variation 0.3",
        "mcc-0: it names 67 % of the select examples otherwise than source_only-0",
    ]
    assert len(verdict["warnings"]) == len(starts)
    for warning, start in zip(verdict["warnings"], starts, strict=True):
        assert warning.startswith(start)


def test_known_shares_move_the_head_of_every_adapted_candidate_and_not_source_only(tmp_path):
    # There are no red ones: those that look red to the candidate, which is sure of none, are blue.
    mostly_blue = {"blue": 0.66, "green": 0.33, "red": 0.01}
    weak = Says(CONFUSED, CONFUSED, certainty=0.35)
    labels = tuple("green" if number == 1 else "blue" for number in TRUTH)
    world = World({"source_only-0": weak, "mcc-0": Says(certainty=0.6)}, labels=labels)
    without = judge(lay_out(tmp_path / "without", world))

    workspace = lay_out(tmp_path / "with", world)
    verdict = judge(workspace, target_prior=mostly_blue)

    selection, calibration = (
        read_json(workspace.stage("gate", TARGET) / name) for name in ("selection.json", "calibration.json")
    )
    biases = {row["name"]: row["bias"] for row in selection["candidates"]}
    assert biases["source_only-0"] is None
    assert calibration["bias"] == biases["mcc-0"]
    blue, green, red = biases["mcc-0"]
    assert blue > green > red
    assert verdict["source_only"] == without["source_only"]
    assert (without["selected"]["accuracy"], verdict["selected"]["accuracy"]) == (80 / 120, 1.0)


def test_the_calibration_follows_the_labels_there_are_and_the_verdict_does_not_follow_it(tmp_path):
    workspace = lay_out(
        tmp_path, World({"source_only-0": BASELINE, "mcc-0": Says(test=flipped(TRUTH, 36), certainty=0.99)})
    )
    verdict = judge(workspace)

    found = read_json(workspace.stage("gate", TARGET) / "calibration.json")

    assert (found["candidate"], found["checkpoint_sha256"]) == (
        verdict["candidate"],
        verdict["checkpoint_sha256"],
    )
    assert (found["labels"], found["basis"], found["classes"]) == (120, "labels", list(CLASSES))
    # Certain with .99 and right on 70 %: a temperature that leaves about .7, by labels that had no part in it.
    assert found["temperature"] > 2
    assert found["error"]["before"] == pytest.approx(0.29, abs=0.01)
    assert found["error"]["after"] < 0.08
    assert verdict["selected"]["accuracy"] == 84 / 120


def test_without_labels_nothing_vouches_for_the_coverage_and_no_label_is_counted(tmp_path):
    workspace = lay_out(tmp_path, World(labels=(None,) * 120))
    judge(workspace)

    found = read_json(workspace.stage("gate", TARGET) / "calibration.json")

    assert (found["labels"], found["basis"], found["error"]) == (0, "estimate", None)


def test_a_given_prior_of_unknown_classes_is_refused_before_anything_is_written(tmp_path):
    workspace = lay_out(tmp_path, World())

    with pytest.raises(ConfigError, match=r"gate\.target_prior in params\.yaml names wolf"):
        judge(workspace, target_prior={"wolf": 1.0})
    assert not workspace.stage("gate", TARGET).exists()


def test_a_candidate_that_labels_prove_worse_is_rejected_however_well_it_scores_without(tmp_path):
    world = World({"source_only-0": BASELINE, "mcc-0": Says(test=flipped(TRUTH, 100))})

    verdict = judge(lay_out(tmp_path, world))

    assert verdict["verdict"] == "reject"
    assert verdict["candidate"] == "mcc-0"
    assert verdict["reasons"][0].startswith(
        "mcc-0 is significantly worse than source_only-0 (exact McNemar p "
    )
    assert verdict["oracle"]["candidate"] == "source_only-0"


def test_a_small_gain_is_held_with_the_gain_that_could_have_been_found(tmp_path):
    nearly = Says(test=(*flipped(CONFUSED, 0)[:117], 0, 1, 2))  # one green more than source-only
    verdict = judge(lay_out(tmp_path, World({"source_only-0": BASELINE, "mcc-0": nearly})))

    assert verdict["verdict"] == "hold"
    assert verdict["evidence"]["better"] == 1
    assert (
        verdict["reasons"][0]
        == "not significantly better than source-only (exact McNemar p = 0.500; candidate 1 that these labels have judged may"
        " use 0.025)"
    )
    assert verdict["reasons"][-1].startswith("120 labelled examples find gains of ")


def test_few_labels_hold_even_where_all_speak_for_the_candidate(tmp_path):
    few = tuple(CLASSES[number] if i < 40 else None for i, number in enumerate(TRUTH))

    verdict = judge(lay_out(tmp_path, World(labels=few)))

    assert verdict["verdict"] == "hold"
    assert verdict["selected"] == {"accuracy": 1.0, "n": 40, "candidate": "mcc-0"}
    assert verdict["reasons"][0] == "40 labelled examples are fewer than the 50 of gate.min_holdout"


def test_labels_decide_on_labelled_images_alone_and_the_others_are_listed_for_labelling(tmp_path):
    some = tuple(CLASSES[number] if i % 2 else None for i, number in enumerate(TRUTH))
    workspace = lay_out(tmp_path, World(labels=some))

    verdict = judge(workspace)

    assert verdict["selected"]["n"] == 60
    assert sum(row["n"] for row in verdict["per_class"]) == 60
    greens_unlabelled = [i for i, number in enumerate(TRUTH) if number == 1 and some[i] is None]
    assert {row["path"] for row in to_label(workspace)} == {
        f"images/frame {i:03}.png" for i in greens_unlabelled
    }


def test_the_oracle_is_reported_and_does_not_decide(tmp_path):
    world = World(
        {
            "source_only-0": replace(BASELINE, test=flipped(CONFUSED, 30)),
            "dann-0": Says(select=CONFUSED, test=TRUTH, certainty=0.5),
            "mcc-0": Says(test=flipped(TRUTH, 20)),
        }
    )
    verdict = judge(lay_out(tmp_path, world))

    assert verdict["oracle"] == {"accuracy": 1.0, "n": 120, "candidate": "dann-0"}
    assert verdict["selected"]["candidate"] == "mcc-0"


def test_a_tie_for_the_oracle_goes_to_the_earlier_candidate(tmp_path):
    world = World({"source_only-0": BASELINE, "dann-0": Says(certainty=0.8), "mcc-0": Says()})

    verdict = judge(lay_out(tmp_path, world))

    assert verdict["selected"]["candidate"] == "mcc-0"
    assert verdict["oracle"]["candidate"] == "dann-0"


def test_a_broken_candidate_has_no_hold_out_accuracy_and_is_no_oracle(tmp_path):
    world = World({"source_only-0": BASELINE, "dann-0": Says(certainty=float("nan")), "mcc-0": Says()})

    verdict = judge(lay_out(tmp_path, world))

    broken = verdict["candidates"][1]
    assert broken["vetoes"][0].startswith("broken: ")
    assert broken["holdout_accuracy"] is None
    assert verdict["oracle"]["candidate"] == "mcc-0"


def test_every_candidate_is_compared_with_the_one_source_only_that_is_best_on_the_source(tmp_path):
    world = World(
        {
            "source_only-0": replace(BASELINE, test=flipped(CONFUSED, 50), validation=(1, 1, 2) * 10),
            "source_only-1": BASELINE,
            "mcc-0": Says(certainty=0.8),
            "mcc-1": Says(),
        }
    )
    verdict = judge(lay_out(tmp_path, world))

    assert verdict["candidate"] == "mcc-1"
    assert verdict["source_only"] == {"accuracy": 80 / 120, "n": 120, "candidate": "source_only-1"}
    assert verdict["evidence"]["better"] == 40


# --- against the simplest adaptation -----------------------------------------------------------

REDS = [i for i, number in enumerate(TRUTH) if number == 2]


def beside_target_statistics(says: Sequence[int]) -> World:
    """mcc, which names six reds wrongly, beside a target_statistics that is less sure and says ``says``."""
    mcc = Says(test=tuple(0 if i in REDS[:6] else number for i, number in enumerate(TRUTH)))
    simplest = Says(test=says, certainty=0.8)
    return World({"source_only-0": BASELINE, "target_statistics-0": simplest, "mcc-0": mcc})


AGAINST_SIMPLEST = GateRules(max_p_value=0.05, max_loss_against_target_statistics=0.02)


def test_a_candidate_that_loses_to_target_statistics_beyond_the_allowance_is_held(tmp_path):
    behind = lay_out(tmp_path / "behind", beside_target_statistics(TRUTH))
    equal = lay_out(tmp_path / "equal", beside_target_statistics(flipped(TRUTH, 6)))

    held, promoted = judge(behind, rules=AGAINST_SIMPLEST), judge(equal, rules=AGAINST_SIMPLEST)

    assert (held["candidate"], held["verdict"]) == ("mcc-0", "hold")
    assert held["target_statistics"] == {"accuracy": 1.0, "n": 120, "candidate": "target_statistics-0"}
    assert held["evidence"]["gain"] > 0.2
    assert held["reasons"][0].startswith(
        "against target_statistics-0, the simplest adaptation, the gain is -5.0 points, significantly worse"
    )
    assert (promoted["candidate"], promoted["verdict"]) == ("mcc-0", "promote")
    assert not any("find gains of" in reason for reason in held["reasons"])  # more labels would not help


def test_images_on_which_target_statistics_alone_differs_are_listed_and_decide(tmp_path):
    workspace = lay_out(tmp_path, beside_target_statistics(TRUTH).without_labels())
    judge(workspace, rules=AGAINST_SIMPLEST)

    listed = to_label(workspace)

    tests = {hashlib.sha256(picture(number, i)).hexdigest(): i for i, number in enumerate(TRUTH)}
    where = [tests[row["sha256"]] for row in listed]
    assert sorted(where) == sorted([i for i, number in enumerate(TRUTH) if number == 1] + REDS[:6])
    truth = {row["sha256"]: CLASSES[TRUTH[i]] for row, i in zip(listed, where, strict=True)}
    held = judge(answer(workspace, truth), rules=AGAINST_SIMPLEST)
    assert held["verdict"] == "hold"
    assert held["reasons"][0].startswith(
        "against target_statistics-0, the simplest adaptation, the gain is -5.0"
    )


# --- without labels ----------------------------------------------------------------------------


def test_without_labels_the_verdict_is_at_most_provisional_and_no_accuracy_is_made_up(tmp_path):
    workspace = lay_out(tmp_path, World().without_labels())

    verdict = judge(workspace)

    assert verdict["verdict"] == "provisional"
    assert verdict["source_only"] == {"accuracy": None, "n": 0, "candidate": "source_only-0"}
    assert verdict["selected"] == {"accuracy": None, "n": 0, "candidate": "mcc-0"}
    assert verdict["oracle"] == {"accuracy": None, "n": 0, "candidate": None}
    assert verdict["evidence"] is verdict["confusion"] is None
    assert verdict["per_class"] == []
    assert [row["holdout_accuracy"] for row in verdict["candidates"]] == [None, None]
    assert verdict["reasons"][0] == "no labelled hold-out: scores without labels choose, and prove nothing"
    assert verdict["reasons"][1].startswith("mcc-0 has an InfoMax of 0.")


def test_the_list_to_label_holds_what_the_models_name_differently_and_no_answer_of_theirs(tmp_path):
    workspace = lay_out(tmp_path, World().without_labels())
    judge(workspace)

    rows = to_label(workspace)

    expected = [(f"images/frame {i:03}.png", GREENS[i // 3]) for i in range(120) if TRUTH[i] == 1]
    assert sorted((row["path"], row["sha256"]) for row in rows) == sorted(expected)
    assert set(rows[0]) == {"path", "sha256", "arms", "label"}
    assert {row["label"] for row in rows} == {""}
    text = (workspace.stage("gate", TARGET) / "to_label.csv").read_text()
    assert not any(name in text for name in CLASSES)


def test_another_candidate_is_labelled_in_another_order_so_no_image_comes_first_at_every_retraining(tmp_path):
    orders = []
    for name in ("mcc-0", "dann-0", "mmd-0"):
        workspace = lay_out(
            tmp_path / name, World({"source_only-0": BASELINE, name: Says()}).without_labels()
        )
        judge(workspace)
        orders.append([row["sha256"] for row in to_label(workspace)])

    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(orders[2])
    assert orders[0] != sorted(orders[0])


def test_awkward_names_survive_the_list_to_label(tmp_path):
    awkward = ('images/a,b "c".png', "images/line\nbreak.png", "images/größe 日本.png", "images/'=1+1.png")
    names = tuple(awkward[i // 3] if i % 3 == 1 and i < 12 else f"images/{i}.png" for i in range(120))
    workspace = lay_out(tmp_path, replace(World(), names=names).without_labels())
    judge(workspace)

    assert set(awkward) <= {row["path"] for row in to_label(workspace)}


def test_source_only_is_held_where_nothing_beats_it(tmp_path):
    unsure = Says(select=flipped(TRUTH, 30), certainty=0.6)
    world = World({"source_only-0": Says(test=CONFUSED), "dann-0": unsure})

    for case in (world, world.without_labels()):
        workspace = lay_out(tmp_path / str(len(case.labels) - case.labels.count(None)), case)
        verdict = judge(workspace)

        assert verdict["verdict"] == "hold"
        assert verdict["candidate"] == "source_only-0"
        assert verdict["reasons"][0] == "nothing beat source-only; source-only is what ships"
        assert verdict["evidence"] is None
        assert to_label(workspace) == []
    assert verdict["selected"]["accuracy"] is None


def test_nothing_is_to_be_labelled_where_source_only_was_selected_although_the_simplest_adaptation_differs(
    tmp_path,
):
    world = World(
        {"source_only-0": Says(), "target_statistics-0": Says(flipped(TRUTH, 30), CONFUSED, certainty=0.6)}
    )

    workspace = lay_out(tmp_path, world.without_labels())

    assert judge(workspace)["candidate"] == "source_only-0"
    assert to_label(workspace) == []


def test_labels_do_not_rescue_a_candidate_that_selection_passed_over(tmp_path):
    hidden_gem = Says(select=flipped(TRUTH, 30), test=TRUTH, certainty=0.6)
    verdict = judge(lay_out(tmp_path, World({"source_only-0": Says(test=CONFUSED), "dann-0": hidden_gem})))

    assert verdict["verdict"] == "hold"
    assert verdict["selected"] == {"accuracy": 80 / 120, "n": 120, "candidate": "source_only-0"}
    assert verdict["oracle"] == {"accuracy": 1.0, "n": 120, "candidate": "dann-0"}
    assert [row["source_only"] == row["selected"] for row in verdict["per_class"]] == [True] * 3


@pytest.mark.parametrize("labelled", [True, False])
def test_all_candidates_collapsed_or_diverged_is_a_rejection(tmp_path, labelled):
    world = World(
        {
            "source_only-0": BASELINE,
            "dann-0": Says(select=(0,) * 120, certainty=1.0),
            "mcc-0": Says(diverged=True),
        }
    )
    verdict = judge(lay_out(tmp_path, world if labelled else world.without_labels()))

    assert verdict["verdict"] == "reject"
    assert verdict["candidate"] == "source_only-0"
    assert (
        verdict["reasons"][0] == "none of the 2 adapted candidates can be used; source_only-0 is what is left"
    )
    assert verdict["reasons"][2] == "mcc-0: broken: training diverged"
    assert "mcc-0 took no part: broken: training diverged" in verdict["warnings"]
    assert [row["holdout_accuracy"] is None for row in verdict["candidates"]] == [
        not labelled,
        not labelled,
        True,
    ]


def test_a_target_without_a_test_split_is_judged_without_labels(tmp_path):
    none = {name: replace(says, test=()) for name, says in World().candidates.items()}
    workspace = lay_out(tmp_path, World(none).without_labels())
    write_manifest(workspace, TARGET, [("images/0.png", "adapt", image("adapt", 0), None)], {})
    validated(workspace)

    assert judge(workspace)["verdict"] == "provisional"
    assert to_label(workspace) == []


def test_forgetting_the_source_is_a_warning_beside_the_verdict(tmp_path):
    verdict = judge(
        lay_out(tmp_path, World({"source_only-0": BASELINE, "mcc-0": Says(validation=tuple([0, 0, 2] * 10))}))
    )

    assert verdict["verdict"] == "promote"
    assert any(
        w.startswith("mcc-0: accuracy on the source is 66.7 %, 33.3 points below")
        for w in verdict["warnings"]
    )


# --- fresh labels ------------------------------------------------------------------------------

GREENS = [hashlib.sha256(picture(1, i)).hexdigest() for i in range(1, 120, 3)]
"""The 40 test images on which source-only and mcc disagree."""


def asked(workspace: Workspace) -> list[str]:
    """The images in the order in which they are to be labelled."""
    return [row["sha256"] for row in to_label(workspace)]


def answer(
    workspace: Workspace, labels: dict[str, str], *, number: int = 1, arms: str | None = None
) -> Workspace:
    """Add a round of answers to what is compared now, or to other ``arms``."""
    given = [
        Answer(number, image, label, arms or to_label(workspace)[0]["arms"])
        for image, label in labels.items()
    ]
    known = gate.read_answers(workspace.answers(TARGET), CLASSES)
    write_answers(workspace.answers(TARGET), [*known, *given])
    return workspace


def compared(root: Path, world: World | None = None) -> Workspace:
    """A workspace whose comparison is frozen, without a label."""
    workspace = lay_out(root, (world or World()).without_labels())
    judge(workspace)
    return workspace


def lines(workspace: Workspace, kind: str) -> list[dict[str, Any]]:
    """The lines of the ledger of one kind."""
    text = workspace.ledger(TARGET).read_text(encoding="utf-8")
    return [row for row in map(json.loads, text.splitlines()) if row["kind"] == kind]


def test_fresh_labels_settle_a_provisional_verdict(tmp_path):
    workspace = lay_out(tmp_path, World().without_labels())
    provisional = judge(workspace)
    assert provisional["verdict"] == "provisional"
    assert provisional["reasons"][-1].startswith("fresh labels prove it: about ")
    order = asked(workspace)
    said = dict.fromkeys(order[:30], "green") | {order[0]: "blue", order[1]: "none", order[2]: "unsure"}

    verdict = judge(answer(workspace, said))

    assert verdict["verdict"] == "promote"
    evidence = verdict["evidence"]
    assert (evidence["kind"], evidence["against"]) == ("disagreements", "source_only-0")
    assert evidence["disagreements"] == {"labelled": 30, "total": 40, "images": 120}
    assert (evidence["better"], evidence["worse"]) == (27, 1)
    assert evidence["gain"] == pytest.approx(40 / 120 * 26 / 30, abs=1e-6)
    assert 0 < evidence["interval"][0] < evidence["gain"] < evidence["interval"][1] <= 40 / 120
    price = verdict["price"]["fresh"]
    assert price["threshold"] == pytest.approx(240)
    assert price["evidence"] > 240
    assert price["more"] == 0
    assert len(price["course"]) == 30
    assert evidence["mcnemar_p"] == pytest.approx(1 / price["evidence"], rel=1e-4)
    assert verdict["source_only"] == {"accuracy": None, "n": 0, "candidate": "source_only-0"}
    assert verdict["selected"]["accuracy"] is verdict["oracle"]["accuracy"] is None
    assert verdict["per_class"] == []
    assert verdict["confusion"] is None
    assert verdict["warnings"] == []
    assert verdict["answers_digest"] == sha256_of_lines([f"{one} {label}" for one, label in said.items()])
    assert [row["label"] for row in to_label(workspace)] == [said.get(image, "") for image in order]


def test_few_fresh_labels_are_held_with_what_is_missing_and_more_of_them_cost_nothing(tmp_path):
    workspace = compared(tmp_path)
    order = asked(workspace)

    held = judge(answer(workspace, dict.fromkeys(order[:6], "green")))
    promoted = judge(answer(workspace, dict.fromkeys(order[6:20], "green"), number=2), on=date(2031, 5, 9))

    assert held["verdict"] == "hold"
    assert held["reasons"][0].startswith(
        "not yet proven better than source_only-0 on 6 fresh labels: the evidence is "
    )
    assert re.fullmatch(r"about \d+ more labels would probably settle it", held["reasons"][-1])
    assert promoted["verdict"] == "promote"
    assert len(lines(workspace, "look")) == 1
    assert held["price"]["left"] == promoted["price"]["left"] == pytest.approx(0.05 * 11 / 12)
    assert [line["verdict"] for line in lines(workspace, "ruled")] == ["hold", "promote"]


def test_fresh_labels_reject_what_is_worse_and_hold_what_is_unproven(tmp_path):
    worse, unproven = compared(tmp_path / "a"), compared(tmp_path / "b")
    answer(worse, dict.fromkeys(GREENS, "blue"))
    answer(unproven, {image: "blue" if i % 2 else "green" for i, image in enumerate(asked(unproven))})

    assert judge(worse)["verdict"] == "reject"
    verdict = judge(unproven)
    assert verdict["verdict"] == "hold"
    assert verdict["evidence"]["gain"] == 0


def test_a_gap_in_the_answers_ends_the_sample_and_is_named(tmp_path):
    workspace = compared(tmp_path)
    order = asked(workspace)

    verdict = judge(answer(workspace, {image: "green" for i, image in enumerate(order) if i != 5}))

    assert verdict["verdict"] == "hold"
    assert verdict["evidence"]["disagreements"]["labelled"] == 5
    path = to_label(workspace)[5]["path"]
    assert verdict["warnings"] == [
        f"34 answers are not used yet: line 7 of to_label.csv ({path}) has no label, and a sample that skips examples is not"
        " a fair one. Label it, with `unsure` if need be"
    ]
    answer(workspace, {order[5]: "unsure"}, number=2)
    assert judge(workspace)["verdict"] == "promote"


def test_the_first_row_without_an_answer_leaves_the_verdict_provisional_and_the_budget_whole(tmp_path):
    workspace = compared(tmp_path)
    answer(workspace, dict.fromkeys(asked(workspace)[1:], "green"))

    verdict = judge(workspace)

    assert verdict["verdict"] == "provisional"
    assert verdict["evidence"] is verdict["answers_digest"] is None
    assert verdict["warnings"][0].startswith("39 answers are not used yet: line 2 of to_label.csv")
    assert verdict["price"]["left"] == 0.05
    assert lines(workspace, "look") == []


def test_answers_that_were_given_for_other_models_are_no_evidence_and_are_not_asked_for_again(tmp_path):
    workspace = compared(tmp_path)
    answer(workspace, dict.fromkeys(GREENS[:25], "green"), arms="what was compared last week")

    verdict = judge(workspace)

    assert verdict["verdict"] == "provisional"
    assert verdict["warnings"] == [
        "25 answers are kept and not used: they were given for other models. They train the next model once they retire"
    ]
    assert sorted(asked(workspace)) == sorted(GREENS[25:])


def test_answers_of_an_acclimate_that_froze_nothing_are_no_evidence(tmp_path):
    workspace = compared(tmp_path)
    rows = [f"1,{image},green,{sha('source_only-0')},{sha('mcc-0')}" for image in GREENS]
    header = "round,sha256,label,source_only_checkpoint,selected_checkpoint"
    write_bytes(workspace.answers(TARGET), "\n".join([header, *rows, ""]).encode())

    assert judge(workspace)["verdict"] == "provisional"


def test_fresh_labels_promote_where_the_hold_out_is_spent_and_the_hold_out_still_stops_what_is_worse(
    tmp_path,
):
    """Half of the test split was labelled before, half has arrived since."""
    some = tuple(CLASSES[number] if i % 2 else None for i, number in enumerate(TRUTH))
    spent = lay_out(tmp_path / "a", World(labels=some))
    spend(spent)
    held = judge(spent)
    promoted = judge(answer(spent, dict.fromkeys(asked(spent), "green")))
    worse = Says(test=tuple(number if i % 2 == 0 else 0 for i, number in enumerate(TRUTH)))
    stopped = lay_out(tmp_path / "b", World({"source_only-0": BASELINE, "mcc-0": worse}, labels=some))
    spend(stopped)
    judge(stopped)

    assert held["verdict"] == "hold"
    assert held["reasons"][0].startswith(
        "the labels of the hold-out are spent: accuracies on them were shown on 2031-01-02."
    )
    assert (promoted["verdict"], promoted["evidence"]["kind"]) == ("promote", "disagreements")
    assert judge(answer(stopped, dict.fromkeys(asked(stopped), "green")))["verdict"] == "reject"


def test_a_promotion_by_fresh_labels_shows_no_number_of_the_sealed_hold_out_beside_it(tmp_path):
    """On the hold-out the candidate gains too little to be proven; on the fresh images it is always right."""
    some = tuple(CLASSES[number] if i < 60 else None for i, number in enumerate(TRUTH))
    says = tuple(CONFUSED[i] if 3 <= i < 60 else number for i, number in enumerate(TRUTH))
    workspace = lay_out(tmp_path, World({"source_only-0": BASELINE, "mcc-0": Says(test=says)}, labels=some))
    assert judge(workspace, labels="sealed")["verdict"] == "hold"

    verdict = judge(answer(workspace, dict.fromkeys(asked(workspace), "green")), labels="sealed")

    assert (verdict["verdict"], verdict["evidence"]["kind"]) == ("promote", "disagreements")
    assert any("Their labels are sealed" in reason for reason in verdict["reasons"])
    assert not any("on 60 labelled examples: gain" in reason for reason in verdict["reasons"])
    assert read_json(workspace.stage("gate", TARGET) / "calibration.json")["labels"] == 0


def spend(workspace: Workspace) -> None:
    """Note in the ledger that all accuracies on the hold-out were shown."""
    images = [digits(image) for image in read_labels(workspace.stage("manifest", TARGET), splits=["test"])]
    on = date(2031, 1, 2)
    append(
        workspace.ledger(TARGET),
        [Read(at=on, life=1, images=tuple(images)), Unsealed(at=on, life=1, reason="a test")],
    )


def test_with_a_champion_fresh_labels_compare_with_it_and_not_with_source_only(tmp_path):
    """The champion names 20 images wrongly, of which the candidate names all rightly."""
    workspace = lay_out(tmp_path, colour_world(flipped(TRUTH, 20)).without_labels())
    put_in_service(workspace)
    assert judge(workspace)["verdict"] == "provisional"
    truth = {hashlib.sha256(picture(flipped(TRUTH, 20)[i], i)).hexdigest(): TRUTH[i] for i in range(120)}
    assert sorted(asked(workspace)) == sorted(list(truth)[:20])
    answer(workspace, {image: CLASSES[truth[image]] for image in asked(workspace)})

    verdict = judge(workspace)

    assert verdict["verdict"] == "promote"
    assert verdict["evidence"]["against"] == "version 4 in service"
    assert verdict["evidence"]["gain"] == pytest.approx(20 / 120, abs=1e-6)
    assert lines(workspace, "frozen")[0]["against"] == [
        {"name": "version 4 in service", "checkpoint_sha256": sha("another")}
    ]


def test_answers_change_the_verdict_and_no_byte_of_the_selection(tmp_path):
    silent, right, wrong = (compared(tmp_path / name) for name in "abc")
    answer(right, dict.fromkeys(GREENS, "green"))
    answer(wrong, dict.fromkeys(GREENS, "blue"))

    words = [judge(workspace)["verdict"] for workspace in (silent, right, wrong)]

    assert words == ["provisional", "promote", "reject"]
    assert (
        written(right)["selection.json"]
        == written(wrong)["selection.json"]
        == written(silent)["selection.json"]
    )


# --- the ledger --------------------------------------------------------------------------------


def other_candidate(workspace: Workspace, name: str) -> None:
    """Another candidate that is as good as mcc-0, on the same images and labels."""
    tests = [hashlib.sha256(picture(number, i)).hexdigest() for i, number in enumerate(TRUTH)]
    write_candidates(workspace, World({"source_only-0": BASELINE, name: Says()}), tests)


def test_every_candidate_that_the_same_labels_judge_has_a_harder_bound_to_reach(tmp_path):
    workspace = lay_out(tmp_path, World())
    prices = [judge(workspace, labels="sealed")["price"]]

    for name in ("dann-0", "mmd-0"):
        other_candidate(workspace, name)
        prices.append(judge(workspace, labels="sealed")["price"])

    assert [one["holdout"]["place"] for one in prices] == [1, 2, 3]
    assert [one["holdout"]["alpha"] for one in prices] == pytest.approx([0.05 / 2, 0.05 / 6, 0.05 / 12])
    assert prices[-1]["left"] == pytest.approx(0.05 / 4)
    assert len(lines(workspace, "read")) == 1
    assert [line["verdict"] for line in lines(workspace, "ruled")] == ["promote"] * 3


def test_the_same_comparison_is_one_look_however_often_the_stage_runs(tmp_path):
    workspace = lay_out(tmp_path, World())
    first = judge(workspace, labels="sealed")
    ledger = workspace.ledger(TARGET).read_bytes()

    again = judge(workspace, labels="sealed", on=date(2032, 1, 1))

    assert again == first
    assert workspace.ledger(TARGET).read_bytes() == ledger


def test_a_hold_is_a_look_as_well(tmp_path):
    nearly = Says(test=(*flipped(CONFUSED, 0)[:117], 0, 1, 2))
    workspace = lay_out(tmp_path, World({"source_only-0": BASELINE, "mcc-0": nearly}))

    assert judge(workspace, labels="sealed")["verdict"] == "hold"
    other_candidate(workspace, "dann-0")

    assert judge(workspace, labels="sealed")["price"]["holdout"]["place"] == 2


def test_a_kill_after_the_look_leaves_it_spent_and_the_rerun_takes_no_second_one(tmp_path, monkeypatch):
    workspace = lay_out(tmp_path, World())

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(gate, "decide", killed)
        with pytest.raises(KeyboardInterrupt):
            judge(workspace, labels="sealed")

    assert [line["place"] for line in lines(workspace, "look")] == [1]
    assert lines(workspace, "ruled") == []
    other_candidate(workspace, "dann-0")
    assert judge(workspace, labels="sealed")["price"]["holdout"]["place"] == 2
    other_candidate(workspace, "mcc-0")
    assert judge(workspace, labels="sealed")["price"]["holdout"]["place"] == 1


def test_without_its_ledger_the_gate_reads_no_label_and_says_where_the_ledger_is(tmp_path):
    workspace = lay_out(tmp_path, World())
    workspace.ledger(TARGET).unlink()

    with pytest.raises(BadInput, match=r"git checkout -- ledger/cam7\.jsonl"):
        judge(workspace)

    assert sorted(path.name for path in workspace.stage("gate", TARGET).iterdir()) == ["selection.json"]


def test_arms_are_in_the_ledger_before_a_label_is_compared(tmp_path):
    workspace = compared(tmp_path)

    frozen = lines(workspace, "frozen")

    assert len(frozen) == 1
    assert (frozen[0]["candidate"], frozen[0]["checkpoint_sha256"]) == ("mcc-0", sha("mcc-0"))
    assert frozen[0]["against"] == [{"name": "source_only-0", "checkpoint_sha256": sha("source_only-0")}]
    assert (frozen[0]["disagreements"], frozen[0]["images"], frozen[0]["margin"]) == (40, 120, 0.0)
    assert frozen[0]["order_sha256"] == sha("".join(asked(workspace)))
    assert (frozen[0]["share"], frozen[0]["verdicts"]) == (0.05, 12)


def test_more_labels_of_the_same_hold_out_continue_its_life_and_other_ones_begin_a_new_one(tmp_path):
    halves = [
        tuple(CLASSES[number] if (i < 60) == first else None for i, number in enumerate(TRUTH))
        for first in (True, False)
    ]
    workspace = lay_out(tmp_path, World(labels=halves[0]))
    judge(workspace, labels="sealed")

    places = []
    for labels in (World().labels, halves[1]):
        grown = lay_out(tmp_path / str(len(places)), World(labels=labels))
        write_bytes(grown.ledger(TARGET), workspace.ledger(TARGET).read_bytes())
        places.append(judge(grown, labels="sealed")["price"]["holdout"])

    assert [one["place"] for one in places] == [2, 1]
    assert places[1]["alpha"] == pytest.approx(0.0125)  # half of what is left of the year


def test_open_labels_are_spent_by_the_first_verdict_and_hold_the_next_candidate(tmp_path):
    workspace = lay_out(tmp_path, World())
    first = judge(workspace)
    other_candidate(workspace, "dann-0")

    second = judge(workspace, on=date(2031, 5, 8))

    assert (first["verdict"], second["verdict"]) == ("promote", "hold")
    assert SPENT in first["warnings"]
    assert second["price"]["holdout"] == {"place": 2, "alpha": 0.0, "level": 0.0, "spent_since": "2031-05-06"}
    assert SPENT not in second["warnings"]
    assert second["selected"]["accuracy"] == 1.0
    other_candidate(workspace, "mcc-0")
    assert judge(workspace)["verdict"] == "promote"  # the same look as before


def test_sealed_labels_show_the_verdict_and_the_gain_and_no_accuracy_of_anything(tmp_path):
    workspace = lay_out(tmp_path, World({"source_only-0": BASELINE, "mcc-0": Says(test=flipped(TRUTH, 6))}))

    verdict = judge(workspace, labels="sealed")

    assert verdict["verdict"] == "promote"
    assert verdict["sealed"] is True
    assert verdict["source_only"] == {"accuracy": None, "n": 120, "candidate": "source_only-0"}
    assert verdict["selected"] == {"accuracy": None, "n": 120, "candidate": "mcc-0"}
    assert verdict["oracle"] == {"accuracy": None, "n": 0, "candidate": None}
    assert verdict["confusion"] is None
    assert verdict["per_class"] == []
    assert {row["holdout_accuracy"] for row in verdict["candidates"]} == {None}
    assert verdict["evidence"]["gain"] == pytest.approx(34 / 120, abs=1e-6)
    text = json.dumps([verdict["reasons"], verdict["warnings"]])
    assert "95.0 %" not in text
    assert "66.7 %" not in text
    assert lines(workspace, "unsealed") == []
    assert read_json(workspace.stage("gate", TARGET) / "calibration.json")["labels"] == 120


def test_sealed_labels_that_promote_nothing_show_no_number_that_depends_on_them(tmp_path):
    """Two candidates that differ in how far they are from a promotion cannot be told apart by what is written."""
    nearly = Says(test=(*flipped(CONFUSED, 0)[:117], 0, 1, 2))
    nearer = Says(test=(*flipped(CONFUSED, 0)[:111], 0, 1, 2, 0, 1, 2, 0, 1, 2))
    said = []
    for name, candidate in (("a", nearly), ("b", nearer)):
        workspace = lay_out(tmp_path / name, World({"source_only-0": BASELINE, "mcc-0": candidate}))
        verdict = judge(workspace, labels="sealed")
        assert verdict["verdict"] == "hold"
        said.append((verdict, written(workspace)["calibration.json"]))

    assert said[0] == said[1]
    assert said[0][0]["evidence"] is None
    assert said[0][0]["reasons"][0] == (
        "not significantly better than source-only: candidate 1 that these labels have judged, p must reach 0.025"
    )


# --- groups ------------------------------------------------------------------------------------


def test_scenes_of_ten_frames_count_once_on_a_hold_out(tmp_path):
    """The candidate fixes the greens of every scene: four of ten frames in each of twelve scenes."""
    verdict = judge(lay_out(tmp_path, replace(World(), frames=10)))

    evidence = verdict["evidence"]
    assert (evidence["better"], evidence["worse"], evidence["groups"]) == (40, 0, 12)
    alone = judge(lay_out(tmp_path / "alone", World()))["evidence"]
    assert alone["groups"] is None
    assert evidence["mcnemar_p"] > 1e6 * alone["mcnemar_p"]
    assert evidence["interval"][0] < alone["interval"][0]
    assert any("in 12 groups" in reason for reason in verdict["reasons"])


def test_fresh_labels_of_scenes_are_asked_for_scene_by_scene_and_count_when_a_scene_is_whole(tmp_path):
    workspace = compared(tmp_path, replace(World(), frames=10))
    tests = {hashlib.sha256(picture(number, i)).hexdigest(): i for i, number in enumerate(TRUTH)}
    scenes = [tests[image] // 10 for image in asked(workspace)]
    changes = sum(before != after for before, after in pairwise(scenes))
    assert changes == 11

    first = scenes.count(scenes[0])
    one_short = judge(answer(workspace, dict.fromkeys(asked(workspace)[: first - 1], "green")))
    assert one_short["verdict"] == "provisional"
    whole = judge(answer(workspace, dict.fromkeys(asked(workspace)[:first], "green"), number=2))

    assert whole["evidence"]["disagreements"]["labelled"] == first
    assert (whole["evidence"]["groups"], len(whole["price"]["fresh"]["course"])) == (1, 1)


def test_twenty_targets_share_the_year(tmp_path):
    workspace = lay_out(tmp_path, World())
    many = params(labels="sealed")
    targets = (TARGET, *(f"cam{number}" for number in range(100, 119)))

    gate.run(workspace, many.model_copy(update={"targets": targets}), TARGET, on=TODAY)

    price = read_json(workspace.stage("gate", TARGET) / "verdict.json")["price"]
    assert price["share"] == pytest.approx(0.0025)
    assert price["holdout"]["alpha"] == pytest.approx(0.00125)


def test_the_p_that_had_to_be_reached_is_at_most_that_of_the_rules_and_the_budget_pays_the_whole_look(
    tmp_path,
):
    workspace = lay_out(tmp_path, World())

    price = judge(workspace, labels="sealed", rules=GateRules(max_p_value=0.01))["price"]

    assert (price["holdout"]["alpha"], price["holdout"]["level"]) == (0.025, 0.01)
    assert price["left"] == 0.025


def test_the_model_in_service_is_watched_without_spending_anything(tmp_path):
    workspace = lay_out(tmp_path, colour_world(TRUTH))
    put_in_service(workspace, checkpoint="mcc-0")

    price = judge(workspace, labels="sealed")["price"]

    assert price["holdout"] == {"place": 0, "alpha": 0.0, "level": 0.0, "spent_since": None}
    assert price["left"] == 0.05


def test_a_year_without_planned_verdicts_left_promotes_nothing_more_on_fresh_labels(tmp_path):
    workspace = compared(tmp_path)
    answer(workspace, dict.fromkeys(asked(workspace), "green"))
    used = [
        Look(at=date(2030, 6, number + 1), arms=str(number), route="fresh labels", life=None, labels_digest=None,
             place=number, alpha=0.05 / 12)
        for number in range(12)
    ]  # fmt: skip
    append(workspace.ledger(TARGET), used)

    held = judge(workspace)
    assert held["verdict"] == "hold"
    assert held["reasons"][0].startswith(
        "this year had its 12 verdicts on fresh labels (gate.budget.verdicts)"
    )


def test_a_damaged_file_of_answers_is_an_error_after_the_selection_is_on_disk(tmp_path):
    workspace = lay_out(tmp_path, World().without_labels())
    given = Answer(1, GREENS[0], "purple", "any")
    write_answers(workspace.answers(TARGET), [given])

    with pytest.raises(BadInput, match=r"answers.cam7\.csv, line 2: 'purple' is not a class of the models"):
        judge(workspace)

    assert sorted(path.name for path in workspace.stage("gate", TARGET).iterdir()) == ["selection.json"]


# --- rule 1: no target label touches the selection -----------------------------------------------


def test_planted_labels_in_adapt_and_select_change_no_byte(tmp_path):
    honest, planted = (
        lay_out(tmp_path / "a", World()),
        lay_out(tmp_path / "b", replace(World(), planted="red")),
    )
    judge(honest)
    judge(planted)

    assert written(planted) == written(honest)


def test_other_hold_out_labels_change_the_verdict_and_not_the_selection(tmp_path):
    wrong = tuple(CLASSES[(number + 1) % 3] for number in TRUTH)
    honest, mislabelled = lay_out(tmp_path / "a", World()), lay_out(tmp_path / "b", World(labels=wrong))
    assert judge(honest)["verdict"] == "promote"
    assert judge(mislabelled)["verdict"] != "promote"

    assert written(mislabelled)["selection.json"] == written(honest)["selection.json"]


def test_selection_needs_nothing_of_the_targets_manifest(tmp_path):
    workspace = lay_out(tmp_path, World())
    shutil.rmtree(workspace.stage("manifest", TARGET))

    selection = gate.select_candidate(workspace, read_pool(workspace.stage("adapt", TARGET)), params().gate)

    assert selection.chosen.name == "mcc-0"


def test_selection_is_on_disk_before_the_first_label_is_read(tmp_path):
    foreign = ("purple", *World().labels[1:])
    workspace = lay_out(tmp_path, World(labels=foreign))

    with pytest.raises(
        BadInput, match="labels purple of the hold-out are not classes of the models, which know blue"
    ):
        judge(workspace)

    assert sorted(path.name for path in workspace.stage("gate", TARGET).iterdir()) == ["selection.json"]


# --- same inputs, same bytes -------------------------------------------------------------------


def test_a_rerun_and_another_folder_give_the_same_bytes(tmp_path):
    first, second = lay_out(tmp_path / "here", World()), lay_out(tmp_path / "some where else", World())
    judge(first)
    before = written(first)
    judge(first)
    judge(second)

    assert written(first) == before
    assert written(second) == before
    assert not any(str(tmp_path).encode() in content for content in before.values())


# --- the champion ------------------------------------------------------------------------------


def colour_world(champion_says: Sequence[int], **changes: Any) -> World:
    return World(champion={"champion": 4}, champion_says=champion_says, **changes)


def test_a_candidate_ahead_of_the_champion_is_promoted_with_both_comparisons(tmp_path):
    workspace = lay_out(tmp_path, colour_world(flipped(TRUTH, 20)))
    path = put_in_service(workspace)

    verdict = judge(workspace)

    assert verdict["verdict"] == "promote"
    assert verdict["champion"] == {
        "version": 4,
        "checkpoint_sha256": sha("another"),
        "model_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "accuracy": 100 / 120,
        "n": 120,
        "gain": pytest.approx(20 / 120, abs=1e-6),
        "interval": verdict["champion"]["interval"],
    }
    assert verdict["champion"]["interval"][0] > 0.05
    assert verdict["reasons"][-1].startswith("against version 4 in service the gain is +16.7 points")


def test_a_candidate_far_behind_the_champion_is_rejected(tmp_path):
    workspace = lay_out(
        tmp_path,
        colour_world(TRUTH, candidates={"source_only-0": BASELINE, "mcc-0": Says(test=flipped(TRUTH, 15))}),
    )
    put_in_service(workspace)

    verdict = judge(workspace)

    assert verdict["verdict"] == "reject"
    assert verdict["champion"]["accuracy"] == 1
    assert verdict["reasons"][0].startswith(
        "against version 4 in service the gain is -12.5 points, at worst -19.6, beyond the loss of 2 points"
    )


def test_the_model_in_service_is_not_promoted_again(tmp_path):
    workspace = lay_out(tmp_path, colour_world(TRUTH))
    put_in_service(workspace, checkpoint="mcc-0")

    verdict = judge(workspace)

    assert verdict["verdict"] == "hold"
    assert verdict["reasons"][0] == "already in service: version 4 has the checkpoint of mcc-0"
    assert verdict["champion"]["gain"] is verdict["champion"]["interval"] is None


def test_without_labels_the_champion_says_on_which_images_a_label_would_count(tmp_path):
    workspace = lay_out(tmp_path, colour_world(flipped(TRUTH, 5)).without_labels())
    put_in_service(workspace)

    verdict = judge(workspace)

    assert verdict["verdict"] == "provisional"
    assert verdict["champion"]["version"] == 4
    assert verdict["champion"]["accuracy"] is verdict["champion"]["gain"] is None
    assert verdict["champion"]["n"] == 0
    assert len(to_label(workspace)) == 5


def test_a_class_that_the_champion_does_not_know_counts_against_it_and_is_named(tmp_path):
    workspace = lay_out(tmp_path, colour_world(TRUTH))
    put_in_service(workspace, classes=["red", "leek", "blue"])

    verdict = judge(workspace)

    assert verdict["champion"]["accuracy"] == pytest.approx(2 / 3)
    assert (
        "version 4 in service does not know green: every example of these counts against it"
        in verdict["warnings"]
    )


def test_a_missing_or_exchanged_champion_is_an_error_and_not_a_skipped_rule(tmp_path):
    workspace = lay_out(tmp_path, colour_world(TRUTH))
    path = put_in_service(workspace)
    path.write_bytes(onnx_models.make_onnx(candidate="mmd-0"))

    with pytest.raises(
        BadInput, match=r"model\.onnx has SHA-256 [0-9a-f]{64}, the registry says .*`dvc pull`"
    ):
        judge(workspace)
    path.unlink()
    with pytest.raises(BadInput, match=r"cannot read the ONNX file .*`dvc pull`"):
        judge(workspace)


def test_a_hold_out_image_that_changed_since_the_manifest_is_an_error(tmp_path):
    workspace = lay_out(tmp_path, colour_world(TRUTH))
    put_in_service(workspace)
    (workspace.data(TARGET) / "images" / "frame 007.png").write_bytes(picture(0, 119))

    with pytest.raises(BadInput, match=r"frame 007\.png changed since the manifest was written"):
        judge(workspace)


# --- the champions before it ---------------------------------------------------------------------

TWO_WRONG = (97, 99)
"""The images that the second champion of a chain names wrongly; the first one names all rightly."""
RULES = GateRules(max_p_value=0.05, min_gain=0.0, max_loss_against_champion=0.065)


def wrong_on(*images: int) -> tuple[int, ...]:
    return tuple((number + 1) % 3 if i in images else number for i, number in enumerate(TRUTH))


def lay_out_chain(root: Path, *, former: bool, wrong: Sequence[int]) -> Workspace:
    """Version 2 in service, which names two images wrongly, after version 1; the candidate is wrong on more."""
    candidates = {"source_only-0": BASELINE, "mcc-0": Says(test=wrong_on(*wrong))}
    workspace = lay_out(root, colour_world(TRUTH, candidates=candidates))
    # A little red outshines the strongest channel from 96.5 on: in images 97 and 99, since 98 is red.
    dazzled = onnx_models.SHARP.copy()
    dazzled[0, 0] *= 250 / 96.5
    models = {1: onnx_models.make_onnx(), 2: onnx_models.make_onnx(weights=dazzled)}
    versions = {}
    for version, content in models.items():
        path = f"registry/{TARGET}/versions/{version}/model.onnx"
        write_bytes(workspace.root / path, content)
        versions[version] = {
            "model_sha256": hashlib.sha256(content).hexdigest(), "checkpoint_sha256": sha(f"champion {version}"),
            "path": path,
        }  # fmt: skip
    earlier = [versions[1] | {"version": 1}] if former else []
    point_at(workspace, champion=2, previous=1, former=earlier, moves=2, **versions[2])
    return workspace


@pytest.mark.parametrize("labels", ["sealed", "open"])
def test_a_chain_of_candidates_each_a_little_behind_the_one_before_is_stopped_at_the_second(tmp_path, labels):
    """The loss against version 2 is within the rule, that against version 1 is not."""
    more = (*TWO_WRONG, 0)

    alone = judge(lay_out_chain(tmp_path / "a", former=False, wrong=more), rules=RULES, labels=labels)
    stopped = judge(lay_out_chain(tmp_path / "b", former=True, wrong=more), rules=RULES, labels=labels)
    as_good = judge(lay_out_chain(tmp_path / "c", former=True, wrong=TWO_WRONG), rules=RULES, labels=labels)

    assert alone["verdict"] == "promote"
    assert stopped["verdict"] == "hold"
    numbers = "the gain is -2.5 points, at worst -7.1, beyond" if labels == "open" else "it may be beyond"
    assert stopped["reasons"][0] == (
        f"against version 1, a former champion, {numbers} the loss of 6.5 points that"
        " gate.rules.max_loss_against_champion allows"
    )
    assert stopped["champion"]["version"] == 2
    assert as_good["verdict"] == "promote"
    assert as_good["reasons"][-1].startswith("against version 1, a former champion, the gain is -1.7 points")
    assert as_good["price"] == alone["price"]  # a rule that protects costs nothing


def test_a_candidate_far_behind_a_former_champion_is_rejected_by_its_name(tmp_path):
    verdict = judge(lay_out_chain(tmp_path, former=True, wrong=range(0, 30, 2)), rules=RULES)

    assert verdict["verdict"] == "reject"
    assert [reason.split(" the gain")[0] for reason in verdict["reasons"][:2]] == [
        "against version 2 in service",
        "against version 1, a former champion,",
    ]


def test_a_former_champion_whose_bytes_are_not_here_is_an_error_and_not_a_skipped_rule(tmp_path):
    workspace = lay_out_chain(tmp_path, former=True, wrong=TWO_WRONG)
    path = workspace.root / "registry" / TARGET / "versions" / "1" / "model.onnx"
    path.unlink()

    with pytest.raises(BadInput, match=r"versions/1/model\.onnx.*`dvc pull`"):
        judge(workspace, rules=RULES)

    no_rule = GateRules(max_p_value=0.05, min_gain=0.0)
    assert judge(workspace, rules=no_rule)["verdict"] == "promote"


# --- files that do not belong together ----------------------------------------------------------


def test_outputs_over_other_images_than_the_manifest_lists_are_refused(tmp_path):
    workspace = lay_out(tmp_path, World())
    write_manifest(workspace, TARGET, [("images/new.png", "test", sha("new"), "red")], {})

    with pytest.raises(
        BadInput, match=r"refers to 120 test examples, of which 0 are among the 1 of .*manifest.cam7"
    ):
        judge(workspace)


def test_data_other_than_was_validated_is_refused(tmp_path):
    workspace = lay_out(tmp_path, World())
    rows = read_manifest(workspace.stage("manifest", TARGET)).rows
    write_rows(
        workspace, TARGET, [*rows, Row("images/new.png", "ok", split="adapt", sha256=sha("newer data"))]
    )

    with pytest.raises(
        BadInput, match=r"verdict\.json refers to another target than the manifest\. Run `acclimate run`"
    ):
        judge(workspace)


@pytest.mark.parametrize(
    "missing",
    [
        "results/adapt/cam7/candidates.json",
        "results/adapt/cam7/mcc-0/outputs.safetensors",
        "results/manifest/source/manifest.parquet",
        "results/manifest/cam7/manifest.parquet",
        "results/validate/cam7/verdict.json",
        "registry/cam7/champion.json",
    ],
)
def test_a_missing_file_is_named(tmp_path, missing):
    workspace = lay_out(tmp_path, World())
    (workspace.root / missing).unlink()

    with pytest.raises(BadInput, match=missing):
        judge(workspace)


# --- the configuration -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({}, "a gate with no rules would let everything through: set at least one rule"),
        ({"max_p_value": None}, "a gate with no rules"),
        ({"max_p_value": 0.6}, "less than or equal to 0.5"),
        ({"max_p_value": 0}, "greater than 0"),
        ({"min_gain": 1.0}, "less than 1"),
        ({"min_gain": float("nan")}, "finite number"),
        ({"max_loss_against_champion": 2}, "less than or equal to 1"),
        ({"max_loss_against_target_statistics": 2}, "less than or equal to 1"),
        ({"max_p_valu": 0.05}, "Extra inputs are not permitted"),
    ],
)
def test_rules_that_cannot_decide_anything_are_refused(rules, message):
    with pytest.raises(ValidationError, match=message):
        GateRules(**rules)
