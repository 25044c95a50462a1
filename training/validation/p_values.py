"""P values beside the reference study's: of a difference, which never shows equality and is reported for the table."""

import math

from scipy.stats import t

from registry.bundle.panel import Measurement
from spect.equivalence import Estimate, compute_moments, difference_of_means
from training.validation.cells import Cell, pattern_cells
from training.validation.comparison import Comparison, Pair

MEAN_COUNTS_P = "mean_counts_p_value"
LEFT_RIGHT_P = "log_left_right_ratio_p_value"
_QUANTITIES = {MEAN_COUNTS_P: "mean_counts", LEFT_RIGHT_P: "log_left_right_ratio"}


def compute_p_value(estimate: Estimate) -> float:
    """Two-sided P of a difference from 0, its error taken over patients."""
    if estimate.standard_error == 0:
        return 1.0 if estimate.value == 0 else 0.0
    return float(2 * t.sf(abs(estimate.value) / estimate.standard_error, estimate.degrees_of_freedom))


def measure_p_values(comparison: Comparison) -> list[Measurement]:
    """P of mean counts and of the signed log left/right ratio, per pattern as in Werner et al. 2022."""
    return [
        _measure(comparison, metric, quantity, cell)
        for metric, quantity in _QUANTITIES.items()
        for cell in pattern_cells(comparison.conditions)
    ]


def _measure(comparison: Comparison, metric: str, quantity: str, cell: Cell) -> Measurement:
    def p_value(pair: Pair) -> float:
        first, second = (
            compute_moments(sample.measures[quantity], patients=sample.patient, rng=comparison.rng(8))
            for sample in pair
        )
        value = compute_p_value(difference_of_means(first, second))
        return value if math.isfinite(value) else 1.0

    judged, halves, floor = comparison.pairs(cell)
    return Measurement(
        metric=metric,
        cell=cell.name,
        value=p_value(judged),
        null=p_value(halves),
        floor=p_value(floor),
        slices_synthetic=len(judged[0]),
        slices_reference=len(judged[1]),
        note="two-sided, error over patients; a large P shows no equality",
    )
