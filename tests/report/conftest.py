"""Fixtures of the report's tests: parameters, and a workspace for any case."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.config.params import Params
from tasks.config.sections.data import ImagesParams
from tasks.config.sections.delivery import ReportParams
from tasks.config.sections.gate import BudgetParams, GateParams, GateRules
from tasks.workspace import Workspace
from tests.support.workspaces import Case, build_workspace


@pytest.fixture(scope="session")
def params() -> Params:
    """Parameters with the two sections the report reads."""
    rules = GateRules(max_p_value=0.05, min_gain=0.0, max_loss_against_champion=0.01, min_class_recall=0.5)
    gate = GateParams(
        metric="accuracy", rules=rules, budget=BudgetParams(false_promotions=0.05, verdicts=12), labels="open", confidence=0.95, min_holdout=50, min_effective_classes=0.5,
        max_share_ratio=2.0, max_source_accuracy_loss=0.03, target_prior=None, max_prior_divergence=0.5, coverage=0.9, seed=0,
    )  # fmt: skip
    return Params.model_construct(
        kind="image",
        images=ImagesParams(size_px=32, max_pixels=10_000, grey_range=None, orientation_matters=True),
        gate=gate,
        report=ReportParams(max_map_points=400),
    )


@pytest.fixture
def build(tmp_path: Path) -> Callable[[Case], Workspace]:
    """A function that lays out a workspace for a case."""
    return lambda case: build_workspace(tmp_path / "a workspace", case)
