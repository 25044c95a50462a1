"""The table of gates as every command prints it, within 80 columns: measured, limit, verdict, power."""

from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from synspect.screen import open_screen

if TYPE_CHECKING:
    from collections.abc import Iterable

    from registry.gates import GateReport, GateRow

_STYLES = {"pass": "green", "fail": "bold red", "reported": "dim"}
_SMALLEST = 5e-5  # below it four decimals say nothing


def print_gates(report: "GateReport", *, about: str = "", with_reported: bool = False) -> None:
    """Print the gates, their notes, then, if asked, the measurements that decide nothing, then the verdict in words."""
    console = open_screen()
    _print_rows(console, f"Gates {about}".strip(), report.gates)
    for note, rows in _by_note(report.gates).items():
        console.print(Text(f" {note}: {', '.join(rows)}", style="dim"))
    if with_reported and (reported := [row for row in report.rows if row.verdict == "reported"]):
        _print_rows(console, "Reported beside them, deciding nothing", reported)
    console.print(report.in_words(), soft_wrap=True)


def _print_rows(console: Console, title: str, rows: "Iterable[GateRow]") -> None:
    """Print one line a cell under one line a metric: a name as long as a metric's leaves no room for numbers."""
    console.print(Text(f"\n{title}\n", style="italic"))
    _print_line(console, ("", "measured", "interval", "limit", Text("verdict"), "power"))
    for metric, cells in groupby(rows, key=lambda row: row.metric):
        console.print(Text(metric.replace("_", " "), style="bold"))
        for row in cells:
            verdict = Text(row.verdict, style=_STYLES[row.verdict])
            interval = "" if row.low is None or row.high is None else f"{_number(row.low)} to {_number(row.high)}"
            measured = "—" if row.measured is None else _number(row.measured)
            power = "" if row.power is None else f"{row.power:.2f}"
            _print_line(console, (f"  {row.cell}", measured, interval, row.limit, verdict, power))
    console.print()


def _print_line(console: Console, parts: tuple[str, str, str, str, Text, str]) -> None:
    cell, measured, interval, limit, verdict, power = parts
    line = Text(f"{cell:<16} {measured:>8}  {interval:<19} {limit:<14} ")
    line.append(verdict).append(" " * (8 - len(verdict))).append(f" {power:>5}")
    line.rstrip()
    console.print(line, soft_wrap=True)


def _by_note(rows: "Iterable[GateRow]") -> dict[str, list[str]]:
    notes: dict[str, list[str]] = {}
    for row in rows:
        if row.note:
            notes.setdefault(row.note, []).append(f"{row.metric.replace('_', ' ')} ({row.cell})")
    return notes


def _number(value: float) -> str:
    return f"{value:.4f}" if value == 0 or abs(value) >= _SMALLEST else f"{value:.1e}"
