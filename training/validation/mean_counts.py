"""Mean counts: the ratio of the synthetic mean to the reference's, per pattern and per condition."""

from registry.bundle.panel import Measurement
from spect.equivalence import MEAN_COUNTS_MARGIN, log_margin, ratio_of_means
from training.validation.cells import condition_cells, pattern_cells
from training.validation.comparison import Comparison
from training.validation.contrast import Contrast

MEAN_COUNTS_RATIO = Contrast(
    metric="mean_counts_ratio",
    quantity=lambda sample: sample.measures["mean_counts"],
    estimate=ratio_of_means,
    error=lambda moments: moments.mean_error / moments.mean,
    margin=MEAN_COUNTS_MARGIN,
    power_margin=log_margin(MEAN_COUNTS_MARGIN),
)


def measure_mean_counts(comparison: Comparison) -> list[Measurement]:
    """Ratios of mean counts; a pattern pools its levels in equal numbers."""
    cells = (*pattern_cells(comparison.conditions), *condition_cells(comparison.conditions))
    return [MEAN_COUNTS_RATIO.measure(comparison, cell) for cell in cells]
