"""`synspect cohort`: make, read and describe cohorts on disk."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from synspect.commands.cohort_describe import describe
from synspect.commands.cohort_import import import_scans

if TYPE_CHECKING:
    from cohort.store import Cohort

app = typer.Typer(help="Make, import and describe cohorts of slices.", no_args_is_help=True)

_DIRECTORY = typer.Argument(help="Directory to write; new, empty, or a cohort to replace.")


@app.command()
def simulate(
    directory: Annotated[Path, _DIRECTORY],
    preset: Annotated[str, typer.Option(help="Who is in it: paper, small (a tenth of it) or test.")] = "paper",
    patients: Annotated[
        int | None, typer.Option(help="How many patients; the preset's own number if left out.")
    ] = None,
    matrix: Annotated[int, typer.Option(help="128 (2 mm pixels) or 64 (4 mm).")] = 128,
    seed: Annotated[int, typer.Option(help="Two runs with one seed give one cohort.")] = 0,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; all cores if left out.")] = None,
) -> None:
    """Simulate patients with 123I-IMP brain SPECT on MNI152 anatomy.

    Example: synspect cohort simulate cohorts/paper --preset paper --seed 0
    """
    from cohort.patients import count_slices, parse_preset
    from cohort.simulate import simulate_cohort
    from cohort.store import check_destination, save_cohort

    check_destination(directory)
    chosen = parse_preset(preset)
    with _progress() as bar:
        task = bar.add_task("Simulating", total=count_slices(chosen, patients=patients))
        made = simulate_cohort(
            chosen,
            patients=patients,
            matrix=matrix,
            seed=seed,
            workers=workers,
            progress=lambda slices: bar.advance(task, slices),
        )
    save_cohort(made, directory)
    _print_summary(made, directory)


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("slices"))
    return Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True))


def _print_summary(made: "Cohort", directory: Path) -> None:
    counted = ", ".join(f"{condition} {len(made.select(condition=condition))}" for condition in made.conditions())
    patients = len(set(made.patient.tolist()))
    Console().print(f"{len(made)} slices of {patients} patients in {directory}: {counted}", highlight=False)


app.command("import")(import_scans)
app.command()(describe)
