"""Spread of mean counts and of the signed log left/right ratio: SD ratios; a collapsed generator falls below 0.8."""

from registry.bundle.panel import Measurement
from spect.equivalence import SPREAD_MARGIN, log_margin, ratio_of_spreads
from training.validation.cells import condition_cells, pattern_cells
from training.validation.comparison import Comparison
from training.validation.contrast import Contrast


def _spread(metric: str, quantity: str) -> Contrast:
    return Contrast(
        metric=metric,
        quantity=lambda sample: sample.measures[quantity],
        estimate=ratio_of_spreads,
        error=lambda moments: moments.log_sd_error,
        margin=SPREAD_MARGIN,
        power_margin=log_margin(SPREAD_MARGIN),
    )


SPREADS = (
    _spread("mean_counts_sd_ratio", "mean_counts"),
    _spread("log_left_right_ratio_sd_ratio", "log_left_right_ratio"),
)


def measure_spreads(comparison: Comparison) -> list[Measurement]:
    """SD ratios per pattern (levels pooled in equal numbers) and per condition."""
    cells = (*pattern_cells(comparison.conditions), *condition_cells(comparison.conditions))
    return [spread.measure(comparison, cell) for spread in SPREADS for cell in cells]
