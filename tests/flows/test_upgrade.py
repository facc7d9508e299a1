"""A workspace of an older acclimate: missing settings are added and reported, the user's settings stay."""

import logging
from pathlib import Path

import pytest
import yaml

from flows.workspaces.create import create_workspace, refresh_generated
from flows.workspaces.upgrade import PARAMS_TEMPLATE, bring_up, check_upgraded
from tasks.config.params import load_params
from tasks.errors import ConfigError
from tasks.files import write_text
from tasks.workspace import Workspace
from tests.support.tiny import CHECKOUT

DEMO = (CHECKOUT / "params.yaml").read_text()
# Lines that one workspace after the other did not have yet: in the middle, nested, last of a section, a section.
NEWER = (
    "  max_pixels: 50000000\n",
    "  rotations: false\n",
    "    backbone_learning_rate_ratio: 0.5\n",
    "  min_holdout: 50\n",
    "  min_images: 20\n",
    "report:\n  max_map_points: 400\n\n",
)


def older(root: Path, text: str, *missing: str) -> Workspace:
    for part in missing:
        assert text.count(part) == 1, part
        text = text.replace(part, "")
    write_text(root / "params.yaml", text)
    return Workspace(root)


def test_missing_keys_are_added_with_defaults_and_said_and_every_line_of_the_user_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    workspace = older(tmp_path, DEMO, *NEWER)
    before = workspace.params.read_text()
    expected = check_upgraded(workspace)
    assert workspace.params.read_text() == before

    with caplog.at_level(logging.INFO):
        params = bring_up(workspace)

    after = workspace.params.read_text()
    assert load_params(workspace.params) == params == expected
    lines = iter(after.splitlines())
    assert [line for line in before.splitlines() if line not in lines] == []  # all there, in their order
    assert set(yaml.safe_load(after)["gate"]) == set(yaml.safe_load(DEMO)["gate"])
    for key in (
        "images.max_pixels",
        "features.rotations",
        "gate.min_holdout",
        "arrival.min_images",
        "report",
    ):
        assert key in caplog.text

    bring_up(workspace)

    assert workspace.params.read_text() == after


def test_an_added_key_brings_its_comment(tmp_path: Path):
    comment = "  # true for candidates such as mcc_rotation: three more passes over each target"
    assert comment in PARAMS_TEMPLATE.read_text()

    workspace = older(tmp_path, DEMO, "  rotations: false\n")
    bring_up(workspace)

    assert f"  rotations: false{comment}\n" in workspace.params.read_text()


@pytest.mark.parametrize("path", [CHECKOUT / "params.yaml", PARAMS_TEMPLATE], ids=["demo", "template"])
def test_a_file_that_lacks_nothing_is_not_written(tmp_path: Path, path: Path):
    workspace = older(tmp_path, path.read_text())
    before = workspace.params.stat().st_mtime_ns

    bring_up(workspace)

    assert workspace.params.read_text() == path.read_text()
    assert workspace.params.stat().st_mtime_ns == before


def test_a_section_written_on_one_line_is_brought_up_too(tmp_path: Path):
    content = yaml.safe_load(DEMO)
    del content["images"]["max_pixels"]
    workspace = older(tmp_path, yaml.safe_dump(content, sort_keys=False, default_flow_style=None))

    assert bring_up(workspace).images.max_pixels == 50_000_000
    assert load_params(workspace.params).images.size_px == content["images"]["size_px"]


def test_rules_presets_and_shares_that_are_left_out_stay_out(tmp_path: Path):
    workspace = older(tmp_path, DEMO, "    max_loss_against_champion: 0.02\n")

    params = bring_up(workspace)

    assert params.gate.rules.max_loss_against_champion is None
    assert "max_loss_against_champion" not in workspace.params.read_text()


def test_an_unknown_key_stops_it_and_both_sides_of_a_misspelling_are_named(tmp_path: Path):
    workspace = older(tmp_path, DEMO.replace("  min_holdout:", "  min_hold_out:"))
    before = workspace.params.read_text()

    with pytest.raises(ConfigError) as raised:
        bring_up(workspace)

    assert "gate.min_holdout: missing" in str(raised.value)
    assert "gate.min_hold_out: unknown key (got 50)" in str(raised.value)
    assert "Take unknown keys out, or mend their spelling." in str(raised.value)
    assert workspace.params.read_text() == before


@pytest.mark.parametrize("text", ["", "- a\n", "domains: [", "images: {size_px: 3"])
def test_a_file_that_is_no_mapping_is_told_as_ever(tmp_path: Path, text: str):
    with pytest.raises(ConfigError):
        bring_up(older(tmp_path, text))


def test_generated_files_are_refreshed_and_lines_of_the_users_gitignore_stay(tmp_path: Path):
    workspace = create_workspace(tmp_path / "w", params=yaml.safe_load(DEMO))
    pipeline = workspace.dvc_yaml.read_text()
    write_text(workspace.dvc_yaml, "stages: {}\n")
    (workspace.root / "code" / "adapt.json").unlink()
    write_text(workspace.root / ".gitignore", "/mine/\n/landing/\n")

    refresh_generated(workspace)

    assert workspace.dvc_yaml.read_text() == pipeline
    assert (workspace.root / "code" / "adapt.json").exists()
    ignored = (workspace.root / ".gitignore").read_text().splitlines()
    assert ignored == ["/mine/", "/landing/", "/.acclimate/", "/result.json"]


def test_a_key_that_nothing_reads_any_more_is_taken_out_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    text = DEMO.replace("  confidence: 0.95\n", "  confidence: 0.95\n  bootstrap_resamples: 10000\n")
    workspace = older(tmp_path, text)
    check_upgraded(workspace)
    assert workspace.params.read_text() == text

    with caplog.at_level(logging.INFO):
        bring_up(workspace)

    assert workspace.params.read_text() == DEMO
    assert "taken out, since nothing reads them any more: gate.bootstrap_resamples" in caplog.text


def test_a_workspace_without_a_budget_gets_one_and_sealed_labels(tmp_path: Path):
    budget = "  budget:\n    false_promotions: 0.05  # in a year, all targets together\n"
    start, end = DEMO.index(budget), DEMO.index("  confidence: 0.95")
    workspace = older(tmp_path, DEMO[:start] + DEMO[end:])

    gate = bring_up(workspace).gate

    assert (gate.budget.false_promotions, gate.budget.verdicts, gate.labels) == (0.05, 12, "sealed")
