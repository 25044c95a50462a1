"""Principal components of the training slices, level by level: the part of q that carries shape, pose and pattern.

Scores are taken in the level's own basis, in units of their standard deviation over that level's training slices: the
first scores of one level then describe that level, and not what sets the three levels apart, which the condition says.
The basis is an aggregate of training patients: it stays in the run and never enters a bundle.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spect.conditions import CONDITIONS, Level
from spect.slices import Counts

LEVELS = tuple(Level)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrincipalBasis:
    """Mean slice and scaled components of each level, over flattened counts (m * m pixels)."""

    mean: NDArray[np.float32]  # (levels, pixels)
    components: NDArray[np.float32]  # (levels, pixels, k): score = (counts - mean) @ components, SD 1 in training

    def scores(self, counts: Counts, condition: NDArray[np.int64]) -> NDArray[np.float64]:
        """Scores (n, k) of counts (n, m, m)."""
        level = level_of_condition()[condition]
        centered = counts.reshape(len(counts), -1) - self.mean[level]
        scores = np.empty((len(counts), self.components.shape[2]))
        for position in range(len(LEVELS)):
            rows = level == position
            scores[rows] = centered[rows] @ self.components[position]
        return scores


def level_of_condition() -> NDArray[np.int64]:
    """Position in `LEVELS` of each condition, in the order of `CONDITIONS`."""
    return np.array([LEVELS.index(condition.level) for condition in CONDITIONS])


def fit_basis(counts: Counts, condition: NDArray[np.int64], *, size: int) -> PrincipalBasis:
    """Fit `size` components to each level of counts (n, m, m).

    A level keeps zeros beyond half as many components as it has slices: a small cohort's last ones would be noise.
    A level without slices keeps zeros altogether: it is never asked for.
    """
    level = level_of_condition()[condition]
    pixels = counts[0].size
    mean = np.zeros((len(LEVELS), pixels), dtype=np.float32)
    components = np.zeros((len(LEVELS), pixels, size), dtype=np.float32)
    for position in np.unique(level):
        rows = counts[level == position].reshape(-1, pixels).astype(np.float64)
        mean[position] = rows.mean(axis=0)
        _, singular, directions = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
        kept = min(size, len(rows) // 2)
        deviation = singular[:kept] / np.sqrt(len(rows) - 1)
        oriented = directions[:kept] * np.where(directions[:kept].sum(axis=1) < 0, -1, 1)[:, None]
        components[position, :, :kept] = (oriented / np.maximum(deviation, 1e-12)[:, None]).T
    return PrincipalBasis(mean=mean, components=components)
