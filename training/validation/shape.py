"""Shape measures nobody conditioned on: outline area and the brightest pixel over the mean, as ratios of means."""

from registry.bundle.panel import Measurement
from training.validation.cells import condition_cells
from training.validation.comparison import Comparison
from training.validation.contrast import contrast_means
from training.validation.sample import OUTLINE_AREA

# Reported, not gated: the margin of mean counts, for want of one of their own.
SHAPES = (
    contrast_means("outline_area_ratio", lambda sample: sample.measures[OUTLINE_AREA]),
    contrast_means("max_over_mean_ratio", lambda sample: sample.measures["max_over_mean"]),
)


def measure_shape(comparison: Comparison) -> list[Measurement]:
    """Ratios of means per condition."""
    return [shape.measure(comparison, cell) for shape in SHAPES for cell in condition_cells(comparison.conditions)]
