"""Shape measures nobody conditioned on: outline area and the brightest pixel over the mean, as ratios of means."""

from registry.bundle.panel import Measurement
from spect.equivalence import MEAN_COUNTS_MARGIN, log_margin, ratio_of_means
from training.validation.cells import condition_cells
from training.validation.comparison import Comparison
from training.validation.contrast import Contrast
from training.validation.sample import OUTLINE_AREA


def _shape(metric: str, quantity: str) -> Contrast:
    return Contrast(
        metric=metric,
        quantity=lambda sample: sample.measures[quantity],
        estimate=ratio_of_means,
        error=lambda moments: moments.mean_error / moments.mean,
        # Reported, not gated: the margin of mean counts, for want of one of their own.
        margin=MEAN_COUNTS_MARGIN,
        power_margin=log_margin(MEAN_COUNTS_MARGIN),
    )


SHAPES = (_shape("outline_area_ratio", OUTLINE_AREA), _shape("max_over_mean_ratio", "max_over_mean"))


def measure_shape(comparison: Comparison) -> list[Measurement]:
    """Ratios of means per condition."""
    return [shape.measure(comparison, cell) for shape in SHAPES for cell in condition_cells(comparison.conditions)]
