"""The figures of a study: equivalence, how well slices are told apart, and what each ablation changes."""

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from study.results import ArmResult, ablated, first_measured, pick
from study.tables import CONFIGURATIONS, DATASETS, PATTERNS

from registry.bundle.panel import Measurement
from spect.conditions import Pattern
from spect.equivalence import MEAN_COUNTS_MARGIN, Margin, log_ratio_margin
from training.validation.beyond_conditioned import METRIC as BEYOND_CONDITIONED
from training.validation.figures.plots import (
    MARGIN_COLOR,
    REFERENCE_COLOR,
    SYNTHETIC_COLOR,
    draw_beside,
    draw_interval,
    label_rows,
    legend_handles,
    quieten,
    to_png,
)
from training.validation.left_right import left_right_metric
from training.validation.mean_counts import MEAN_COUNTS_RATIO
from training.validation.principal_components import METRIC as COMPONENT_SPREAD
from training.validation.two_sample_classifier import INSIDE_OUTLINE

COLORS = {"paper": REFERENCE_COLOR, "ours": SYNTHETIC_COLOR}
ROW_SPREAD = 0.7  # of a row's height, over which arms lie one below the other

Results = Sequence[ArmResult]


def draw_figures(results: Results) -> dict[str, bytes]:
    """Draw what there are results for, by file name."""
    figures = {"equivalence.png": to_png(draw_equivalence(results)), "told-apart.png": to_png(draw_auc(results))}
    if ablated(results):
        figures["ablations.png"] = to_png(draw_ablations(results))
    return figures


def draw_equivalence(results: Results) -> Figure:
    """Draw mean counts and left/right ratio of every arm beside the margins."""
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_rows(left, results, lambda _: MEAN_COUNTS_RATIO.metric, lambda _: MEAN_COUNTS_MARGIN)
    _draw_rows(right, results, left_right_metric, log_ratio_margin)
    left.set_xlabel("mean counts, synthetic / unseen", fontsize=9)
    right.set_xlabel("log left/right ratio, synthetic − unseen (unilateral: of its size)", fontsize=9)
    _add_legend(figure, "90 %")
    return figure


def draw_auc(results: Results) -> Figure:
    """Draw how well a linear classifier tells the slices of every arm."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    _draw_rows(axes, results, lambda _: INSIDE_OUTLINE, None)
    axes.set_xlim(0.4, 1.02)
    axes.set_xlabel("AUC of a linear classifier, inside the outline (0.5: cannot tell)", fontsize=9)
    _add_legend(figure, "95 %")
    return figure


def draw_ablations(results: Results) -> Figure:
    """Draw two numbers nobody gains by asking for, each ablation beside the range of ours over seeds."""
    arms = ablated(results)
    figure = Figure(figsize=(10, 1.6 + 0.28 * len(arms)), layout="constrained")
    panels = (
        (BEYOND_CONDITIONED, "AUC, linear, beyond what is asked (0.5: cannot tell)"),
        (COMPONENT_SPREAD, "SD along 24 principal components, synthetic / unseen"),
    )
    for axes, (metric, words) in zip(figure.subplots(1, 2, sharey=True), panels, strict=True):
        found = [result.find(metric, "all") for result in pick(results, "A", "ours")]
        ours = [one.value for one in found if one is not None and one.value is not None]
        if ours:
            axes.axvspan(min(ours), max(ours), color="0.85", linewidth=0, zorder=0)
            axes.axvline(sum(ours) / len(ours), color="0.5", linewidth=1, zorder=1)
        for row, result in enumerate(arms):
            _draw_found(axes, row, result.find(metric, "all"))
        label_rows(axes, [result.arm.change or "" for result in arms])
        axes.set_xlabel(words, fontsize=9)
        quieten(axes)
    figure.suptitle("one setting each away from ours (grey: ours, its seeds)", fontsize=10)
    return figure


def _draw_rows(
    axes: Axes, results: Results, metric_of: Callable[[Pattern], str], margin_of: Callable[[Pattern], Margin] | None
) -> None:
    rows = [(dataset, pattern) for dataset in DATASETS for pattern in PATTERNS]
    for row, (dataset, pattern) in enumerate(rows):
        if margin_of is not None:
            margin = margin_of(pattern)
            edges = ([row - 0.5, row + 0.5], margin.low, margin.high)
            axes.fill_betweenx(*edges, color=MARGIN_COLOR, linewidth=0, zorder=0)
        metric = metric_of(pattern)
        measured = first_measured(results, dataset)
        if measured is not None and (beside := measured.find(metric, pattern)):
            draw_beside(axes, row, null=beside.null, floor=beside.floor)
        arms = [(name, result) for name, _ in CONFIGURATIONS for result in pick(results, dataset, name)]
        for place, (name, result) in enumerate(arms):
            shift = ROW_SPREAD * ((place + 0.5) / len(arms) - 0.5)
            _draw_found(axes, row + shift, result.find(metric, pattern), color=COLORS[name])
    label_rows(axes, [f"{dataset}, {pattern}" for dataset, pattern in rows])
    quieten(axes)


def _draw_found(axes: Axes, row: float, found: Measurement | None, *, color: str = SYNTHETIC_COLOR) -> None:
    if found is not None and found.value is not None:
        draw_interval(axes, row, found.value, found.low, found.high, color=color)


def _add_legend(figure: Figure, interval: str) -> None:
    handles = [
        Line2D(
            [], [], color=COLORS[name], marker="o", markersize=5.5, linewidth=2, label=f"{words}, {interval} interval"
        )
        for name, words in CONFIGURATIONS
    ]
    handles += legend_handles(interval="")[1:]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False, fontsize=8)
