"""Area under the ROC curve: the chance that a slice of one kind scores above one of another; ties count a half."""

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


def compute_auc(positive: Vector, negative: Vector) -> float:
    """AUC of the scores of two kinds, (n,) and (m,)."""
    is_positive = np.repeat([1, 0], [len(positive), len(negative)])
    scores = np.concatenate([positive, negative])
    return float(compute_weighted_auc(scores, is_positive, np.ones((1, len(scores))))[0])


def compute_weighted_auc(scores: Vector, is_positive: NDArray[np.int64], weights: Vector) -> Vector:
    """AUC (replicates,) of scores (n,) under each row of weights (replicates, n), sorted once for all of them."""
    values, rank = np.unique(scores, return_inverse=True)
    order = np.argsort(rank, kind="stable")
    starts = np.searchsorted(rank[order], np.arange(len(values)))
    positive = np.add.reduceat((weights * is_positive)[:, order], starts, axis=1)
    negative = np.add.reduceat((weights * (1 - is_positive))[:, order], starts, axis=1)
    below = np.cumsum(negative, axis=1) - negative
    wins = (positive * (below + negative / 2)).sum(axis=1)
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    return np.asarray(wins / np.maximum(pairs, np.finfo(float).tiny))
