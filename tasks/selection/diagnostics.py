"""Label-free numbers of a candidate that are reported and decide nothing.

Each was proposed for selection, and each has been seen to pick a collapsed or a misaligned model over a
good one, so ``tasks.selection.choose`` never sees them. They stand in the report for a reader who
compares runs, or who looks for the reason why a candidate went wrong.

Pure functions of arrays. The only labels among them are the source's.

Shape suffixes: S = source rows, T = target rows, N = S + T or rows of one domain, C = classes,
D = bottleneck width.
"""

import numpy as np
from threadpoolctl import threadpool_limits

from tasks.records.candidates import Outputs
from tasks.selection.scores import entropy, unit_rows, v_measure

DIAGNOSTICS = ("v_measure", "negative_entropy", "bnm", "snd", "rankme", "atc", "pad", "mmd")
"""Their names in selection.json."""

MAX_ROWS = 1000
"""Images of a domain that are looked at: some of the numbers cost the square of it."""

SND_TEMPERATURE = 0.05
"""Temperature of the softmax over similarities, as published."""

MMD_KERNELS = 5
"""Widths of the Gaussian kernel, as in the loss ``mmd``: 2**-3 to 2**1 times the usual one."""


def diagnose(
    target: Outputs, source: Outputs | None, source_right_S: np.ndarray | None, *, seed: int
) -> dict[str, float | None]:
    """Every diagnostic of one candidate, by the names in ``DIAGNOSTICS``.

    Args:
        target: Its outputs on the target's select split, finite.
        source: Its outputs on the source's validation split; ``None`` where that is empty.
        source_right_S: Which images of that split it names rightly.
        seed: Draws ``MAX_ROWS`` rows where there are more, and the halves of PAD.

    Returns:
        ``None`` for what cannot be computed: without a source validation split ATC, PAD and MMD, with
        fewer than two images what compares pairs, with fewer than four of a domain PAD.
    """
    target_rows = _draw(len(target.sha256_N), MAX_ROWS, seed)
    p_NC, directions_TD = target.probabilities_NC[target_rows], unit_rows(target.features_ND[target_rows])
    found: dict[str, float | None] = dict.fromkeys(DIAGNOSTICS)
    # One thread: the order in which several add up their sums is not fixed, and results must be.
    with threadpool_limits(limits=1):
        found["v_measure"] = v_measure(p_NC, directions_TD, seed=seed)
        found["negative_entropy"] = negative_entropy(p_NC)
        found["bnm"] = bnm(p_NC)
        found["rankme"] = rankme(directions_TD)
        if len(p_NC) > 1:
            found["snd"] = snd(p_NC)
        if source is None or source_right_S is None:
            return found
        found["atc"] = atc(source.probabilities_NC, source_right_S, p_NC)
        source_rows = _draw(len(source.sha256_N), MAX_ROWS, seed)
        directions_SD = unit_rows(source.features_ND[source_rows])
        smaller = min(len(directions_SD), len(directions_TD))
        if smaller > 1:
            found["mmd"] = squared_mmd(directions_SD, directions_TD)
        if smaller > 3:
            found["pad"] = proxy_a_distance(directions_SD, directions_TD, seed=seed)
    return found


def negative_entropy(probabilities_NC: np.ndarray) -> float:
    """Minus the mean entropy of the predictions in nats, in ``[-ln C, 0]``; 0 where all are certain.

    Best where a model has collapsed onto one class.
    """
    return -float(entropy(probabilities_NC.astype(np.float64)).mean()) + 0.0


def bnm(probabilities_NC: np.ndarray) -> float:
    """Nuclear norm of the prediction matrix as a share of its largest possible value, in ``(0, 1]``.

    High where predictions are certain and spread over many classes: the largest value,
    ``sqrt(N * min(N, C))``, needs both.

    References:
        Cui et al., "Towards Discriminability and Diversity: Batch Nuclear-norm Maximization", CVPR 2020.
        The scale is ours.
    """
    singular_values = np.linalg.svd(probabilities_NC.astype(np.float64), compute_uv=False)
    return float(singular_values.sum() / np.sqrt(len(probabilities_NC) * min(probabilities_NC.shape)))


def snd(probabilities_NC: np.ndarray) -> float:
    """Soft neighbourhood density: mean entropy of each prediction's similarities to all the others, in nats.

    In ``[0, ln(N - 1)]``, high where every prediction has many near neighbours, which is also what one big
    collapsed cluster looks like. A prediction is no neighbour of its own: with the diagonal kept, each row
    would be dominated by itself.

    Args:
        probabilities_NC: Predictions, shape ``(N, C)``, ``N >= 2``.

    References:
        Saito et al., "Tune it the Right Way: Unsupervised Validation of Domain Adaptation via Soft
        Neighborhood Density", ICCV 2021.
    """
    directions_NC = unit_rows(probabilities_NC)
    similarities_NN = directions_NC @ directions_NC.T / SND_TEMPERATURE
    np.fill_diagonal(similarities_NN, -np.inf)
    weights_NN = np.exp(similarities_NN - similarities_NN.max(axis=1, keepdims=True))
    weights_NN /= weights_NN.sum(axis=1, keepdims=True)
    return float(entropy(weights_NN).mean())


def rankme(features_ND: np.ndarray) -> float:
    """Effective rank of the features: exp of the entropy of their singular values, in ``[1, min(N, D)]``.

    0 where every feature is zero. Not centred, as published.

    References:
        Garrido et al., "RankMe: Assessing the Downstream Performance of Pretrained Self-Supervised
        Representations by Their Rank", ICML 2023. Their epsilon is left out: 0 log 0 is 0 here.
    """
    singular_values = np.linalg.svd(features_ND.astype(np.float64), compute_uv=False)
    total = singular_values.sum()
    return float(np.exp(entropy(singular_values / total))) if total > 0 else 0.0


def atc(source_SC: np.ndarray, source_right_S: np.ndarray, target_TC: np.ndarray) -> float:
    """Average thresholded confidence: an estimate of the target accuracy, in ``[0, 1]``, off by 10-30 points.

    Confidence is the negative entropy. The threshold leaves as many source validation images below it as
    are named wrongly there; the estimate is the share of target images that are not below it.

    Args:
        source_SC: Predictions on the source's validation split.
        source_right_S: Which of them are right.
        target_TC: Predictions on the target.

    References:
        Garg et al., "Leveraging Unlabeled Data to Predict Out-of-Distribution Performance", ICLR 2022.
        Their temperature scaling on the source is left out.
    """
    confidence_S = np.sort(-entropy(source_SC.astype(np.float64)))
    num_wrong = int((~source_right_S).sum())
    if num_wrong == len(confidence_S):
        return 0.0
    return float((-entropy(target_TC.astype(np.float64)) >= confidence_S[num_wrong]).mean())


def proxy_a_distance(source_SD: np.ndarray, target_TD: np.ndarray, *, seed: int) -> float:
    """``2 (1 - 2 error)`` of a linear classifier that tells the domains apart, in ``[0, 2]``.

    0 where it cannot, 2 where it never errs, as it mostly is before adaptation. Equally many rows of either
    domain, or the larger one would be guessed; each half is named by a classifier fitted on the other, or
    there would always be a plane between few points of many dimensions; an error above one half counts as
    one half.

    The classifier is ridge regression on the standardised features, which has one solution and no
    iterations to run out of.

    Args:
        source_SD: Features, shape ``(S, D)``, ``S >= 4``.
        target_TD: Features, shape ``(T, D)``, ``T >= 4``.
        seed: Draws the rows and the halves.

    References:
        Ben-David et al., "Analysis of Representations for Domain Adaptation", NIPS 2006.
    """
    num_each = min(len(source_SD), len(target_TD)) // 2 * 2
    features_ND = np.concatenate(
        [rows_ND[_shuffled(len(rows_ND), seed)[:num_each]] for rows_ND in (source_SD, target_TD)]
    ).astype(np.float64)
    sides_N = np.repeat([-1.0, 1.0], num_each)
    is_first_N = np.arange(2 * num_each) % 2 == 0
    num_wrong = sum(
        int(
            (_ridge(features_ND[fitted], sides_N[fitted], features_ND[~fitted]) * sides_N[~fitted] <= 0).sum()
        )
        for fitted in (is_first_N, ~is_first_N)
    )
    return 2 * (1 - 2 * min(num_wrong / len(sides_N), 0.5))


def squared_mmd(source_SD: np.ndarray, target_TD: np.ndarray) -> float:
    """Unbiased squared maximum mean discrepancy under a mean of five Gaussian kernels, in ``[-2, 2]``.

    About 0 for equal distributions, and it can fall below. The quadratic U-statistic: no point's kernel
    with itself is counted. The formula is that of the loss ``mmd``, in arrays: what selects must not need
    torch.

    Args:
        source_SD: Features, shape ``(S, D)``, ``S >= 2``.
        target_TD: Features, shape ``(T, D)``, ``T >= 2``; ``T`` need not equal ``S``.

    References:
        Gretton et al., "A Kernel Two-Sample Test", JMLR 13 (2012).
    """
    num_source, joint_ND = len(source_SD), np.concatenate([source_SD, target_TD]).astype(np.float64)
    centred_ND = joint_ND - joint_ND.mean(axis=0)
    norms2_N = (centred_ND**2).sum(axis=1)
    distance2_NN = np.maximum(norms2_N[:, None] + norms2_N[None] - 2 * centred_ND @ centred_ND.T, 0.0)
    np.fill_diagonal(distance2_NN, 0.0)
    mean_distance2 = distance2_NN.sum() / (len(joint_ND) * (len(joint_ND) - 1))
    if mean_distance2 == 0:
        return 0.0
    # The widest kernel costs an exponential; each kernel half as wide is the square of the one before.
    kernel_NN = np.exp(-distance2_NN / (2 ** (MMD_KERNELS // 2) * mean_distance2))
    total_NN = kernel_NN.copy()
    for _ in range(MMD_KERNELS - 1):
        np.square(kernel_NN, out=kernel_NN)
        total_NN += kernel_NN
    total_NN /= MMD_KERNELS
    within_source = _off_diagonal_mean(total_NN[:num_source, :num_source])
    within_target = _off_diagonal_mean(total_NN[num_source:, num_source:])
    return float(within_source + within_target - 2 * total_NN[:num_source, num_source:].mean())


def _draw(num_rows: int, most: int, seed: int) -> np.ndarray:
    """All rows, or ``most`` of them drawn without replacement, in their order."""
    return np.arange(num_rows) if num_rows <= most else np.sort(_shuffled(num_rows, seed)[:most])


def _shuffled(num_rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(num_rows)


def _ridge(fitted_ND: np.ndarray, sides_N: np.ndarray, asked_ND: np.ndarray) -> np.ndarray:
    """The predictions of ridge regression, fitted to the sides -1 and 1, for the rows asked about; the sign is the side."""
    mean_D, spread_D = fitted_ND.mean(axis=0), fitted_ND.std(axis=0)
    scale_D = np.divide(1.0, spread_D, out=np.zeros_like(spread_D), where=spread_D > 0)
    fitted_ND, asked_ND = (fitted_ND - mean_D) * scale_D, (asked_ND - mean_D) * scale_D
    # A penalty of the same weight as one standardised feature; the sides are balanced, so no intercept.
    num_rows, num_features = fitted_ND.shape
    if num_features <= num_rows:
        gram_DD = fitted_ND.T @ fitted_ND / num_rows + np.eye(num_features)
        return asked_ND @ np.linalg.solve(gram_DD, fitted_ND.T @ sides_N / num_rows)
    # The same from the smaller of the two matrices: an ensemble's features are wide.
    gram_NN = fitted_ND @ fitted_ND.T / num_rows + np.eye(num_rows)
    return asked_ND @ (fitted_ND.T @ np.linalg.solve(gram_NN, sides_N / num_rows))


def _off_diagonal_mean(square_NN: np.ndarray) -> float:
    n = len(square_NN)
    return (square_NN.sum() - np.trace(square_NN)) / (n * (n - 1))
