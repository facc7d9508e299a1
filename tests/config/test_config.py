"""params.yaml: closed to unknown keys, every mistake named at once, overrides that must exist."""

from pathlib import Path

import pytest
import yaml

from tasks.config.overrides import apply_overrides
from tasks.config.params import check_params, load_params
from tasks.errors import ConfigError
from tests.support.tiny import CHECKOUT

CONTENT = yaml.safe_load((CHECKOUT / "params.yaml").read_text())


def changed(*overrides: str) -> dict:
    return apply_overrides(CONTENT, overrides)


def message(content: object) -> str:
    with pytest.raises(ConfigError) as raised:
        check_params(content, origin="params.yaml")
    return str(raised.value)


def test_unknown_missing_and_wrong_keys_are_all_named_in_one_message():
    content = changed("adapt.steps=0", "gate.confidence=1.5")
    content["adpat"] = {}
    del content["probe"]["device"]

    said = message(content)

    assert said.startswith("params.yaml does not describe a run:")
    assert "adpat: unknown key" in said
    assert "probe.device: missing" in said
    assert "adapt.steps: input should be greater than or equal to 1 (got 0)" in said
    assert "gate.confidence" in said


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["gate.rules={}"], "a gate with no rules would let everything through"),
        (["adapt.candidates=[mcc]"], "candidates must include source_only"),
        (["adapt.candidates=[source_only, cdann]"], "candidates ['cdann'] are not among the presets"),
        (["adapt.presets.source_only=[{loss: mmd, weight: 1.0, num_kernels: 5}]"], "source_only must be empty"),
        (["adapt.seeds=[1, 1]"], "seeds names something twice"),
        (["split.target_adapt=0.9"], "is more than 1"),
        (["domains=[source, optdigits]"], "domains must be [source, then every target]"),
        (["domains=[source, Cam 7]", "targets=[Cam 7]"], "must be lower-case letters, digits and dashes"),
        (["features.route=cached"], "features.route cached freezes the backbone, but finetune.scope is full"),
        (["adapt.presets.mcc=[{loss: mccc, weight: 1.0}]"], "adapt.presets.mcc.losses.0"),
        (["adapt.presets.mcc={losses: [{loss: bnm, weight: 1.0}], views: [fourier]}"],
         "adapt.presets.mcc asks for the views ['fourier'], which features.views [] lacks: add them there"),
        (["adapt.learning_rate=.inf"], "adapt.learning_rate"),
        (["adapt.presets.dann=[{loss: mmd, weight: 1.0, num_kernels: 5}, {loss: mmd, weight: 1.0, num_kernels: 5}]"],
         "adapt.presets.dann: names a loss twice"),
        (["gate.target_prior={cat: 0.5, dog: 0.4}"],
         "gate.target_prior: the shares of the classes must sum to 1, got 0.9 from {'cat': 0.5, 'dog': 0.4}"),
        (["gate.target_prior={}"], "gate.target_prior: the shares of the classes must sum to 1, got 0"),
        (["gate.target_prior={cat: 1.5, dog: -0.5}"], "gate.target_prior.cat: input should be less than or equal to 1"),
        (["gate.target_prior={0: 0.5, 1: 0.5}"], "put the names of these classes in quotes"),
        (["gate.max_prior_divergence=0"], "gate.max_prior_divergence: input should be greater than 0"),
        (["adapt.candidates=[source_only, subspace]"],
         "['subspace'] align frozen features, but features.route end_to_end keeps none"),
        (["adapt.deeper.candidates=[coral_linear]"], "['coral_linear'] align frozen features, which route deeper trains"),
        (["adapt.candidates=[source_only, subspace]", "adapt.start=finetuned"], "cannot start from the finetuned head"),
        (["adapt.start=finetuned", "adapt.deeper.candidates=auto", "features.route=deeper", "finetune.scope=head",
          "finetune.augment=none"],
         "set adapt.deeper.candidates to [], features.route to cached, or adapt.start to backbone"),
        (["adapt.presets.subspace.align.method=pca"], "adapt.presets.subspace.align"),
        (["adapt.presets.subspace={losses: [{loss: bnm, weight: 1.0}],"
          " source_free: true, align: {method: coral, ridge: 1.0}}"], "source_free, but align fits the source"),
        (["adapt.presets.source_only={losses: [], align: {method: coral, ridge: 1.0}}"], "source_only must be empty"),
    ],
)  # fmt: skip
def test_a_run_that_makes_no_sense_is_refused_with_the_reason(overrides: list[str], expected: str):
    assert expected in message(changed(*overrides))


@pytest.mark.parametrize("prior", ["null", "{cat: 0.33, dog: 0.33, owl: 0.33}", "{'0': 1.0, '1': 0}"])
def test_a_prior_may_be_absent_rounded_or_leave_a_class_out(prior: str):
    content = changed(f"gate.target_prior={prior}")

    assert check_params(content, origin="params.yaml").gate.target_prior == content["gate"]["target_prior"]


def test_a_file_that_is_missing_or_no_yaml_is_named(tmp_path: Path):
    (tmp_path / "broken.yaml").write_text("adapt: [")

    for name in ("absent.yaml", "broken.yaml"):
        with pytest.raises(ConfigError, match=name):
            load_params(tmp_path / name)


def test_overrides_change_what_they_name_and_nothing_else():
    content = changed("adapt.steps=7", "adapt.seeds=[4, 5]")

    assert content["adapt"]["steps"] == 7
    assert content["adapt"]["seeds"] == [4, 5]
    assert CONTENT["adapt"]["steps"] != 7
    assert content | {"adapt": 0} == CONTENT | {"adapt": 0}


def test_overrides_of_unknown_keys_are_all_named():
    with pytest.raises(ConfigError) as raised:
        changed("adapt.stepz=7", "nowhere.at.all=1", "adapt.steps")

    assert "--set adapt.stepz: unknown key" in str(raised.value)
    assert "--set nowhere.at.all: unknown key" in str(raised.value)
    assert "--set adapt.steps: expected key=value" in str(raised.value)
