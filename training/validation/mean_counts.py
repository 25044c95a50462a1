"""Mean counts: the ratio of the synthetic mean to the reference's, per pattern and per condition."""

from registry.bundle.panel import Measurement
from training.validation.cells import condition_cells, pattern_cells
from training.validation.comparison import Comparison
from training.validation.contrast import contrast_means

MEAN_COUNTS_RATIO = contrast_means("mean_counts_ratio", lambda sample: sample.measures["mean_counts"])


def measure_mean_counts(comparison: Comparison) -> list[Measurement]:
    """Ratios of mean counts; a pattern pools its levels in equal numbers."""
    cells = (*pattern_cells(comparison.conditions), *condition_cells(comparison.conditions))
    return [MEAN_COUNTS_RATIO.measure(comparison, cell) for cell in cells]
