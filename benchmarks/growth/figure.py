"""Draw how cost grows: rates over latencies, one column for each thing that grows, and the memory below."""

import math
from collections.abc import Sequence
from pathlib import Path

from growth.points import FEW, SWEEPS, Point, Sweep
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from side_by_side import Figures

_MEMORY_ROOM = 1.3  # above the most that was seen


def draw(points: Sequence[Point], memory: Figures | None, *, title: str, path: Path) -> None:
    """Draw what was measured into a PNG; what was left out has no panel."""
    drawn = [sweep for sweep in SWEEPS if any(point.sweep == sweep.name for point in points)]
    figure = Figure(figsize=(max(4.2 * len(drawn), 7), 6.4 * bool(drawn) + 2.4 * bool(memory)), layout="constrained")
    figure.suptitle(title, fontsize="medium")
    rows = [[f"{what} {sweep.name}" for sweep in drawn] for what in ("rate", "latency") if drawn]
    if memory:
        rows.append(["memory"] * max(len(drawn), 1))
    panels = figure.subplot_mosaic(rows, height_ratios=[2.0] * (2 * bool(drawn)) + [1.5] * bool(memory))
    for sweep in drawn:
        own = [point for point in points if point.sweep == sweep.name]
        _draw_rate(panels[f"rate {sweep.name}"], sweep, own)
        _draw_latency(panels[f"latency {sweep.name}"], sweep, own)
    if drawn:
        panels[f"rate {drawn[0].name}"].set_ylabel("slices/s")
        panels[f"latency {drawn[0].name}"].set_ylabel("ms to the whole answer")
        for what in ("rate", "latency"):
            panels[f"{what} {drawn[0].name}"].legend(frameon=False, fontsize="small")
    if memory:
        _draw_memory(panels["memory"], memory)
    figure.savefig(path, dpi=150)


def _draw_rate(axis: Axes, sweep: Sweep, points: Sequence[Point]) -> None:
    values = [point.value for point in points]
    axis.plot(values, [point.slices_per_second for point in points], marker="o", label="served")
    floor = [point.floor_slices_per_second for point in points]
    axis.plot(values, floor, color="black", linestyle=":", label="bare session")
    axis.set_ylim(0, 1.1 * max(*floor, *(point.slices_per_second for point in points)))
    axis.set_title(sweep.name, fontsize="medium")
    _scale(axis, sweep)


def _draw_latency(axis: Axes, sweep: Sweep, points: Sequence[Point]) -> None:
    values = [point.value for point in points]
    axis.plot(values, [1000 * point.p50_seconds for point in points], marker="o", label="p50")
    axis.plot(values, [1000 * point.p99_seconds for point in points], marker="o", label="p99 (open: few answers)")
    few = [point for point in points if point.answers < FEW]
    axis.plot(
        [point.value for point in few],
        [1000 * point.p99_seconds for point in few],
        linestyle="",
        marker="o",
        color="tab:orange",
        markerfacecolor="white",
    )
    _scale_decades(axis, points)
    axis.set_xlabel(sweep.axis, fontsize="small")
    _scale(axis, sweep)


def _scale_decades(axis: Axes, points: Sequence[Point]) -> None:
    """Show whole decades, named in plain numbers."""
    low = math.floor(math.log10(1000 * min(point.p50_seconds for point in points)))
    high = max(math.ceil(math.log10(1000 * max(point.p99_seconds for point in points))), low + 1)
    axis.set_yscale("log")
    axis.set_ylim(10.0**low, 10.0**high)
    axis.set_yticks([10.0**power for power in range(low, high + 1)])
    axis.yaxis.set_major_formatter("{x:,g}")
    axis.yaxis.set_minor_formatter(NullFormatter())


def _scale(axis: Axes, sweep: Sweep) -> None:
    axis.set_xscale("log", base=2)
    axis.set_xticks(sweep.values, [str(value) for value in sweep.values])
    axis.xaxis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)


def _draw_memory(axis: Axes, memory: Figures) -> None:
    seen = memory["seen"]
    axis.plot([one["slices"] for one in seen], [one["mebibytes"] for one in seen], marker="o")
    axis.set(xlabel="slices served", ylabel="worker, MiB", ylim=(0, _MEMORY_ROOM * memory["most_mebibytes"]))
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
