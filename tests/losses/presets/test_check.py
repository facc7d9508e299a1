"""Checks of presets that take their losses: all faults at once, and nothing to pay where nothing is the user's own."""

import pytest

from tasks.config.params import Params
from tasks.config.sections.presets import built_in_presets
from tasks.config.sections.training import AUTO_CANDIDATES
from tasks.errors import ConfigError
from tasks.losses.presets.check import check_presets
from tests.support.tiny import photograph_params

MCC = "{loss: mcc, weight: 1.0, temperature: 2.5}"
DANN = "{loss: dann, weight: 1.0, hidden: 8}"


def trained(*names: str, **presets: str) -> Params:
    """Parameters whose candidates are source-only, ``names`` and ``presets``, which are given as YAML."""
    own = [f"adapt.presets.{name}={value}" for name, value in presets.items()]
    return photograph_params(*own, f"adapt.candidates=[{', '.join(['source_only', *names, *presets])}]")


def message(params: Params) -> str:
    with pytest.raises(ConfigError) as raised:
        check_presets(params)
    return str(raised.value)


def test_all_faults_of_all_presets_are_named_in_one_message():
    said = message(
        trained(
            "mcc_rotation",
            mine="[{loss: mcc, weight: 1.0, temperature: -1, temprature: 2}, {loss: mmd, weight: 1.0}]",
            free=f"{{losses: [{DANN}, {MCC}], source_free: true}}",
        )
    )

    assert said.startswith("params.yaml does not describe a run:")
    assert "adapt.presets.mine.losses.0.temperature: input should be greater than 0 (got -1)" in said
    assert "adapt.presets.mine.losses.0.temprature: unknown key (got 2)" in said
    assert "adapt.presets.mine.losses.1.num_kernels: missing" in said
    assert "adapt.presets.free: is source_free, but ['dann'] compare the target with the source" in said
    assert "['mcc_rotation'] ask for turned images, which features.rotations does not keep" in said


@pytest.mark.parametrize("loss", ["dann", "cdan", "adda", "mmd", "jan", "coral"])
def test_a_loss_that_looks_at_the_source_is_refused_where_the_source_is_not_seen(loss: str):
    (term,) = built_in_presets()[loss]

    assert f"is source_free, but ['{loss}'] compare the target" in message(
        trained(mine=f"{{losses: [{term}], source_free: true}}")
    )


@pytest.mark.parametrize("loss", ["mcc", "infomax", "bnm", "self_training", "shot"])
def test_a_loss_on_the_target_alone_may_be_source_free(loss: str):
    terms = built_in_presets()[loss]
    terms = terms["losses"] if isinstance(terms, dict) else terms

    check_presets(trained(mine=f"{{losses: {terms}, source_free: true}}"))


def test_a_preset_that_is_not_trained_may_be_wrong():
    check_presets(
        photograph_params("adapt.presets.mmd=[{loss: mmd, weight: 1.0}]", "adapt.candidates=[source_only]")
    )


@pytest.mark.parametrize("orientation_matters", ["true", "false"])
def test_what_auto_trains_needs_no_check_and_would_pass_it(orientation_matters: str):
    params = photograph_params(
        f"images.orientation_matters={orientation_matters}", "features.rotations=false"
    )

    assert params.adapt.pool == AUTO_CANDIDATES
    assert params.adapt.unproven == ()
    check_presets(params)


def test_every_built_in_preset_passes():
    views = "features.views=[edge, histogram, fourier]"
    names = f"adapt.candidates=[{', '.join(built_in_presets())}]"

    check_presets(photograph_params(views, names, "features.rotations=true"))


def test_what_a_user_wrote_or_what_auto_leaves_out_is_checked():
    assert trained("coral", mcc="[{loss: mcc, weight: 2.0, temperature: 2.5}]").adapt.unproven == (
        "coral",
        "mcc",
    )
    assert trained("mcc_centroid").adapt.unproven == ()
