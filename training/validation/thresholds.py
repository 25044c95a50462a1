"""Mean counts and left/right ratio read at thresholds of 30, 40 and 50 %: whether a verdict hangs on the mask.

The gates read the left/right ratio at 40 % and mean counts in the whole outline (SCIENCE.md section 3); the sensitivity
is reported beside them.
"""

from cohort.description.measuring import THRESHOLDS
from registry.bundle.panel import Measurement, Panel
from spect.conditions import Pattern
from spect.quantify import DEFAULT_THRESHOLD
from training.validation.cells import pattern_cells
from training.validation.comparison import Comparison
from training.validation.contrast import Contrast, contrast_log_ratios, contrast_means
from training.validation.left_right import left_right_metric
from training.validation.sample import log_ratio_at, mask_counts_at


def measure_thresholds(comparison: Comparison) -> list[Measurement]:
    """Mean counts in the mask at each threshold, and the left/right ratio at all but the gates' own, per pattern."""
    return [
        contrast.measure(comparison, cell)
        for cell in pattern_cells(comparison.conditions)
        for threshold in THRESHOLDS
        for contrast in _contrasts(cell.conditions[0].pattern, threshold)
    ]


def mean_counts_metric_at(threshold: float) -> str:
    """Name of the metric of mean counts in the mask at a threshold."""
    return f"mean_counts_in_mask_ratio_at_{round(100 * threshold)}_percent"


def left_right_metric_at(pattern: Pattern, threshold: float) -> str:
    """Name of a pattern's left/right metric at a threshold; at the gates' own it is the gates' metric."""
    own = left_right_metric(pattern)
    return own if threshold == DEFAULT_THRESHOLD else f"{own}_at_{round(100 * threshold)}_percent"


def _contrasts(pattern: Pattern, threshold: float) -> list[Contrast]:
    counts = contrast_means(mean_counts_metric_at(threshold), lambda s: s.measures[mask_counts_at(threshold)])
    if threshold == DEFAULT_THRESHOLD:
        return [counts]
    metric = left_right_metric_at(pattern, threshold)
    return [counts, contrast_log_ratios(metric, lambda s: s.measures[log_ratio_at(threshold)], pattern)]


def threshold_rows(panel: Panel) -> list[tuple[str, str, dict[float, Measurement | None]]]:
    """Return quantity, pattern and what was measured at each threshold, as the report shows them."""
    rows: list[tuple[str, str, dict[float, Measurement | None]]] = []
    for pattern in Pattern:
        at = {threshold: panel.find(mean_counts_metric_at(threshold), pattern) for threshold in THRESHOLDS}
        rows.append(("mean counts in mask, ratio", pattern.value, at))
    for pattern in Pattern:
        at = {threshold: panel.find(left_right_metric_at(pattern, threshold), pattern) for threshold in THRESHOLDS}
        rows.append(("log left/right, difference", pattern.value, at))
    return rows
