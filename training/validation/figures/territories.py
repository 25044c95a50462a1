"""Figure: regional counts and asymmetry by arterial territory, with their intervals and margins."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cohort.simulator.territories import Territory
from registry.bundle.panel import Panel
from spect.conditions import CONDITIONS
from spect.equivalence import MEAN_COUNTS_MARGIN, SPREAD_MARGIN, Margin
from training.validation.figures.plots import (
    MARGIN_COLOR,
    draw_beside,
    draw_interval,
    label_rows,
    legend_handles,
    quieten,
    show_plain_ticks,
)
from training.validation.territories import LEVELS, territory_metric

PANELS: tuple[tuple[str, Margin, str], ...] = (
    ("share_ratio", MEAN_COUNTS_MARGIN, "territory / whole section, synthetic / reference"),
    ("asymmetry_sd_ratio", SPREAD_MARGIN, "SD of the territory's log left/right ratio, synthetic / reference"),
)


def draw_territories(panel: Panel) -> Figure | None:
    """Draw a row for each condition and territory; None where nothing was measured."""
    rows = [
        (str(condition), territory)
        for condition in CONDITIONS
        if condition.level in LEVELS and panel.find(territory_metric("share_ratio", Territory.MCA), str(condition))
        for territory in Territory
    ]
    if not rows:
        return None
    figure = Figure(figsize=(10, 0.9 + 0.2 * len(rows)), layout="constrained")
    for axes, (kind, margin, words) in zip(figure.subplots(1, 2, sharey=True), PANELS, strict=True):
        _draw(axes, panel, rows, kind, margin)
        axes.set_xlabel(words, fontsize=9)
        if kind == "asymmetry_sd_ratio":
            axes.set_xscale("log")
            show_plain_ticks(axes.xaxis)
    figure.legend(
        handles=legend_handles(interval="90 % interval"), loc="outside upper center", ncols=3, frameon=False, fontsize=8
    )
    return figure


def _draw(axes: Axes, panel: Panel, rows: list[tuple[str, Territory]], kind: str, margin: Margin) -> None:
    axes.axvspan(margin.low, margin.high, color=MARGIN_COLOR, linewidth=0, zorder=0)
    axes.axvline(1, color="0.6", linewidth=0.8, zorder=1)
    for row, (cell, territory) in enumerate(rows):
        found = panel.find(territory_metric(kind, territory), cell)
        if found is None or found.value is None:
            continue
        draw_beside(axes, row, null=found.null, floor=found.floor)
        draw_interval(axes, row, found.value, found.low, found.high)
        if row and row % len(Territory) == 0:
            axes.axhline(row - 0.5, color="0.85", linewidth=0.8, zorder=1)
    label_rows(axes, [f"{cell}  {territory}" for cell, territory in rows])
    quieten(axes)
