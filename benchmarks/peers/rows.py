"""The rounds of each server as one row of a table, and as a picture; a server that was not measured says why."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from peers.roster import OURS
from side_by_side import Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One figure of a row, from the figures of one round."""

    name: str
    read: Callable[[Figures], float]
    form: str  # of its format


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A server: the median of its rounds by column, or the reason why there is none."""

    server: str
    values: dict[str, float]
    reason: str | None = None


def _share_of_errors(load: Figures) -> float:
    answers = load["statuses"]
    return 1 - answers.get("200", 0) / sum(answers.values())


def _rate_of(load: str) -> Callable[[Figures], float]:
    return lambda one: float(one[load]["slices_per_second_to_the_end"])


COLUMNS = (
    Column(name="slices/s, 64 a request", read=_rate_of("64 slices"), form=".1f"),
    Column(name="slices/s, 1 a request", read=_rate_of("1 slice, 32 clients"), form=".1f"),
    Column(name="p50, ms", read=lambda one: 1000 * one["1 slice, 32 clients"]["p50_seconds"], form=".0f"),
    Column(name="p99, ms", read=lambda one: 1000 * one["1 slice, 32 clients"]["p99_seconds"], form=".0f"),
    Column(name="errors at twice the load", read=lambda one: _share_of_errors(one["overload"]), form=".1%"),
    Column(name="p99 at twice the load, s", read=lambda one: one["overload"]["p99_seconds"], form=".1f"),
    Column(name="memory, MiB", read=lambda one: one["memory"], form=".0f"),
    Column(name="start to ready, s", read=lambda one: one["start"], form=".1f"),
)


def to_row(server: str, rounds: Sequence[Figures], reason: str | None = None) -> Row:
    """Return the medians of a server's rounds; none where there is a reason, whatever rounds came before."""
    if reason is None and not rounds:
        raise ValueError(f"{server} has neither a round nor a reason")
    if reason is not None:
        return Row(server=server, values={}, reason=" ".join(reason.split()))
    medians = {column.name: statistics.median(map(column.read, rounds)) for column in COLUMNS}
    return Row(server=server, values=medians)


def to_table(rows: Sequence[Row]) -> str:
    """Return rows as Markdown; a reason stands in the place of the figures."""
    head = ["server", *(column.name for column in COLUMNS)]
    lines = [head, ["---", *["---:"] * len(COLUMNS)], *(_cells(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(row: Row) -> list[str]:
    if row.reason is not None:
        reason = row.reason.replace("|", "\\|")
        return [row.server, f"not measured: {reason}", *[""] * (len(COLUMNS) - 1)]
    return [row.server, *(format(row.values[column.name], column.form) for column in COLUMNS)]


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw one panel a column, one bar a server, ours darker."""
    figure = Figure(figsize=(14, 1.6 + 0.7 * len(rows)), layout="constrained")
    panels = figure.subplots(2, len(COLUMNS) // 2, sharey=True)
    for axis, column in zip(panels.flat, COLUMNS, strict=True):
        values = [row.values.get(column.name, 0.0) for row in rows]
        colours = ["tab:blue" if row.server == OURS else "lightsteelblue" for row in rows]
        axis.barh([row.server for row in rows], values, color=colours)
        axis.set_title(column.name, fontsize="medium")
        axis.set_xlim(0, 1.25 * max(values) or 1.0)
        for place, row in enumerate(rows):
            text = "not measured" if row.reason else format(row.values[column.name], column.form)
            axis.text(values[place], place, f" {text}", va="center", fontsize="small")
        axis.spines[["top", "right"]].set_visible(False)
    panels[0, 0].invert_yaxis()  # shared: the first row on top everywhere
    figure.savefig(path, dpi=150)
