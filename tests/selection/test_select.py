import numpy as np
import pytest

from tasks.errors import BadInput
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
    return next(row for row in selection.rows() if row["name"] == name)


def test_the_candidate_that_follows_the_clusters_is_selected_over_source_only(
    record, splits, gate_params, source_labels
):
    pool = record({"source_only-0": splits(HALF_RIGHT, certainty=0.7), "mcc-0": splits(TRUTH)})

    selection = select(pool, source_labels, gate_params())

    assert selection.chosen.name == "mcc-0"
    assert selection.source_only.name == "source_only-0"
    assert row_of(selection, "mcc-0") == {
        "name": "mcc-0",
        "preset": "mcc",
        "seed": 0,
        "route": "cached",
        "checkpoint_sha256": selection.chosen.checkpoint_sha256,
        "scores": row_of(selection, "mcc-0")["scores"],
        "ranks": {"v_measure": 1, "infomax": 1, "ensemble_agreement": 1},
        "rank_sum": 3,
        "vetoes": [],
        "warnings": [],
        "source_accuracy": 1.0,
    }
    assert row_of(selection, "mcc-0")["scores"]["v_measure"] == 1
    assert [row["name"] for row in selection.rows()] == ["source_only-0", "mcc-0"]


def test_scores_are_ranked_as_they_are_written(record, splits, gate_params, source_labels):
    pool = record(
        {
            "source_only-0": splits(HALF_RIGHT),
            "dann-0": splits(TRUTH, certainty=0.8),
            "mmd-0": splits(TRUTH, certainty=0.8 + 1e-8),
        }
    )

    rows = {row["name"]: row for row in select(pool, source_labels, gate_params()).rows()}

    assert rows["dann-0"]["scores"] == rows["mmd-0"]["scores"]
    assert rows["dann-0"]["ranks"] == rows["mmd-0"]["ranks"]
    for row in rows.values():
        assert all(round(score, 6) == score for score in row["scores"].values())


def test_a_collapsed_candidate_is_out_and_does_not_move_the_scores_of_others(
    record, splits, gate_params, source_labels
):
    healthy = {"source_only-0": splits(HALF_RIGHT), "mmd-0": splits(TRUTH)}
    collapsed = {f"dann-{seed}": splits([0] * 60, certainty=1.0) for seed in (0, 1, 2)}
    alone = select(record(healthy), source_labels, gate_params())

    selection = select(record(healthy | collapsed), source_labels, gate_params())

    assert selection.chosen.name == "mmd-0"
    assert row_of(selection, "mmd-0") == row_of(alone, "mmd-0")
    assert row_of(selection, "source_only-0") == row_of(alone, "source_only-0")
    vetoed = row_of(selection, "dann-1")
    assert vetoed["ranks"] is None
    assert vetoed["rank_sum"] is None
    assert vetoed["scores"] is not None
    assert vetoed["vetoes"][0].startswith("collapse: predictions spread over 1.0 of 3 classes")


def test_a_diverged_candidate_is_listed_without_scores(record, splits, gate_params, source_labels):
    pool = record({"source_only-0": splits(HALF_RIGHT), "dann-0": None, "mcc-0": splits(TRUTH)})

    row = row_of(select(pool, source_labels, gate_params()), "dann-0")

    assert row["vetoes"] == ["broken: training diverged"]
    assert row["scores"] is row["ranks"] is row["rank_sum"] is row["source_accuracy"] is None


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
    assert row_of(selection, "mcc-0")["vetoes"] == ["broken: 1 of its outputs are not finite numbers"]


def test_source_only_is_kept_with_a_warning_where_it_looks_collapsed_itself(
    record, splits, gate_params, source_labels
):
    pool = record({"source_only-0": splits([0] * 60), "mcc-0": splits([1] * 60)})

    selection = select(pool, source_labels, gate_params())

    assert selection.chosen.name == "source_only-0"
    row = row_of(selection, "source_only-0")
    assert row["vetoes"] == []
    assert row["warnings"][0].startswith(
        "source-only itself looks collapsed on this target (collapse: predictions"
    )
    assert row_of(selection, "mcc-0")["vetoes"] != []


def test_forgetting_the_source_is_a_warning_and_no_veto(record, splits, gate_params, source_labels):
    forgetful = splits(TRUTH, source=(1, 1, 2) * 10)
    pool = record({"source_only-0": splits(HALF_RIGHT), "mcc-0": forgetful})

    selection = select(pool, source_labels, gate_params(max_source_accuracy_loss=0.1))

    assert selection.chosen.name == "mcc-0"
    row = row_of(selection, "mcc-0")
    assert row["source_accuracy"] == pytest.approx(2 / 3)
    assert row["warnings"] == [
        "source accuracy 0.667 is 0.333 below that of source_only-0, more than gate.max_source_accuracy_loss 0.1:"
        " do not use it on source images"
    ]
    assert (
        row_of(select(pool, source_labels, gate_params(max_source_accuracy_loss=0.34)), "mcc-0")["warnings"]
        == []
    )


def test_without_a_source_validation_split_there_is_no_source_accuracy(record, splits, gate_params):
    pairs = {"source_only-0": splits(HALF_RIGHT), "mcc-0": splits(TRUTH)}
    for split in pairs.values():
        del split["validation"]

    rows = select(record(pairs), {}, gate_params()).rows()

    assert [row["source_accuracy"] for row in rows] == [None, None]
    assert [row["warnings"] for row in rows] == [[], []]


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

    assert again.rows() == plain.rows()


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
        BadInput, match=r"speaks of 30 images \(sha256 [0-9a-f]{12}\.\.\.\) of the source's validation"
    ):
        select(record({"source_only-0": splits(TRUTH)}), {}, gate_params())
