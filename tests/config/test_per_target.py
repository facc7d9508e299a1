"""targets/<name>.yaml: laid over params.yaml, and every mistake named with the file."""

from pathlib import Path

import pytest

from flows.workspaces.targets import create_settings
from tasks.config.params import Params, load_params
from tasks.errors import ConfigError
from tasks.workspace import Workspace
from tests.support.tiny import CHECKOUT


def load(root: Path, settings: str, *, prior: str = "null") -> Params:
    (root / "targets").mkdir()
    (root / "targets" / "optdigits.yaml").write_text(settings)
    shared = (CHECKOUT / "params.yaml").read_text()
    assert "target_prior: null" in shared
    (root / "params.yaml").write_text(shared.replace("target_prior: null", f"target_prior: {prior}"))
    return load_params(root / "params.yaml", target="optdigits")


def test_what_is_named_counts_for_the_target_and_the_rest_stays(tmp_path: Path):
    everyone = load_params(CHECKOUT / "params.yaml")

    params = load(
        tmp_path,
        "adapt: {steps: 7, deeper: {steps: 9}}\ngate: {rules: {min_gain: 0.25}, target_prior: {'1': 0.4, '2': 0.6}}\n",
    )

    assert (params.adapt.steps, params.adapt.deeper.steps) == (7, 9)
    assert params.adapt.seeds == everyone.adapt.seeds
    assert params.gate.rules.min_gain == 0.25
    assert params.gate.rules.max_p_value == everyone.gate.rules.max_p_value
    assert params.gate.target_prior == {"1": 0.4, "2": 0.6}
    assert load_params(tmp_path / "params.yaml") == everyone


def test_the_shares_of_a_target_replace_those_of_params_yaml(tmp_path: Path):
    params = load(tmp_path, "adapt: {}\ngate: {target_prior: {'7': 1.0}}\n", prior="{'1': 0.5, '2': 0.5}")

    assert params.gate.target_prior == {"7": 1.0}


def test_a_target_without_the_file_has_the_settings_of_params_yaml():
    assert load_params(CHECKOUT / "params.yaml", target="elsewhere") == load_params(CHECKOUT / "params.yaml")


def test_the_file_that_acclimate_makes_changes_nothing_and_is_never_made_twice(tmp_path: Path):
    create_settings(Workspace(tmp_path), "optdigits")
    made = tmp_path / "targets" / "optdigits.yaml"
    settings = made.read_text()
    made.unlink()
    made.parent.rmdir()

    assert load(tmp_path, settings) == load_params(CHECKOUT / "params.yaml")

    made.write_text("adapt: {steps: 3}\ngate: {}\n")
    create_settings(Workspace(tmp_path), "optdigits")

    assert made.read_text() == "adapt: {steps: 3}\ngate: {}\n"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("", "expected the keys adapt and gate, got None"),
        ("gate: {}\n", "adapt: missing; write `adapt: {}`"),
        ("adapt:\ngate: {}\n", "adapt: expected keys and values, `{}` for none (got None)"),
        ("adapt: {}\ngate: {}\nfinetune: {steps: 3}\n", "a target may change adapt and gate alone; `finetune` belongs in params.yaml"),
        ("adapt: {presets: {mine: []}}\ngate: {}\n", "adapt.presets: presets are the same for all targets"),
        ("adapt: {stepz: 3}\ngate: {}\n", "adapt.stepz: unknown key (got 3)"),
        ("adapt: {}\ngate: {rules: {min_gains: 0.1}}\n", "gate.rules.min_gains: unknown key"),
        ("adapt: {steps: 0}\ngate: {}\n", "adapt.steps: input should be greater than or equal to 1 (got 0)"),
        ("adapt: {", "is not YAML"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_the_file(tmp_path: Path, settings: str, expected: str):
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, settings)

    assert expected in str(raised.value)
    assert str(tmp_path / "targets" / "optdigits.yaml") in str(raised.value)
