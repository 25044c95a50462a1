"""`synspect cohort describe`: tables and pictures of a cohort, alone or beside another."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synspect.screen import open_progress, open_screen

if TYPE_CHECKING:
    from cohort.description.comparison import CohortComparison
    from cohort.description.describe import CohortSummary
    from cohort.description.measuring import MeasuredCohort


def describe(
    directory: Annotated[Path, typer.Argument(help="A cohort.")],
    compare: Annotated[Path | None, typer.Option(help="Another cohort, the reference of the comparison.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    out: Annotated[Path | None, typer.Option(help="Directory of the pictures; DIRECTORY/figures if left out.")] = None,
) -> None:
    """Describe a cohort: counts, mean counts and left/right ratio by condition, a contact sheet and plots.

    Example: synspect cohort describe cohorts/paper --compare cohorts/ours
    """
    from cohort.description.comparison import compare as compare_cohorts
    from cohort.description.describe import summarise
    from cohort.pictures import FIGURES_NAME, write_pictures
    from synspect.cohort_tables import print_comparison, print_summary

    place = out or directory / FIGURES_NAME
    _check_out(place)
    measured = [_measure(path) for path in (directory, compare) if path is not None]
    summaries = [summarise(one) for one in measured]
    comparison = compare_cohorts(*measured) if len(measured) == 2 else None
    pictures = write_pictures(place, _draw(measured))
    if json_:
        _print_json(summaries, comparison, pictures)
        return
    console = open_screen()
    for summary in summaries:
        print_summary(console, summary)
    if comparison is not None:
        print_comparison(console, comparison)
    for picture in pictures:
        console.print(f"wrote {picture}", soft_wrap=True)


def _check_out(out: Path) -> None:
    from spect.errors import CohortError

    if out.exists() and not out.is_dir():
        raise CohortError(f"{out} is a file; name a directory for the pictures with --out")


def _measure(directory: Path) -> "MeasuredCohort":
    from cohort.description.measuring import measure_cohort
    from cohort.store import load_cohort
    from spect.words import in_number

    cohort = load_cohort(directory)
    console = open_screen(stderr=True, soft_wrap=True)
    with open_progress() as bar:
        task = bar.add_task(f"Measuring {directory.name}", total=len(cohort))
        measured = measure_cohort(cohort, progress=lambda done, _total: bar.update(task, completed=done))
    if not console.is_terminal:
        console.print(f"measured {in_number(len(cohort), 'slice')} of {directory}")
    return measured


def _draw(measured: "list[MeasuredCohort]") -> dict[str, bytes]:
    """Draw the first cohort's contact sheet, and the averages of one or of both under names that say which."""
    from cohort.description.asymmetry import map_cohort
    from cohort.description.figures import draw_contact_sheet, draw_quantities
    from cohort.description.map_figures import draw_asymmetry, draw_mean_slices
    from cohort.pictures import ASYMMETRY, CONTACT_SHEET, MEAN_SLICES, QUANTITIES, name_compared

    mapped = [(one.cohort.description, map_cohort(one)) for one in measured]
    averages = {
        QUANTITIES: draw_quantities(measured),
        MEAN_SLICES: draw_mean_slices(mapped),
        ASYMMETRY: draw_asymmetry(mapped),
    }
    named = {name if len(measured) == 1 else name_compared(name): drawn for name, drawn in averages.items()}
    return {CONTACT_SHEET: draw_contact_sheet(measured[0].cohort), **named}


def _print_json(summaries: "list[CohortSummary]", comparison: "CohortComparison | None", pictures: list[Path]) -> None:
    import json
    from dataclasses import asdict

    answer = {
        "cohorts": [asdict(summary) for summary in summaries],
        "comparison": None if comparison is None else asdict(comparison),
        "pictures": [str(picture) for picture in pictures],
    }
    typer.echo(json.dumps(answer, indent=2))
