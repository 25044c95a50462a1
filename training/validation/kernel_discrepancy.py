"""Maximum mean discrepancy in 50 principal components: unbiased, Gaussian kernel (Gretton et al. 2012)."""

import numpy as np
from numpy.typing import NDArray

from registry.bundle.panel import Measurement
from training.validation.cells import condition_cells
from training.validation.comparison import Comparison
from training.validation.distances import squared_distances
from training.validation.sample import Sample

METRIC = "mmd_squared_pca_50"

Vector = NDArray[np.float64]


def compute_mmd_squared(first: Vector, second: Vector) -> float:
    """Unbiased squared MMD between scores (n, k) and (m, k); around 0, and below it half the time, where they agree."""
    between = squared_distances(first, second)
    width = float(np.median(squared_distances(second, second)[np.triu_indices(len(second), 1)]))
    kernels = [np.exp(-squared_distances(scores, scores) / width) for scores in (first, second)]
    within = [(kernel.sum() - len(kernel)) / (len(kernel) * (len(kernel) - 1)) for kernel in kernels]
    return float(within[0] + within[1] - 2 * np.exp(-between / width).mean())


def measure_kernel_discrepancy(comparison: Comparison) -> list[Measurement]:
    """Squared MMD per condition."""

    def compute(first: Sample, second: Sample) -> float:
        return compute_mmd_squared(comparison.scores(first), comparison.scores(second))

    return [comparison.measure(METRIC, cell, compute) for cell in condition_cells(comparison.conditions)]
