"""Which candidates a target gets."""

from pathlib import Path

import numpy as np
import pytest

from tasks.config.params import Params, load_params
from tasks.engine.plans import deeper_plans, is_source_free, shallow_plans
from tasks.records.candidates import Outputs, Split
from tasks.selection.pool import Pool
from tests.support.candidates import write_pool
from tests.support.tiny import CHECKOUT, changed


def recorded(folder: Path, candidates: dict[str, float]) -> Pool:
    """Candidates on frozen features; the number is the certainty with which they name the clusters."""
    draw = np.random.default_rng(0)
    clusters_N = np.arange(60) % 3
    features_ND = np.eye(3)[clusters_N] + 0.05 * draw.normal(size=(60, 3))
    images = tuple(bytes([number] * 32).hex() for number in range(60))
    said: dict[str, dict[Split, Outputs]] = {}
    for name, certainty in candidates.items():
        p_NC = np.where(np.eye(3)[clusters_N] == 1, certainty, (1 - certainty) / 2).astype(np.float32)
        said[name] = {"select": Outputs(p_NC, features_ND.astype(np.float32), images)}
    return write_pool(folder, said, ("a", "b", "c"))


@pytest.fixture
def photographs() -> Params:
    return load_params(CHECKOUT / "tasks" / "config" / "templates" / "params.yaml")


def test_source_only_and_target_statistics_come_first_whether_they_are_named_or_not(photographs: Params):
    for names in ("[mcc, source_only]", "[mcc, target_statistics, source_only]"):
        params = changed(photographs, f"adapt.candidates={names}", "adapt.seeds=[0, 1]")

        assert [plan.name for plan in shallow_plans(params)] == [
            f"{preset}-{seed}" for preset in ("source_only", "target_statistics", "mcc") for seed in (0, 1)
        ]


def test_an_ensemble_comes_after_its_voices_and_what_is_not_trained_has_no_seed(photographs: Params):
    params = changed(
        photographs,
        "adapt.presets.both={voices: [[propagation], [mcc]]}",
        "adapt.candidates=[source_only, both]",
        "adapt.seeds=[3, 5]",
    )

    plans = {plan.name: plan.seed for plan in shallow_plans(params)}

    assert list(plans)[4:] == ["propagation", "mcc-3", "mcc-5", "both"]
    assert plans["propagation"] is plans["both"] is None
    assert plans["mcc-5"] == 5


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ({"source_only": 0.4, "mcc": 0.6, "cdan_mcc": 0.8}, "cdan_mcc"),
        ({"source_only": 0.9, "mcc": 0.4, "cdan_mcc": 0.6}, "cdan_mcc"),
        ({"source_only": 0.4, "cdan_mcc": 0.6, "shot": 0.9}, "cdan_mcc"),
        ({"source_only": 0.4, "cdan_mcc": 0.6, "propagation": 0.9}, "cdan_mcc"),
    ],
    ids=[
        "what label-free scores put first",
        "also where source-only is before it",
        "never a source-free preset",
        "never a closed form",
    ],
)
def test_under_auto_one_preset_goes_deeper(tmp_path: Path, photographs: Params, shares: dict, expected: str):
    pool = recorded(
        tmp_path, {f"{name}-{seed}": share for name, share in shares.items() for seed in (0, 1, 2)}
    )

    planned = [plan.name for plan in deeper_plans(photographs, pool)]

    assert planned == [f"{name}@deeper-{seed}" for name in ("source_only", expected) for seed in (0, 1, 2)]


def test_named_presets_go_deeper_with_a_source_only_of_that_depth_and_none_where_none_is_named(
    tmp_path: Path, photographs: Params
):
    pool = recorded(tmp_path, {"source_only-0": 0.5})
    named, none = (
        changed(photographs, f"adapt.deeper.candidates={names}", "adapt.seeds=[4]")
        for names in ("[mcc]", "[]")
    )

    assert [plan.name for plan in deeper_plans(named, pool)] == ["source_only@deeper-4", "mcc@deeper-4"]
    assert deeper_plans(none, pool) == []


def test_a_pool_is_source_free_where_every_candidate_but_the_baseline_is(photographs: Params):
    pools = {
        "[source_only, shot]": True,
        "[shot, source_only]": True,
        "[source_only, shot, mcc]": False,
        "[source_only]": False,
        "auto": False,
    }

    for names, expected in pools.items():
        assert is_source_free(changed(photographs, f"adapt.candidates={names}")) is expected, names
