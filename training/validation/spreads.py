"""Spread of mean counts and of the signed log left/right ratio: SD ratios; a collapsed generator falls below 0.8."""

from registry.bundle.panel import Measurement
from training.validation.cells import condition_cells, pattern_cells
from training.validation.comparison import Comparison
from training.validation.contrast import contrast_spreads

SPREADS = (
    contrast_spreads("mean_counts_sd_ratio", lambda sample: sample.measures["mean_counts"]),
    contrast_spreads("log_left_right_ratio_sd_ratio", lambda sample: sample.measures["log_left_right_ratio"]),
)


def measure_spreads(comparison: Comparison) -> list[Measurement]:
    """SD ratios per pattern (levels pooled in equal numbers) and per condition."""
    cells = (*pattern_cells(comparison.conditions), *condition_cells(comparison.conditions))
    return [spread.measure(comparison, cell) for spread in SPREADS for cell in cells]
