import numpy as np
import pytest

from tasks.engine.closed_forms import NEVER, fit_head


@pytest.fixture
def separable():
    rng = np.random.default_rng(0)
    labels_N = np.arange(90) % 3
    return 3 * np.eye(3, 5)[labels_N] + rng.normal(0, 0.3, (90, 5)), labels_N


def test_a_head_names_separable_rows_rightly_in_probabilities_that_sum_to_one(separable):
    features_ND, labels_N = separable

    said_NC = fit_head(features_ND, labels_N, num_classes=3, penalty=1.0).probabilities(features_ND)

    assert (said_NC.argmax(axis=1) == labels_N).all()
    assert np.allclose(said_NC.sum(axis=1), 1)


@pytest.mark.parametrize("present", [(1,), (0, 2), (0, 1, 2)])
def test_classes_without_a_row_are_never_predicted_and_keep_their_place(separable, present):
    features_ND, labels_N = separable
    mine_N = np.isin(labels_N, present)

    head = fit_head(features_ND[mine_N], labels_N[mine_N], num_classes=4, penalty=1.0)

    said_N = head.probabilities(features_ND[mine_N]).argmax(axis=1)
    assert (said_N == labels_N[mine_N]).all()
    assert set(np.flatnonzero(head.bias_C == NEVER)) == set(range(4)) - set(present)


def test_a_row_without_weight_is_as_good_as_none(separable):
    features_ND, labels_N = separable
    wrong_ND, wrong_N = np.full((5, 5), 3.0), np.zeros(5, dtype=int)

    with_wrong = fit_head(
        np.concatenate([features_ND, wrong_ND]),
        np.concatenate([labels_N, wrong_N]),
        num_classes=3,
        penalty=0.1,
        weights_N=np.concatenate([np.ones(90), np.full(5, 1e-12)]),
    )

    alone = fit_head(features_ND, labels_N, num_classes=3, penalty=0.1)
    assert np.allclose(with_wrong.weight_DC, alone.weight_DC, atol=1e-2)
