import math

import numpy as np
import pytest

from tasks.errors import ConfigError
from tasks.records.candidates import Outputs
from tasks.records.record import as_json
from tasks.selection.label_shift import (
    TargetPrior,
    bbse,
    confusion,
    em,
    estimate,
    given_prior,
    model_prior,
    sampling_noise,
)

CLASSES = ("cat", "dog", "owl")
EVEN = np.full(3, 1 / 3)
SKEWED = np.array([0.7, 0.2, 0.1])
CONFUSION = np.array([[0.8, 0.3, 0.0], [0.2, 0.6, 0.1], [0.0, 0.1, 0.9]])
"""Column: true class; row: predicted."""


def images_of(shares: np.ndarray, num_images: int, seed: int) -> tuple[Outputs, np.ndarray]:
    """Outputs of a perfectly calibrated model of even classes over normal images, and what they show.

    The classes are normal around three corners: their posterior under even shares is known exactly.
    """
    draw = np.random.default_rng(seed)
    labels = draw.permutation(np.repeat(np.arange(3), np.round(shares * num_images).astype(int)))
    points = 1.5 * np.eye(3)[labels] + draw.standard_normal((len(labels), 3))
    likelihoods = np.exp(1.5 * points)
    probabilities = likelihoods / likelihoods.sum(axis=1, keepdims=True)
    return Outputs(probabilities.astype(np.float32), points, tuple(map(str, range(len(labels))))), labels


def prior_of(target: np.ndarray, given: np.ndarray | None = None, num_images: int = 3000) -> TargetPrior:
    source, labels = images_of(EVEN, 3000, seed=0)
    return estimate(images_of(target, num_images, seed=1)[0], source, labels, CLASSES, given)


# --- BBSE ---------------------------------------------------------------------------------------


def test_confusion_is_by_true_class_in_the_columns():
    predicted, labels = np.array([0, 1, 1, 2, 0]), np.array([0, 0, 1, 2, 2])

    found = confusion(predicted, labels, 3)

    assert found is not None
    assert found.tolist() == [[0.5, 0, 0.5], [0.5, 1, 0], [0, 0, 0.5]]
    assert confusion(np.array([0, 1]), np.array([0, 1]), 3) is None


def test_bbse_recovers_the_shares_that_made_the_predictions():
    assert bbse(CONFUSION, CONFUSION @ SKEWED) == pytest.approx(SKEWED, abs=1e-6)
    assert bbse(np.eye(3), SKEWED) == pytest.approx(SKEWED, abs=1e-6)


def test_bbse_is_what_inverting_the_matrix_gives_wherever_that_is_possible_at_all():
    draw = np.random.default_rng(0)
    for _ in range(20):
        matrix = draw.dirichlet(np.ones(4), size=4).T * 0.4 + 0.6 * np.eye(4)
        predicted = matrix @ draw.dirichlet(np.ones(4))

        assert bbse(matrix, predicted) == pytest.approx(np.linalg.solve(matrix, predicted), abs=1e-6)


def test_bbse_gives_shares_also_where_the_inverse_has_negative_ones():
    predicted = np.array([0.05, 0.0, 0.95])
    assert np.linalg.solve(CONFUSION, predicted).min() < 0

    shares = bbse(CONFUSION, predicted)

    assert shares is not None
    assert shares.min() >= 0
    assert shares.sum() == pytest.approx(1)
    # The nearest of all shares, by brute force over a grid.
    grid = [np.array([a, b, 100 - a - b]) / 100 for a in range(101) for b in range(101 - a)]
    best = min(grid, key=lambda q: ((CONFUSION @ q - predicted) ** 2).sum())
    assert shares == pytest.approx(best, abs=0.01)


def test_bbse_says_nothing_where_two_classes_are_predicted_alike():
    alike = np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.1], [0.0, 0.0, 0.9]])

    assert bbse(alike, EVEN) is None
    assert bbse(alike + 0.02 * np.array([[1, -1, 0], [-1, 1, 0], [0, 0, 0]]), EVEN) is None
    assert bbse(alike + 0.2 * np.array([[1, -1, 0], [-1, 1, 0], [0, 0, 0]]), EVEN) is not None


def test_estimates_do_not_depend_on_the_order_of_classes():
    order = [2, 0, 1]
    p = images_of(SKEWED, 300, 0)[0].probabilities_NC

    assert bbse(CONFUSION[np.ix_(order, order)], (CONFUSION @ SKEWED)[order]) == pytest.approx(
        SKEWED[order], abs=1e-6
    )
    assert em(p[:, order], EVEN) == pytest.approx(em(p, EVEN)[order])


# --- EM -----------------------------------------------------------------------------------------


def em_by_hand(p: np.ndarray, prior: np.ndarray, rounds: int) -> list[float]:
    shares = prior.tolist()
    for _ in range(rounds):
        posteriors = []
        for row in p.tolist():
            weighed = [row[c] * shares[c] / prior[c] for c in range(len(shares))]
            posteriors.append([w / sum(weighed) for w in weighed])
        shares = [sum(row[c] for row in posteriors) / len(p) for c in range(len(shares))]
    return shares


def test_em_is_the_published_iteration_at_its_fixed_point():
    p = images_of(SKEWED, 100, 0)[0].probabilities_NC.astype(np.float64)

    assert em(p, EVEN) == pytest.approx(em_by_hand(p, EVEN, 300), abs=1e-4)


def test_em_recovers_the_shares_under_a_calibrated_model():
    assert em(images_of(SKEWED, 5000, 0)[0].probabilities_NC, EVEN) == pytest.approx(SKEWED, abs=0.03)
    # The mean prediction alone is drawn towards the model's own shares.
    assert abs(images_of(SKEWED, 5000, 0)[0].probabilities_NC.mean(axis=0)[0] - 0.7) > 0.1


def test_em_of_certain_predictions_is_the_predicted_share(confident):
    certain = confident([0] * 6 + [1] * 3 + [2], 1.0)

    assert em(certain, EVEN) == pytest.approx([0.6, 0.3, 0.1])


def test_em_leaves_the_models_own_prior_where_predictions_average_to_it():
    p = images_of(EVEN, 600, 0)[0].probabilities_NC.astype(np.float64)

    assert em(p, p.mean(axis=0)) == pytest.approx(p.mean(axis=0))


def test_the_prior_of_a_model_is_found_whatever_the_source_it_is_asked_about():
    # The model is calibrated for even classes; its source has mostly cats.
    skewed, labels = images_of(SKEWED, 20_000, 0)

    assert model_prior(skewed.probabilities_NC, labels) == pytest.approx(EVEN, abs=0.03)
    even, even_labels = images_of(EVEN, 20_000, 1)
    assert model_prior(even.probabilities_NC, even_labels) == pytest.approx(EVEN, abs=0.03)


def test_both_estimates_find_the_sources_own_shares_on_the_source_however_biased_the_model_is():
    source, labels = images_of(SKEWED, 900, 0)
    biased = source.probabilities_NC * [0.3, 1.0, 2.0]
    biased = Outputs(biased / biased.sum(axis=1, keepdims=True), source.features_ND, source.sha256_N)

    prior = estimate(biased, biased, labels, CLASSES, given_C=None)

    assert prior.bbse_C == pytest.approx(prior.source_C, abs=1e-6)
    assert prior.em_C == pytest.approx(prior.source_C, abs=1e-3)


def test_certain_predictions_that_err_do_not_drive_the_prior_of_a_model_out_of_bounds(confident):
    prior = model_prior(confident([0] * 20 + [1] * 10, 1.0), np.array([0, 1, 2] * 10))

    assert prior.sum() == pytest.approx(1)
    assert prior.min() > 0.001


def test_a_class_without_an_image_in_the_source_validation_split_keeps_a_small_share(confident):
    source = Outputs(confident([0, 1] * 10), np.zeros((20, 2)), ("",) * 20)
    target = Outputs(confident([2] * 20), np.zeros((20, 2)), ("",) * 20)

    prior = estimate(target, source, np.array([0, 1] * 10), CLASSES, given_C=None)

    assert prior.bbse_C is None
    assert prior.em_C[2] > 0.9


def test_em_takes_classes_that_the_model_never_predicts(confident):
    two = confident([0, 1, 1, 1], 1.0, num_classes=2)
    p = np.hstack([two, np.zeros((4, 1), np.float32)])

    assert em(p, np.array([0.5, 0.5, 0.0])) == pytest.approx([0.25, 0.75, 0])
    # An image that only the class without a prior explains is left out.
    assert em(np.vstack([p, [[0, 0, 1]]]), np.array([0.5, 0.5, 0.0])) == pytest.approx([0.25, 0.75, 0])
    assert em(np.array([[0.0, 0.0, 1.0]]), np.array([0.5, 0.5, 0.0])) == pytest.approx([0.5, 0.5, 0])


# --- both, and the warning ----------------------------------------------------------------------


def test_both_estimates_recover_a_known_shift_and_the_warning_names_it():
    prior = prior_of(SKEWED)

    assert prior.bbse_C == pytest.approx(SKEWED, abs=0.05)
    assert prior.em_C == pytest.approx(SKEWED, abs=0.05)
    assert prior.estimated == pytest.approx((prior.bbse_C + prior.em_C) / 2)
    assert prior.total_variation == pytest.approx(0.7 - 1 / 3, abs=0.05)
    (warning,) = prior.warnings()
    assert warning.startswith("the classes of the target seem to be distributed unlike the source: total")
    assert "cat from 33 % to " in warning
    assert "write them to gate.target_prior in params.yaml" in warning


def test_an_unshifted_target_gives_no_warning():
    prior = prior_of(EVEN)

    assert prior.estimated == pytest.approx(EVEN, abs=0.04)
    assert prior.warnings() == []


def test_few_images_of_many_classes_do_not_warn_of_what_chance_does():
    # 30 classes and 60 images: two samples of the same shares differ by .3 in total variation.
    draw = np.random.default_rng(0)
    perfect = [
        Outputs(np.eye(30, dtype=np.float32)[labels], np.zeros((60, 1)), ("",) * 60)
        for labels in (np.repeat(np.arange(30), 2), draw.integers(0, 30, 60))
    ]

    prior = estimate(
        perfect[1], perfect[0], np.repeat(np.arange(30), 2), [str(c) for c in range(30)], given_C=None
    )

    assert prior.total_variation > 0.25
    assert prior.warnings() == []


def test_what_sampling_leaves_is_the_total_variation_of_two_samples():
    draw = np.random.default_rng(0)
    shares = np.array([0.5, 0.3, 0.15, 0.05])
    first, second = draw.multinomial(200, shares, 4000) / 200, draw.multinomial(80, shares, 4000) / 80

    expected = np.abs(first - second).sum(axis=1).mean() / 2

    assert sampling_noise(shares, 1 / 200 + 1 / 80) == pytest.approx(expected, rel=0.03)


def test_a_given_prior_is_what_the_estimate_is_compared_with():
    assert prior_of(SKEWED, given=SKEWED).warnings() == []
    (warning,) = prior_of(EVEN, given=SKEWED).warnings()
    assert "distributed unlike gate.target_prior: total variation" in warning
    assert "Check gate.target_prior in params.yaml" in warning


def test_the_bound_itself_is_no_warning():
    def prior(first: float) -> TargetPrior:
        found = np.array([first, 1 - first])
        return TargetPrior(("cat", "dog"), np.array([0.5, 0.5]), None, None, found, noise=0.05)

    assert prior(0.75).warnings() == []
    assert len(prior(0.7501).warnings()) == 1


def test_the_row_of_selection_json_holds_both_estimates_by_class():
    row = TargetPrior(
        ("cat", "dog"), np.array([0.5, 0.5]), None, np.array([0.9, 0.1]), np.array([0.7, 0.3]), noise=0.1
    ).record()

    assert as_json(row) == {
        "total_variation": pytest.approx(0.3),
        "max_total_variation": pytest.approx(0.3),
        "classes": (
            {"class": "cat", "source": 0.5, "given": None, "estimated": 0.8, "bbse": 0.9, "em": 0.7},
            {"class": "dog", "source": 0.5, "given": None, "estimated": 0.2, "bbse": 0.1, "em": 0.3},
        ),
    }


def test_without_bbse_the_estimate_is_that_of_em():
    prior = TargetPrior(("cat", "dog"), np.array([0.5, 0.5]), None, None, np.array([0.7, 0.3]), noise=0.0)

    assert prior.estimated.tolist() == [0.7, 0.3]
    assert prior.record().classes[0].bbse is None


# --- a given prior ------------------------------------------------------------------------------


def test_a_given_prior_is_put_in_the_order_of_the_classes_and_sums_to_one():
    assert given_prior(None, CLASSES) is None
    assert given_prior({"owl": 0.1, "cat": 0.7, "dog": 0.2}, CLASSES) == pytest.approx([0.7, 0.2, 0.1])
    rounded = given_prior({"cat": 0.33, "dog": 0.33, "owl": 0.33}, CLASSES)
    assert rounded is not None
    assert math.fsum(rounded) == pytest.approx(1)


def test_a_given_prior_of_other_classes_says_which_and_what_to_do():
    with pytest.raises(
        ConfigError,
        match=r"gate\.target_prior in params\.yaml names wolf, which the models do not know and has no share for"
        r" dog, owl\. The classes are cat, dog, owl: give each a share, 0 for one",
    ):
        given_prior({"cat": 0.5, "wolf": 0.5}, CLASSES)
