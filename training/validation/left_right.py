"""Left/right ratio: the difference of mean log ratios; of mean absolute log ratios where one side is affected."""

from registry.bundle.panel import Measurement
from spect.conditions import Pattern
from training.validation.cells import condition_cells, pattern_cells
from training.validation.comparison import Comparison
from training.validation.contrast import Contrast, contrast_log_ratios


def measure_left_right(comparison: Comparison) -> list[Measurement]:
    """Differences of the (absolute) log left/right ratio, per pattern and per condition."""
    cells = (*pattern_cells(comparison.conditions), *condition_cells(comparison.conditions))
    return [_contrast(cell.conditions[0].pattern).measure(comparison, cell) for cell in cells]


def left_right_metric(pattern: Pattern) -> str:
    """Name of a pattern's metric: sides mix in unilateral disease, so there the size of the asymmetry is compared."""
    is_unilateral = pattern is Pattern.UNILATERAL
    return "absolute_log_left_right_ratio_difference" if is_unilateral else "left_right_ratio_difference"


def _contrast(pattern: Pattern) -> Contrast:
    return contrast_log_ratios(left_right_metric(pattern), lambda s: s.measures["log_left_right_ratio"], pattern)
