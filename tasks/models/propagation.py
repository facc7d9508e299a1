"""Balanced propagation: class probabilities of a target, spread over its own neighbours.

A classifier that was trained elsewhere is often wrong on one example and right on most of those that look like it.
So its probabilities are brought to even class shares, and every example then takes the mean of its neighbours'. The
balance is what makes it work: without it the class that is predicted most often swallows the others. It is no claim
about the shares of the target.

Shape suffixes: N = examples of the target, B = those of a block, M = those that it is compared with, D = feature width,
C = classes (or cells, of :func:`nearest_in_cells`), K = neighbours.
"""

from typing import NamedTuple

import numpy as np
from scipy import sparse
from sklearn.cluster import MiniBatchKMeans
from threadpoolctl import threadpool_limits

NEIGHBOURS = 10
"""Neighbours of every example in the graph."""

TO_NEIGHBOURS = 0.9
"""Weight of the neighbours in every round; the rest is the example's own."""

ROUNDS = 60
"""Rounds of propagation: 0.9 ** 60 is 0.2 %."""

POWER = 3
"""Similarities to this power are the weights of the graph, as in Iscen and others."""

BALANCING_ROUNDS = 100

SMALLEST = 1e-12
"""Added to probabilities, so that a class that nothing is predicted as can be balanced too."""

ROWS_AT_ONCE = 2048
"""Rows of the matrix of similarities that are held at once."""

MOST_EXACT = 50_000
"""Up to so many examples every pair is compared. Beyond them that would take hours."""

PROBES = 24
"""Cells that an example is compared with where there are more examples: its own and the nearest others."""


class Neighbours(NamedTuple):
    """The most similar other examples of each example."""

    numbers_NK: np.ndarray
    similarities_NK: np.ndarray
    """Cosines, those below 0 raised to 0."""


def balanced_propagation(
    features_ND: np.ndarray, probabilities_NC: np.ndarray, labels_N: np.ndarray | None = None
) -> np.ndarray:
    """Class probabilities of every example after propagation, shape ``(N, C)``, in float64.

    Args:
        features_ND: Features of the target, in which neighbours are alike. Standardised ones do best.
        probabilities_NC: Predictions for the same examples, rows summing to 1.
        labels_N: Class numbers of examples whose class is known, -1 for the others; ``None`` where none is. They
            speak with certainty, and the balance is made without them.

    References:
        Zhou et al., "Learning with Local and Global Consistency", NeurIPS 2003; the graph as in Iscen et al.,
        "Label Propagation for Deep Semi-supervised Learning", CVPR 2019; the balance after Asano, Rupprecht and
        Vedaldi, "Self-labelling via Simultaneous Clustering and Representation Learning", ICLR 2020. Weights of
        classes and examples, and the training of the network between rounds, are left out.
    """
    start_NC = probabilities_NC.astype(np.float64)
    is_known_N = np.zeros(len(start_NC), dtype=bool) if labels_N is None else labels_N >= 0
    start_NC[~is_known_N] = balance(start_NC[~is_known_N])
    if labels_N is not None:
        start_NC[is_known_N] = np.eye(start_NC.shape[1])[labels_N[is_known_N]]
    graph_NN = graph(nearest(features_ND, num=min(NEIGHBOURS, len(features_ND) - 1)))
    return propagate(graph_NN, start_NC)


def balance(probabilities_NC: np.ndarray) -> np.ndarray:
    """The nearest probabilities whose mean is even over the classes, shape ``(N, C)``, rows summing to 1.

    References:
        Cuturi, "Sinkhorn Distances", NeurIPS 2013: rows and columns are scaled in turn.
    """
    balanced_NC = probabilities_NC.astype(np.float64) + SMALLEST
    num_examples, num_classes = balanced_NC.shape
    for _ in range(BALANCING_ROUNDS):
        balanced_NC *= num_examples / num_classes / balanced_NC.sum(axis=0)
        balanced_NC /= balanced_NC.sum(axis=1, keepdims=True)
    return balanced_NC


def nearest(features_ND: np.ndarray, *, num: int) -> Neighbours:
    """The ``num`` most similar other rows of every row by cosine, those of one row in their order.

    Beyond :data:`MOST_EXACT` rows a few of them are missed.
    """
    lengths_N1 = np.linalg.norm(features_ND, axis=1, keepdims=True)
    directions_ND = np.divide(
        features_ND, lengths_N1, out=np.zeros(features_ND.shape, np.float32), where=lengths_N1 > 0
    )
    # One thread: the order in which several add up their sums is not fixed, and results must be.
    with threadpool_limits(limits=1):
        if len(directions_ND) <= MOST_EXACT:
            return _nearest_of_all(directions_ND, num=num)
        return nearest_in_cells(directions_ND, num=num)


def _nearest_of_all(directions_ND: np.ndarray, *, num: int) -> Neighbours:
    everything_N = np.arange(len(directions_ND))
    blocks = [everything_N[start : start + ROWS_AT_ONCE] for start in everything_N[::ROWS_AT_ONCE]]
    parts = [_nearest_among(directions_ND, rows_B, directions_ND, everything_N, num=num) for rows_B in blocks]
    return Neighbours(*map(np.concatenate, zip(*parts, strict=True)))


def nearest_in_cells(directions_ND: np.ndarray, *, num: int) -> Neighbours:
    """As :func:`nearest`, but the rows of a cell are compared with those of the cells around it alone.

    The cells are those of k-means, as many as the square root of the rows. The work grows with ``N ** 1.5``.

    Args:
        directions_ND: Rows of length 1.
        num: Neighbours of each.

    References:
        The inverted file of Jegou, Douze and Schmid, "Product Quantization for Nearest Neighbor Search", 2011, without
        the quantization; a cell is searched as a whole, with the cells around its centre.
    """
    kmeans = MiniBatchKMeans(
        n_clusters=int(np.sqrt(len(directions_ND))), random_state=0, n_init="auto", batch_size=ROWS_AT_ONCE
    )
    cell_N = kmeans.fit_predict(directions_ND)
    centres_CD = np.asarray(kmeans.cluster_centers_)
    members = [np.flatnonzero(cell_N == cell) for cell in range(len(centres_CD))]
    order_CC = np.argsort(-(centres_CD @ centres_CD.T), axis=1, kind="stable")
    numbers_NK = np.empty((len(directions_ND), num), dtype=np.int64)
    similarities_NK = np.empty((len(directions_ND), num), dtype=np.float32)
    for cell, mine in enumerate(members):
        around_M = np.sort(_around(members, cell, order_CC[cell], least=num + 1))
        around_MD = directions_ND[around_M]
        for start in range(0, len(mine), ROWS_AT_ONCE):
            rows_B = mine[start : start + ROWS_AT_ONCE]
            found = _nearest_among(directions_ND, rows_B, around_MD, around_M, num=num)
            numbers_NK[rows_B], similarities_NK[rows_B] = found
    return Neighbours(numbers_NK, similarities_NK)


def _around(members: list[np.ndarray], cell: int, order_C: np.ndarray, *, least: int) -> np.ndarray:
    """The rows of a cell and of the cells nearest to it: :data:`PROBES`, or more until there are ``least`` rows."""
    parts, count = [members[cell]], len(members[cell])
    for number in order_C[order_C != cell]:
        if len(parts) >= PROBES and count >= least:
            break
        parts.append(members[number])
        count += len(members[number])
    return np.concatenate(parts)


def _nearest_among(
    directions_ND: np.ndarray, rows_B: np.ndarray, others_MD: np.ndarray, others_M: np.ndarray, *, num: int
) -> Neighbours:
    """The most similar rows to ``rows_B`` out of ``others_M``, which are ``others_MD``; never a row itself."""
    block_BM = directions_ND[rows_B] @ others_MD.T
    block_BM[rows_B[:, None] == others_M] = -np.inf
    found_BK = np.argpartition(-block_BM, num - 1, axis=1)[:, :num]
    found_BK.sort(axis=1)
    similarities_BK = np.take_along_axis(block_BM, found_BK, axis=1)
    return Neighbours(others_M[found_BK], np.maximum(similarities_BK, 0.0))


def graph(neighbours: Neighbours) -> sparse.csr_matrix:
    """The symmetric graph of neighbours, normalised by degree: ``D^-1/2 (W + W^T) D^-1/2``, shape ``(N, N)``."""
    numbers_NK, similarities_NK = neighbours
    num_examples, num = numbers_NK.shape
    rows = np.repeat(np.arange(num_examples), num)
    weights = similarities_NK.ravel().astype(np.float64) ** POWER
    directed = sparse.csr_matrix((weights, (rows, numbers_NK.ravel())), shape=(num_examples, num_examples))
    both_NN = directed + directed.T
    degrees_N = np.asarray(both_NN.sum(axis=1)).ravel()
    scale_N = np.divide(1.0, np.sqrt(degrees_N), out=np.zeros(num_examples), where=degrees_N > 0)
    scaling_NN = sparse.diags(scale_N)
    return sparse.csr_matrix(scaling_NN @ both_NN @ scaling_NN)


def propagate(graph_NN: sparse.csr_matrix, probabilities_NC: np.ndarray) -> np.ndarray:
    """``F <- .9 S F + .1 P``, :data:`ROUNDS` times from ``F = P``; rows of the result sum to 1."""
    spread_NC = probabilities_NC
    for _ in range(ROUNDS):
        spread_NC = TO_NEIGHBOURS * (graph_NN @ spread_NC) + (1 - TO_NEIGHBOURS) * probabilities_NC
    return spread_NC / spread_NC.sum(axis=1, keepdims=True)
