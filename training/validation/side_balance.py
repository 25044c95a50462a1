"""Signed left/right ratios of unilateral slices: the distance between the two distributions, sides and all."""

import numpy as np
from scipy.stats import wasserstein_distance

from registry.bundle.panel import Measurement
from spect.conditions import Pattern
from training.validation.cells import condition_cells
from training.validation.comparison import Comparison
from training.validation.sample import Sample

METRIC = "signed_log_left_right_ratio_w1"


def compute_side_distance(first: Sample, second: Sample) -> float:
    """Wasserstein-1 distance of signed log left/right ratios: sees a lost side, which absolute values hide."""
    values = [np.asarray(sample.measures["log_left_right_ratio"]) for sample in (first, second)]
    return float(wasserstein_distance(*values))


def measure_side_balance(comparison: Comparison) -> list[Measurement]:
    """Distances per unilateral condition."""
    return [
        comparison.measure(METRIC, cell, compute_side_distance)
        for cell in condition_cells(comparison.conditions)
        if cell.conditions[0].pattern is Pattern.UNILATERAL
    ]
