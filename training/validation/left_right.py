"""Left/right ratio: the difference of mean log ratios; of mean absolute log ratios where one side is affected."""

import numpy as np

from registry.bundle.panel import Measurement
from spect.conditions import Pattern
from spect.equivalence import difference_of_means, fold_log_ratio, log_ratio_margin
from training.validation.cells import Cell, condition_cells, pattern_cells
from training.validation.comparison import Comparison
from training.validation.contrast import Contrast
from training.validation.sample import Sample, Vector


def measure_left_right(comparison: Comparison) -> list[Measurement]:
    """Differences of the (absolute) log left/right ratio, per pattern and per condition."""
    cells = (*pattern_cells(comparison.conditions), *condition_cells(comparison.conditions))
    return [_contrast(_pattern_of(cell)).measure(comparison, cell) for cell in cells]


def left_right_metric(pattern: Pattern) -> str:
    """Name of a pattern's metric: sides mix in unilateral disease, so there the size of the asymmetry is compared."""
    is_unilateral = pattern is Pattern.UNILATERAL
    return "absolute_log_left_right_ratio_difference" if is_unilateral else "left_right_ratio_difference"


def _pattern_of(cell: Cell) -> Pattern:
    return cell.conditions[0].pattern


def _contrast(pattern: Pattern) -> Contrast:
    def folded(sample: Sample) -> Vector:
        return np.asarray(fold_log_ratio(sample.measures["log_left_right_ratio"], pattern))

    return Contrast(
        metric=left_right_metric(pattern),
        quantity=folded,
        estimate=difference_of_means,
        error=lambda moments: moments.mean_error,
        margin=log_ratio_margin(pattern),
        power_margin=log_ratio_margin(pattern),
    )
