import pytest

from tasks.config.sections.presets import Preset
from tasks.engine.ensembles import weights_of
from tests.support.candidates import candidate_record

PRESET = Preset(voices=(("propagation",), ("mcc", "shot")))


def solved(name: str):
    return candidate_record(f"{name}-0", name=name, preset=name, seed=None)


def test_families_weigh_alike_then_methods_then_seeds():
    candidates = [
        solved("propagation"),
        *(candidate_record(f"mcc-{seed}") for seed in (0, 1)),
        candidate_record("shot-0"),
        candidate_record("dann-0"),
    ]

    assert weights_of(PRESET, candidates) == {
        "propagation": 0.5,
        "mcc-0": 0.125,
        "mcc-1": 0.125,
        "shot-0": 0.25,
    }


def test_a_diverged_voice_leaves_its_weight_to_its_kin_and_a_silent_family_to_the_others():
    mcc = candidate_record("mcc-0", trained=False)
    shot = candidate_record("shot-0")

    assert weights_of(PRESET, [solved("propagation"), mcc, shot]) == {"propagation": 0.5, "shot-0": 0.5}
    assert weights_of(PRESET, [mcc, shot]) == {"shot-0": 1.0}
    assert weights_of(PRESET, [mcc]) == {}


def test_a_voice_that_was_trained_deeper_is_another_network_and_has_none():
    deeper = candidate_record("mcc-0", name="mcc@deeper-0", route="deeper")

    assert weights_of(PRESET, [candidate_record("mcc-0"), deeper]) == {"mcc-0": 1.0}


@pytest.mark.parametrize("num_losers", [0, 1, 5])
def test_the_weights_do_not_depend_on_candidates_without_a_voice(num_losers: int):
    losers = [candidate_record(f"dann-{seed}") for seed in range(num_losers)]

    assert weights_of(PRESET, [candidate_record("shot-0"), *losers]) == {"shot-0": 1.0}
