"""The table of gates as every command prints it: measured, limit, verdict, power."""

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from synspect.screen import open_screen

if TYPE_CHECKING:
    from registry.gates import GateReport, GateRow

_STYLES = {"pass": "green", "fail": "bold red", "reported": "dim"}


def print_gates(report: "GateReport", *, about: str = "", with_reported: bool = False) -> None:
    """Print the gates, then, if asked, the measurements that decide nothing, then the verdict in words."""
    title = f"Gates {about}".strip()
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False)
    for heading in ("gate", "cell", "measured", "limit", "verdict", "power"):
        table.add_column(heading)
    reported = [row for row in report.rows if row.verdict == "reported"] if with_reported else []
    for row in (*report.gates, *reported):
        gate = row.metric.replace("_", " ")  # words wrap in a narrow terminal, underscores do not
        verdict = Text(row.verdict, style=_STYLES[row.verdict])
        if row.note:
            verdict.append(f" ({row.note})", style="dim")
        table.add_row(gate, row.cell, _measured(row), row.limit, verdict, _power(row))
    console = open_screen()
    console.print(table)
    console.print(report.in_words(), soft_wrap=True)


def _measured(row: "GateRow") -> str:
    if row.measured is None:
        return "—"
    interval = "" if row.low is None or row.high is None else f" ({row.low:.3g} to {row.high:.3g})"
    return f"{row.measured:.3g}{interval}"


def _power(row: "GateRow") -> str:
    return "" if row.power is None else f"{row.power:.2f}"
