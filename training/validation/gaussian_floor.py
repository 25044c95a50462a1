"""The floor every generator must beat: per condition, a Gaussian with the mean and covariance of known slices."""

import numpy as np
from numpy.typing import NDArray

from spect.slices import Counts


def draw_gaussian_slices(
    known: Counts,
    known_condition_index: NDArray[np.int64],
    condition_index: NDArray[np.int64],
    rng: np.random.Generator,
) -> Counts:
    """Draw slices (n, m, m), one for each entry of condition_index (n,), from the condition's own Gaussian.

    A random mixture of the known slices' deviations from their mean has exactly their sample covariance: all of their
    principal components, without computing one. Negative counts become zero.
    """
    drawn = np.empty((len(condition_index), *known.shape[1:]), dtype=np.float32)
    for index in np.unique(condition_index):
        rows = condition_index == index
        members = known[known_condition_index == index].astype(np.float32, copy=False)
        mean = members.mean(axis=0)
        mixing = rng.standard_normal((int(rows.sum()), len(members)), dtype=np.float32) / np.sqrt(len(members) - 1)
        deviations = (members - mean).reshape(len(members), -1)
        drawn[rows] = mean + (mixing.astype(np.float32) @ deviations).reshape(-1, *known.shape[1:])
    return np.maximum(drawn, 0)
