"""The curve drawn: three numbers of the panel against operations a slice, one below the other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from curve.points import PanelNumbers, Point
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from training.config import TrainingConfig
from training.validation.figures.plots import FLOOR_COLOR, NULL_COLOR, SYNTHETIC_COLOR, quieten

PANELS = (
    ("auc_mean", "AUC, linear,\ninside the outline\n(0.5: cannot tell)"),
    ("auc_beyond_conditioned", "AUC, linear,\nbeyond what is asked\n(0.5: cannot tell)"),
    ("component_sd_ratio", "SD along 24\ncomponents, ratio\n(1: as wide)"),
)
STYLES = (("o", "-"), ("s", "--"), ("D", ":"))  # of a matrix: its dots, and the lines beside them
TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5, 10, 20, 50)
ROOM = 1.5  # from the outermost points to the edge, as a factor: labels are centred on points
CLOSE = 0.2  # of the width: points nearer than this have their labels one above the other
LINE_HEIGHT = 13  # of a label, points of print
MARK = {"color": "black", "linestyle": "-.", "linewidth": 0.9}  # the guide of the reference model's size
GUIDE = {"color": "0.9", "linewidth": 0.8}
DOT = {
    "color": SYNTHETIC_COLOR,
    "linestyle": "none",
    "markersize": 7,
    "markeredgecolor": "white",
    "markeredgewidth": 0.6,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How one matrix is drawn."""

    marker: str
    line: str


def draw_curve(points: Sequence[Point], reference: TrainingConfig) -> Figure:
    """Draw the points that were measured; the guide of the reference model's size is marked."""
    drawn = [point for point in points if point.measured]
    matrices = sorted({point.matrix for point in drawn})
    styles = {matrix: Style(marker=marker, line=line) for matrix, (marker, line) in zip(matrices, STYLES, strict=False)}
    figure = Figure(figsize=(8.2, 7.2), layout="constrained")
    panels = figure.subplots(len(PANELS), 1, sharex=True)
    _set_operations(panels[-1], drawn)  # first: the panels share it, and are scaled to what they hold as they fill
    for axes, (name, words) in zip(panels, PANELS, strict=True):
        _draw_panel(axes, drawn, name, styles, reference)
        axes.set_ylabel(words, fontsize=9)
    _label_points(panels[0], drawn, reference)
    handles = _handles(styles)
    if any(_is_reference(point, reference) for point in drawn):
        handles.append(Line2D([], [], label="size of the reference model", **MARK))
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure


def _draw_panel(
    axes: Axes, points: Sequence[Point], name: str, styles: dict[int, Style], reference: TrainingConfig
) -> None:
    for matrix, style in styles.items():
        there = [point for point in points if point.matrix == matrix]
        for numbers, color in ((there[0].null, NULL_COLOR), (there[0].floor, FLOOR_COLOR)):
            for value in _values([numbers] if numbers else [], name):
                axes.axhline(value, color=color, linestyle=style.line, linewidth=1.2, zorder=1)
        found = [(point.gigaflops, values) for point in there if (values := _values(point.measured, name))]
        means = [fmean(values) for _, values in found]
        axes.plot([x for x, _ in found], means, color=SYNTHETIC_COLOR, linestyle=style.line, linewidth=0.9, alpha=0.5)
        for x, values in found:
            axes.plot([x] * len(values), values, marker=style.marker, zorder=3, **DOT)
    for point in points:
        axes.axvline(point.gigaflops, zorder=0, **(MARK if _is_reference(point, reference) else GUIDE))
    axes.margins(y=0.15)
    quieten(axes)


def _label_points(axes: Axes, points: Sequence[Point], reference: TrainingConfig) -> None:
    """Write sizes over the guides, one step higher where the one before is close."""
    whole = math.log(points[-1].gigaflops / points[0].gigaflops * ROOM**2)
    step, before = 0, 0.0
    for point in points:
        step = step + 1 if before and math.log(point.gigaflops / before) < CLOSE * whole else 0
        before = point.gigaflops
        axes.annotate(
            _label(point),
            (point.gigaflops, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 4 + LINE_HEIGHT * step),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=9,
            fontweight="bold" if _is_reference(point, reference) else "normal",
        )


def _label(point: Point) -> str:
    """Return the size, and how many of its seeds are drawn where that is not all."""
    some = f" ({len(point.measured)} of {len(point.seeds)} seeds)" if len(point.measured) < len(point.seeds) else ""
    return point.name + some


def _set_operations(axes: Axes, points: Sequence[Point]) -> None:
    axes.set_xscale("log")
    axes.set_xlim(points[0].gigaflops / ROOM, points[-1].gigaflops * ROOM)
    axes.xaxis.set_major_locator(FixedLocator(TICKS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel(
        f"Gflop a slice, as released ({points[0].images:,} images seen by each, scans {points[0].source})", fontsize=9
    )


def _handles(styles: dict[int, Style]) -> list[Line2D]:
    """Return dots, then nulls, then floors, so that a column of the legend is a kind and a row a matrix."""
    dots = [Line2D([], [], marker=s.marker, label=f"{matrix} px, a dot a seed", **DOT) for matrix, s in styles.items()]
    lines = [
        Line2D([], [], color=color, linestyle=style.line, linewidth=1.2, label=f"{words}, {matrix} px")
        for color, words in ((NULL_COLOR, "real against real"), (FLOOR_COLOR, "Gaussian"))
        for matrix, style in styles.items()
    ]
    return [*dots, *lines]


def _is_reference(point: Point, reference: TrainingConfig) -> bool:
    return (point.matrix, point.width) == (reference.matrix, reference.width)


def _values(panels: Sequence[PanelNumbers], name: str) -> list[float]:
    return [value for numbers in panels if (value := getattr(numbers, name)) is not None]
