"""How the figures of a validation look: colours of what is compared, quiet axes, and files that need no display."""

import io
from collections.abc import Collection, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

SYNTHETIC_COLOR = "#c2410c"
REFERENCE_COLOR = "#1d4ed8"
NULL_COLOR = "#4b5563"
FLOOR_COLOR = "#7c3aed"
MARGIN_COLOR = "#dcfce7"
PLAIN_RATIOS = (0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 3, 5, 10)

DOTS_PER_INCH = 110
_HASH_SALT = "synspect"  # the same figure gives the same file


def to_png(figure: Figure) -> bytes:
    """Draw a figure as PNG."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": "synspect"})
    return buffer.getvalue()


def to_svg(figure: Figure) -> bytes:
    """Draw a figure as SVG, sharp at any size and in print."""
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": _HASH_SALT}):
        FigureCanvasSVG(figure).print_figure(buffer, format="svg", metadata={"Date": None, "Creator": "synspect"})
    return buffer.getvalue()


def quieten(axes: Axes) -> None:
    """Take away what carries no number."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, length=3)


def show_plain_ticks(axis: Axis) -> None:
    """Write the ticks of a logarithmic axis of ratios as plain numbers."""
    axis.set_major_locator(FixedLocator(PLAIN_RATIOS))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def label_rows(axes: Axes, names: Sequence[str], *, strong: Collection[str] = ()) -> None:
    """Name the rows of a dot plot from top to bottom."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    for label in axes.get_yticklabels():
        label.set_fontweight("bold" if label.get_text() in strong else "normal")


def draw_interval(
    axes: Axes, row: float, value: float, low: float | None, high: float | None, *, color: str = SYNTHETIC_COLOR
) -> None:
    """Draw a value with its interval in a row of a dot plot."""
    if low is not None and high is not None:
        axes.plot([low, high], [row, row], color=color, linewidth=2, solid_capstyle="round", zorder=3)
    axes.plot(value, row, "o", color=color, markersize=5.5, zorder=4)


def draw_beside(axes: Axes, row: float, *, null: float | None, floor: float | None) -> None:
    """Draw the null and the floor of a row."""
    if null is not None:
        axes.plot(null, row, "|", color=NULL_COLOR, markersize=11, markeredgewidth=2, zorder=2)
    if floor is not None:
        axes.plot(floor, row, "D", color="white", markeredgecolor=FLOOR_COLOR, markersize=5, zorder=2)


def legend_handles(*, interval: str) -> list[Line2D]:
    """Explain the marks of a dot plot."""
    return [
        Line2D([], [], color=SYNTHETIC_COLOR, marker="o", markersize=5.5, linewidth=2, label=f"synthetic, {interval}"),
        Line2D(
            [],
            [],
            color=NULL_COLOR,
            marker="|",
            markersize=11,
            markeredgewidth=2,
            linestyle="",
            label="real against real",
        ),
        Line2D(
            [], [], color="white", marker="D", markersize=5, markeredgecolor=FLOOR_COLOR, linestyle="", label="Gaussian"
        ),
    ]
