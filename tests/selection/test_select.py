from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.errors import BadInput, ConfigError
from tasks.records.record import as_json
from tasks.selection import select as module
from tasks.selection.diagnostics import DIAGNOSTICS
from tasks.selection.select import select

TRUTH = [0, 1, 2] * 20
HALF_RIGHT = [0, 0, 2] * 20  # every dog is called a cat


@pytest.fixture
def source_labels(image_of):
    names = ("cat", "dog", "owl")
    return {image_of("validation", number): names[number % 3] for number in range(30)}


@pytest.fixture
def splits(confident, clustered):
    """Outputs that predict ``predicted`` on the target, over features that lie as ``apart`` says."""

    def make(predicted, *, certainty=0.9, apart=TRUTH, source=(0, 1, 2) * 10):
        return {
            "select": (confident(predicted, certainty), clustered(apart)),
            "test": (confident(predicted[:30], certainty), clustered(apart[:30])),
            "validation": (confident(source), clustered(source)),
        }

    return make


def row_of(selection, name):
    return next(row for row in selection.contenders() if row.name == name)


def test_the_candidate_that_follows_the_clusters_is_selected_over_source_only(
    record, splits, gate_params, source_labels
):
    pool = record({"source_only-0": splits(HALF_RIGHT, certainty=0.7), "mcc-0": splits(TRUTH)})

    selection = select(pool, source_labels, gate_params())

    assert selection.chosen.name == "mcc-0"
    assert selection.source_only.name == "source_only-0"
    assert as_json(row_of(selection, "mcc-0")) == {
        "name": "mcc-0",
        "preset": "mcc",
        "seed": 0,
        "route": "cached",
        "checkpoint_sha256": selection.chosen.checkpoint_sha256,
        "bias": None,
        "scores": row_of(selection, "mcc-0").scores,
        "gain": pytest.approx(
            row_of(selection, "mcc-0").scores["infomax"]
            - row_of(selection, "source_only-0").scores["infomax"]
        ),
        "vetoes": (),
        "warnings": (),
        "source_accuracy": 1.0,
        "diagnostics": row_of(selection, "mcc-0").diagnostics,
    }
    assert tuple(row_of(selection, "mcc-0").diagnostics) == DIAGNOSTICS
    assert None not in row_of(selection, "mcc-0").diagnostics.values()
    assert row_of(selection, "mcc-0").diagnostics["v_measure"] == 1
    assert [row.name for row in selection.contenders()] == ["source_only-0", "mcc-0"]


def test_scores_are_compared_as_they_are_written(record, splits, gate_params, source_labels):
    pool = record(
        {
            "source_only-0": splits(HALF_RIGHT),
            "dann-0": splits(TRUTH, certainty=0.8),
            "mmd-0": splits(TRUTH, certainty=0.8 + 1e-8),
        }
    )

    rows = {row.name: row for row in select(pool, source_labels, gate_params()).contenders()}

    assert rows["dann-0"].scores == rows["mmd-0"].scores
    assert rows["dann-0"].gain == rows["mmd-0"].gain
    for row in rows.values():
        assert all(round(score, 6) == score for score in row.scores.values())


def test_a_collapsed_candidate_is_out_and_does_not_move_the_scores_of_others(
    record, splits, gate_params, source_labels
):
    healthy = {"source_only-0": splits(TRUTH, certainty=0.7), "mmd-0": splits(TRUTH)}
    collapsed = {f"dann-{seed}": splits([0] * 60, certainty=1.0) for seed in (0, 1, 2)}
    alone = select(record(healthy), source_labels, gate_params())

    selection = select(record(healthy | collapsed), source_labels, gate_params())

    assert selection.chosen.name == "mmd-0"
    assert row_of(selection, "mmd-0") == row_of(alone, "mmd-0")
    assert row_of(selection, "source_only-0") == row_of(alone, "source_only-0")
    vetoed = row_of(selection, "dann-1")
    assert vetoed.scores is not None
    assert vetoed.vetoes[0].startswith("collapse: its predictions amount to 1.0 classes")


def test_all_candidates_are_compared_with_the_one_source_only_that_is_best_on_the_source(
    record, splits, gate_params, source_labels
):
    pool = record(
        {
            "source_only-0": splits([0] * 60, source=(0, 1, 1) * 10),
            "source_only-1": splits(HALF_RIGHT, certainty=0.7),
            "target_statistics-0": splits(HALF_RIGHT),
            "mcc-0": splits(TRUTH),
        }
    )

    selection = select(pool, source_labels, gate_params())

    assert selection.source_only.name == "source_only-1"
    assert [one.name for one in selection.compared()] == ["source_only-1", "target_statistics-0"]
    assert row_of(selection, "mcc-0").gain == pytest.approx(
        row_of(selection, "mcc-0").scores["infomax"] - row_of(selection, "source_only-1").scores["infomax"]
    )
    record_ = selection.record("cam7")
    assert (record_.source_only, record_.target_statistics) == ("source_only-1", "target_statistics-0")


def test_an_ensemble_that_is_ahead_goes_before_the_member_that_is_ahead_by_more(
    record, splits, gate_params, source_labels
):
    pool = record(
        {
            "source_only-0": splits(HALF_RIGHT, certainty=0.7),
            "mcc-0": splits(TRUTH, certainty=0.95),
            "joined-0": splits(TRUTH, certainty=0.9),
        }
    )
    joined = replace(pool.candidates[-1], is_ensemble=True)

    selection = select(
        replace(pool, candidates=(*pool.candidates[:-1], joined)), source_labels, gate_params()
    )

    assert selection.chosen == joined
    assert selection.choice.gains["mcc-0"] > selection.choice.gains["joined-0"] > 0
    assert select(pool, source_labels, gate_params()).chosen.name == "mcc-0"


def test_a_crowded_class_is_a_warning_and_no_veto(record, splits, gate_params, source_labels):
    crowded = [0] * 46 + [1] * 7 + [2] * 7
    pool = record({"source_only-0": splits(TRUTH, certainty=0.6), "mcc-0": splits(crowded, certainty=0.99)})

    selection = select(pool, source_labels, gate_params())

    assert selection.chosen.name == "mcc-0"
    assert row_of(selection, "mcc-0").vetoes == ()
    assert selection.warnings[0] == (
        "77 % of its predictions are one class, more than 2 times (gate.max_share_ratio) the 33 % of source-only: look"
        " whether the target is like that"
    )


def test_classes_in_another_order_are_vetoed_however_certain(record, splits, gate_params, source_labels):
    moved = [(c + 1) % 3 for c in TRUTH]
    pool = record({"source_only-0": splits(TRUTH, certainty=0.6), "mcc-0": splits(moved, certainty=0.99)})

    selection = select(pool, source_labels, gate_params())

    assert selection.chosen.name == "source_only-0"
    assert selection.choice.gains["mcc-0"] > 0
    assert row_of(selection, "mcc-0").vetoes == (
        "other classes: it names 0.0 % of the examples as source-only does, far fewer than the 33.3 % of chance",
    )


def test_a_diverged_simplest_adaptation_is_compared_with_nothing(record, splits, gate_params, source_labels):
    pool = record({"source_only-0": splits(HALF_RIGHT), "target_statistics-0": None, "mcc-0": splits(TRUTH)})

    selection = select(pool, source_labels, gate_params())

    assert selection.target_statistics is None
    assert [one.name for one in selection.compared()] == ["source_only-0"]


def test_a_diverged_candidate_is_listed_without_scores(record, splits, gate_params, source_labels):
    pool = record({"source_only-0": splits(HALF_RIGHT), "dann-0": None, "mcc-0": splits(TRUTH)})

    row = row_of(select(pool, source_labels, gate_params()), "dann-0")

    assert row.vetoes == ("broken: training diverged",)
    assert row.scores is row.gain is row.source_accuracy is None
    assert row.diagnostics is None


@pytest.mark.parametrize("split", ["select", "test", "validation"])
@pytest.mark.parametrize("part", [0, 1], ids=["probabilities", "features"])
def test_one_value_that_is_no_number_in_any_split_takes_a_candidate_out(
    record, splits, gate_params, source_labels, split, part
):
    broken = splits(TRUTH)
    broken[split][part][2, 1] = np.nan
    pool = record({"source_only-0": splits(HALF_RIGHT), "mcc-0": broken})

    selection = select(pool, source_labels, gate_params())

    assert selection.chosen.name == "source_only-0"
    assert row_of(selection, "mcc-0").vetoes == ("broken: 1 of its outputs are not finite numbers",)
    assert row_of(selection, "mcc-0").diagnostics is None


def test_source_only_is_kept_with_a_warning_where_it_predicts_few_classes_itself(
    record, splits, gate_params, source_labels
):
    pool = record({"source_only-0": splits([0] * 60), "mcc-0": splits([1] * 60)})

    selection = select(pool, source_labels, gate_params())

    assert selection.chosen.name == "source_only-0"
    row = row_of(selection, "source_only-0")
    assert row.vetoes == ()
    assert row.warnings[0].startswith(
        "source-only itself predicts few classes on this target: they amount to 1.0 of 3."
    )


def test_forgetting_the_source_is_a_warning_and_no_veto(record, splits, gate_params, source_labels):
    forgetful = splits(TRUTH, source=(1, 1, 2) * 10)
    pool = record({"source_only-0": splits(HALF_RIGHT), "mcc-0": forgetful})

    selection = select(pool, source_labels, gate_params(max_source_accuracy_loss=0.1))

    assert selection.chosen.name == "mcc-0"
    row = row_of(selection, "mcc-0")
    assert row.source_accuracy == pytest.approx(2 / 3)
    assert row.warnings == (
        "accuracy on the source is 66.7 %, 33.3 points below source_only-0, more than the 10 points of"
        " gate.max_source_accuracy_loss: do not use it on source examples",
    )
    assert (
        row_of(select(pool, source_labels, gate_params(max_source_accuracy_loss=0.34)), "mcc-0").warnings
        == ()
    )


def test_without_a_source_validation_split_there_is_no_source_accuracy(record, splits, gate_params):
    pairs = {"source_only-0": splits(TRUTH, certainty=0.7), "mcc-0": splits(TRUTH)}
    for split in pairs.values():
        del split["validation"]

    selection = select(record(pairs), {}, gate_params())

    rows = selection.contenders()
    assert selection.target_prior is None
    assert selection.warnings == ()
    assert {row.diagnostics[name] for row in rows for name in ("atc", "pad", "mmd")} == {None}
    assert [row.source_accuracy for row in rows] == [None, None]
    assert [row.warnings for row in rows] == [(), ()]


def test_selection_does_not_depend_on_the_order_of_images(record, splits, gate_params, source_labels):
    plain = select(
        record({"source_only-0": splits(HALF_RIGHT), "mcc-0": splits(TRUTH)}), source_labels, gate_params()
    )
    order = np.random.default_rng(0).permutation(60)

    def shuffled(predicted):
        made = splits(predicted)
        return made | {"select": tuple(part[order] for part in made["select"])}

    again = select(
        record({"source_only-0": shuffled(HALF_RIGHT), "mcc-0": shuffled(TRUTH)}),
        source_labels,
        gate_params(),
    )

    # PAD alone draws halves, of images that stage adapt keeps in the order of their hashes.
    def comparable(selection):
        return [
            row.model_copy(update={"diagnostics": {**row.diagnostics, "pad": None}})
            for row in selection.contenders()
        ]

    assert comparable(again) == comparable(plain)


def test_an_empty_select_split_says_what_to_change(record, splits, gate_params, source_labels):
    made = splits(TRUTH)
    del made["select"]

    with pytest.raises(
        BadInput, match=r"no outputs on a select split.*raise split\.target_select in params\.yaml"
    ):
        select(record({"source_only-0": made}), source_labels, gate_params())


def test_a_pool_without_a_usable_source_only_says_why(record, splits, gate_params, source_labels):
    broken = splits(TRUTH)
    broken["select"][0][0, 0] = np.inf

    with pytest.raises(
        BadInput, match=r"no usable source-only to compare with: none was trained\. Keep source_only in"
    ):
        select(record({"mcc-0": splits(TRUTH)}), source_labels, gate_params())
    with pytest.raises(
        BadInput, match=r"source_only-0 broken: 1 of its outputs are not finite.*lower adapt\.learning"
    ):
        select(record({"source_only-0": broken, "mcc-0": splits(TRUTH)}), source_labels, gate_params())
    with pytest.raises(BadInput, match="source_only-1 broken: training diverged"):
        select(record({"source_only-0": splits(TRUTH), "source_only-1": None}), source_labels, gate_params())


def test_source_images_that_the_manifest_does_not_list_are_refused(record, splits, gate_params):
    with pytest.raises(
        BadInput, match=r"refers to 30 examples \(sha256 [0-9a-f]{12}\.\.\.\) of the source's validation"
    ):
        select(record({"source_only-0": splits(TRUTH)}), {}, gate_params())


# --- what is reported and decides nothing -------------------------------------------------------


def decided(selection):
    """Everything of a selection but the diagnostics."""
    return (
        selection.chosen,
        selection.choice,
        selection.warnings,
        [row.model_copy(update={"diagnostics": None}) for row in selection.contenders()],
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.none() | st.floats(), min_size=24, max_size=24))
def test_diagnostics_never_decide_whatever_their_values_are(
    values, record, splits, gate_params, source_labels
):
    pool = record(
        {
            "source_only-0": splits(HALF_RIGHT, certainty=0.7),
            "dann-0": splits(TRUTH[::-1]),
            "mcc-0": splits(TRUTH),
        }
    )
    honest = select(pool, source_labels, gate_params())
    drawn = iter(values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "diagnose", lambda *_, **__: {name: next(drawn) for name in DIAGNOSTICS})
        again = select(pool, source_labels, gate_params())

    assert next(drawn, "all were used") == "all were used"
    assert decided(again) == decided(honest)


def test_source_outputs_that_change_what_is_reported_change_no_choice(
    record, splits, gate_params, source_labels
):
    made = {"source_only-0": splits(HALF_RIGHT, certainty=0.7), "mcc-0": splits(TRUTH)}
    honest = select(record(made), source_labels, gate_params())
    draw = np.random.default_rng(0)
    for candidate in made.values():
        p_NC, features_ND = candidate["validation"]
        candidate["validation"] = p_NC, draw.standard_normal(features_ND.shape).astype(np.float32)

    again = select(record(made), source_labels, gate_params())

    assert row_of(again, "mcc-0").diagnostics["mmd"] != row_of(honest, "mcc-0").diagnostics["mmd"]
    assert decided(again) == decided(honest)


# --- class shares of the target -----------------------------------------------------------------


def test_class_shares_are_estimated_for_the_candidate_selected(record, splits, gate_params, source_labels):
    mostly_cats = [0, 0, 0, 1, 2] * 12
    pool = record(
        {
            "source_only-0": splits([0, 1] * 30, apart=mostly_cats),
            "mcc-0": splits(mostly_cats, apart=mostly_cats),
        }
    )

    selection = select(pool, source_labels, gate_params())

    assert selection.chosen.name == "mcc-0"
    assert selection.target_prior is not None
    assert selection.target_prior.bbse_C == pytest.approx([0.6, 0.2, 0.2], abs=1e-6)
    assert selection.target_prior.em_C == pytest.approx([0.65, 0.175, 0.175], abs=0.05)
    assert selection.target_prior.source_C.tolist() == [1 / 3, 1 / 3, 1 / 3]


def test_a_given_prior_is_what_predictions_are_held_against(record, splits, gate_params, source_labels):
    mostly_cats = [0] * 52 + [1] * 4 + [2] * 4
    pool = record(
        {
            "source_only-0": splits([0, 0, 1, 1, 2] * 12, apart=mostly_cats, certainty=0.7),
            "mcc-0": splits(mostly_cats, apart=mostly_cats, certainty=0.99),
        }
    )
    prior = {"owl": 0.07, "cat": 0.86, "dog": 0.07}

    without = select(pool, source_labels, gate_params())
    with_it = select(pool, source_labels, gate_params(target_prior=prior, max_prior_divergence=1.0))

    assert with_it.chosen.name == "mcc-0"
    assert row_of(with_it, "mcc-0").vetoes == ()
    # Nearly certain, and nearly as often as the prior says.
    assert row_of(without, "mcc-0").scores["infomax"] < 0.5 < 0.9 < row_of(with_it, "mcc-0").scores["infomax"]
    assert with_it.target_prior is not None
    assert with_it.target_prior.given_C == pytest.approx([0.86, 0.07, 0.07], abs=1e-3)
    assert [warning[:12] for warning in with_it.warnings] == ["it names 58 "]


def test_predictions_far_from_a_given_prior_are_a_warning_and_no_veto(
    record, splits, gate_params, source_labels
):
    pool = record({"source_only-0": splits(HALF_RIGHT, certainty=0.7), "mcc-0": splits(TRUTH)})

    selection = select(
        pool,
        source_labels,
        gate_params(target_prior={"cat": 0.6, "dog": 0.2, "owl": 0.2}, max_prior_divergence=0.05),
    )

    assert selection.chosen.name == "mcc-0"
    assert row_of(selection, "mcc-0").vetoes == ()
    assert "nats from gate.target_prior" in selection.warnings[0]


def test_a_given_prior_of_other_classes_is_refused(record, splits, gate_params, source_labels):
    pool = record({"source_only-0": splits(TRUTH)})

    with pytest.raises(
        ConfigError, match=r"names wolf, which the models do not know and has no share for cat"
    ):
        select(pool, source_labels, gate_params(target_prior={"wolf": 0.5, "dog": 0.25, "owl": 0.25}))


# --- warnings of the candidate selected ---------------------------------------------------------


def test_the_candidate_selected_is_asked_about_and_no_other(record, splits, gate_params, source_labels):
    healthy = select(
        record({"source_only-0": splits(HALF_RIGHT, certainty=0.7), "mcc-0": splits(TRUTH)}),
        source_labels,
        gate_params(),
    )
    unsure = splits(TRUTH)
    unsure["select"][0][:15] = [0.4, 0.35, 0.25]
    cats_alone = splits([0, 2] * 30, apart=[0, 2] * 30)

    baseline = splits(HALF_RIGHT, certainty=0.7)
    baseline["validation"][0][:] = [0.4, 0.35, 0.25]
    doubtful = select(
        record({"source_only-0": baseline, "mcc-0": unsure}),
        source_labels,
        gate_params(),
    )
    partial = select(
        record({"source_only-0": splits([0, 1] * 30, apart=[0, 2] * 30, certainty=0.7), "mcc-0": cats_alone}),
        source_labels,
        gate_params(),
    )

    # Source-only is unsure of every image here. It is not what ships, so no warning mentions it.
    assert healthy.chosen.name == doubtful.chosen.name == partial.chosen.name == "mcc-0"
    assert healthy.warnings == ()
    assert doubtful.warnings[0].startswith("25 % of the target's select examples look like no class")
    assert [warning.split(" ")[0] for warning in partial.warnings] == ["1", "the", "it"]
    assert "dog (0 examples where 20 are expected)" in partial.warnings[0]
    assert "otherwise than source_only-0" in partial.warnings[2]
