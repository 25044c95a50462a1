"""`synspect cohort describe`: tables and pictures of a cohort, alone or beside another."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

if TYPE_CHECKING:
    from cohort.describe import CohortSummary, Comparison, Interval, MeasuredCohort
    from spect.equivalence import Estimate

CONTACT_SHEET = "contact-sheet.png"
QUANTITIES = "mean-counts-left-right.png"


def describe(
    directory: Annotated[Path, typer.Argument(help="A cohort.")],
    compare: Annotated[Path | None, typer.Option(help="Another cohort, the reference of the comparison.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    out: Annotated[Path | None, typer.Option(help="Directory of the pictures; DIRECTORY/figures if absent.")] = None,
) -> None:
    """Describe a cohort: counts, mean counts and left/right ratio by condition, a contact sheet and plots.

    Example: synspect cohort describe cohorts/paper --compare cohorts/ours
    """
    from cohort.describe import compare as compare_cohorts
    from cohort.describe import summarise

    measured = [_measure(path) for path in (directory, compare) if path is not None]
    summaries = [summarise(one) for one in measured]
    comparisons = compare_cohorts(*measured) if len(measured) == 2 else ()
    pictures = _draw(measured, out or directory / "figures")
    if json_:
        _print_json(summaries, comparisons, pictures)
        return
    console = Console(highlight=False)
    for summary in summaries:
        _print_summary(console, summary)
    if comparisons:
        _print_comparisons(console, comparisons)
    for picture in pictures:
        console.print(f"wrote {picture}", soft_wrap=True)


def _measure(directory: Path) -> "MeasuredCohort":
    from cohort.describe import measure_cohort
    from cohort.store import load_cohort

    cohort = load_cohort(directory)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"Measuring {directory.name}", total=len(cohort))
        return measure_cohort(cohort, progress=lambda done, _total: bar.update(task, completed=done))


def _draw(measured: "list[MeasuredCohort]", out: Path) -> list[Path]:
    from cohort.figures import draw_contact_sheet, draw_quantities
    from spect.atomic import write_atomically
    from spect.errors import CohortError

    if out.exists() and not out.is_dir():
        raise CohortError(f"{out} is a file; name a directory for the pictures with --out")
    pictures = {CONTACT_SHEET: draw_contact_sheet(measured[0].cohort), QUANTITIES: draw_quantities(measured)}
    out.mkdir(parents=True, exist_ok=True)
    for name, content in pictures.items():
        write_atomically(out / name, content)
    return [out / name for name in pictures]


def _print_json(summaries: "list[CohortSummary]", comparisons: "tuple[Comparison, ...]", pictures: list[Path]) -> None:
    import json
    from dataclasses import asdict

    answer = {
        "cohorts": [asdict(summary) for summary in summaries],
        "comparisons": [asdict(comparison) for comparison in comparisons],
        "pictures": [str(picture) for picture in pictures],
    }
    typer.echo(json.dumps(answer, indent=2))


def _print_summary(console: Console, summary: "CohortSummary") -> None:
    splits = ", ".join(f"{name} {slices}" for name, slices in summary.slices_by_split.items() if slices)
    spread = ", ".join(f"{patients} with {slices}" for slices, patients in summary.patients_by_slices.items())
    icc = "too few patients" if summary.mean_counts_icc is None else f"{summary.mean_counts_icc:.2f}"
    console.print(f"[bold]{summary.name}[/bold]: {summary.source}, {summary.slices} slices ({splits})", soft_wrap=True)
    console.print(f"{summary.patients} patients by slices: {spread}; ICC of mean counts {icc}", soft_wrap=True)
    console.print(
        f"matrix {summary.matrix}, {summary.pixel_spacing_mm:g} mm, {summary.intensity_unit}, "
        f"{summary.intensity_scaling} scale, fingerprint {summary.fingerprint[:12]}",
        soft_wrap=True,
    )
    table = _table(caption="mean (SD), 95 % interval by patient; of ratios: geometric mean, SD of the log")
    for heading in ("slices/\npatients", "mean counts", "left/right", "larger/smaller"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in summary.conditions:
        numbers = f"{row.slices}/{row.patients}" + f"\n{row.slices_without_outline} unmeasured" * bool(
            row.slices_without_outline
        )
        ratios = (_in_words(row.left_right_ratio, 3), _in_words(row.asymmetry, 3))
        table.add_row(row.condition, numbers, _in_words(row.mean_counts, 2), *ratios)
    console.print(table)


def _print_comparisons(console: Console, comparisons: "tuple[Comparison, ...]") -> None:
    table = _table(title="first cohort against the second, 90 % intervals by patient")
    for heading in ("mean counts,\nratio", "verdict", "log left/right,\ndifference", "verdict"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in comparisons:
        ratio, difference = _estimate_in_words(row.mean_counts_ratio), _estimate_in_words(row.log_ratio_difference)
        table.add_row(row.condition, ratio, row.mean_counts_verdict, difference, row.log_ratio_verdict)
    console.print(table)


def _table(*, title: str | None = None, caption: str | None = None) -> Table:
    """Return a table that fits 80 columns."""
    table = Table(title=title, caption=caption, box=SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False)
    table.add_column("condition", no_wrap=True)
    return table


def _in_words(interval: "Interval | None", digits: int) -> str:
    if interval is None:
        return "-"
    if interval.low is None or interval.high is None or interval.sd is None:
        return f"{interval.mean:.{digits}f}"
    spread = f"{interval.mean:.{digits}f} ({interval.sd:.{digits}f})"
    return f"{spread}\n{interval.low:.{digits}f} to {interval.high:.{digits}f}"


def _estimate_in_words(estimate: "Estimate | None") -> str:
    return "-" if estimate is None else f"{estimate.value:.3f}\n{estimate.low:.3f} to {estimate.high:.3f}"
