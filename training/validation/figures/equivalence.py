"""Figure: mean counts and left/right ratio with their intervals, beside the margins that were fixed in advance."""

from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from registry.bundle.panel import Panel
from spect.conditions import CONDITIONS, Pattern
from spect.equivalence import MEAN_COUNTS_MARGIN, Margin, log_ratio_margin
from training.validation.figures.plots import (
    MARGIN_COLOR,
    draw_beside,
    draw_interval,
    label_rows,
    legend_handles,
    quieten,
)
from training.validation.left_right import left_right_metric
from training.validation.mean_counts import MEAN_COUNTS_RATIO

Rows = list[tuple[str, Pattern]]


def draw_equivalence(panel: Panel) -> Figure:
    """Draw every pattern, and below it its conditions."""
    rows: Rows = []
    for pattern in Pattern:
        rows.append((pattern.value, pattern))
        rows += [(str(condition), pattern) for condition in CONDITIONS if condition.pattern is pattern]
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _draw(left, panel, rows, lambda _: MEAN_COUNTS_RATIO.metric, lambda _: MEAN_COUNTS_MARGIN)
    _draw(right, panel, rows, left_right_metric, log_ratio_margin)
    left.set_xlabel("mean counts, synthetic / reference", fontsize=9)
    right.set_xlabel("log left/right ratio, synthetic − reference (unilateral: of its size)", fontsize=9)
    left.axvline(1, color="0.6", linewidth=0.8, zorder=1)
    right.axvline(0, color="0.6", linewidth=0.8, zorder=1)
    figure.legend(
        handles=legend_handles(interval="90 % interval"), loc="outside upper center", ncols=3, frameon=False, fontsize=8
    )
    return figure


def _draw(
    axes: Axes,
    panel: Panel,
    rows: Rows,
    metric_of: Callable[[Pattern], str],
    margin_of: Callable[[Pattern], Margin],
) -> None:
    for row, (cell, pattern) in enumerate(rows):
        margin = margin_of(pattern)
        axes.fill_betweenx([row - 0.5, row + 0.5], margin.low, margin.high, color=MARGIN_COLOR, linewidth=0, zorder=0)
        found = panel.find(metric_of(pattern), cell)
        if found is None or found.value is None:
            continue
        draw_beside(axes, row, null=found.null, floor=found.floor)
        draw_interval(axes, row, found.value, found.low, found.high)
    label_rows(axes, [name for name, _ in rows], strong=set(Pattern))
    quieten(axes)
