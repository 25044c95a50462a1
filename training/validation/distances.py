"""Euclidean distances between rows of scores."""

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


def squared_distances(first: Vector, second: Vector) -> Vector:
    """Squared Euclidean distances (n, m) between rows (n, k) and (m, k), never negative."""
    products = first @ second.T
    norms = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1)[None]
    return np.asarray(np.maximum(norms - 2 * products, 0))
