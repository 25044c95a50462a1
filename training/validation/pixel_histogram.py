"""Pixel histogram: the Wasserstein-1 distance between the counts of pixels inside the outline."""

import numpy as np

from registry.bundle.panel import Measurement
from training.validation.cells import condition_cells
from training.validation.comparison import Comparison
from training.validation.sample import Sample

METRIC = "pixel_histogram_w1"
QUANTILES = (np.arange(1000) + 0.5) / 1000


def compute_histogram_distance(first: Sample, second: Sample) -> float:
    """Wasserstein-1 distance of pixel counts inside the outline, as a share of the second sample's mean."""
    quantiles = [np.quantile(sample.counts[sample.outlines], QUANTILES) for sample in (first, second)]
    return float(np.abs(quantiles[0] - quantiles[1]).mean() / quantiles[1].mean())


def measure_pixel_histogram(comparison: Comparison) -> list[Measurement]:
    """Distances per condition."""
    return [
        comparison.measure(METRIC, cell, compute_histogram_distance, note="share of the reference's mean counts")
        for cell in condition_cells(comparison.conditions)
    ]
