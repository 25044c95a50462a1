"""`synspect cohort`: make, read and describe cohorts on disk."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from synspect.commands.cohort_describe import describe
from synspect.commands.cohort_import import import_scans

if TYPE_CHECKING:
    from cohort.simulator.simulate import Simulation

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

    More than 4,096 slices are written to numbered files, and memory does not grow with their number.

    Example: synspect cohort simulate cohorts/paper --preset paper --seed 0
    """
    from cohort.simulator.patients import count_slices, parse_preset
    from cohort.simulator.simulate import Simulation, write_simulated_cohort

    chosen = parse_preset(preset)
    wanted = Simulation(preset=chosen, patients=patients, matrix=matrix, seed=seed)
    total = count_slices(chosen, patients=patients)
    with _progress() as bar:
        task = bar.add_task("Simulating", total=total)
        write_simulated_cohort(wanted, directory, workers=workers, progress=lambda slices: bar.advance(task, slices))
    _print_summary(wanted, directory)


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("slices"))
    return Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True))


def _print_summary(wanted: "Simulation", directory: Path) -> None:
    from cohort.simulator.patients import count_conditions

    plans = wanted.plan()
    counted = count_conditions(plans)
    words = ", ".join(f"{condition} {slices}" for condition, slices in counted.items())
    Console().print(f"{counted.total()} slices of {len(plans)} patients in {directory}: {words}", highlight=False)


app.command("import")(import_scans)
app.command()(describe)
