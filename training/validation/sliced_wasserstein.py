"""Sliced Wasserstein distance in 50 principal components: mean over random directions (Rabin et al. 2011)."""

import numpy as np
from numpy.typing import NDArray

from registry.bundle.panel import Measurement
from training.validation.cells import condition_cells
from training.validation.comparison import Comparison
from training.validation.sample import Sample

METRIC = "sliced_wasserstein_pca_50"
DIRECTIONS = 256
QUANTILES = (np.arange(200) + 0.5) / 200

Vector = NDArray[np.float64]


def compute_sliced_wasserstein(first: Vector, second: Vector, rng: np.random.Generator) -> float:
    """Mean Wasserstein-1 distance over directions of scores (n, k) and (m, k), over the second's root mean square."""
    directions = rng.standard_normal((second.shape[1], DIRECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    quantiles = [np.quantile(scores @ directions, QUANTILES, axis=0) for scores in (first, second)]
    spread = np.sqrt(((second - second.mean(axis=0)) ** 2).sum(axis=1).mean() / second.shape[1])
    return float(np.abs(quantiles[0] - quantiles[1]).mean() / spread)


def measure_sliced_wasserstein(comparison: Comparison) -> list[Measurement]:
    """Distances per condition."""

    def compute(first: Sample, second: Sample) -> float:
        return compute_sliced_wasserstein(comparison.scores(first), comparison.scores(second), comparison.rng(7))

    note = "over the root mean square spread of the reference's scores"
    return [comparison.measure(METRIC, cell, compute, note=note) for cell in condition_cells(comparison.conditions)]
