"""`synspect cohort`: make, read and describe cohorts on disk."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from synspect.commands.cohort_describe import describe
from synspect.commands.cohort_import import import_scans
from synspect.help_group import HelpGroup
from synspect.screen import open_progress, open_screen, words

app = typer.Typer(cls=HelpGroup, help="Make, import and describe cohorts of slices.", no_args_is_help=True)

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
    from cohort.simulator.patients import parse_preset
    from cohort.simulator.simulate import Simulation, write_simulated_cohort

    wanted = Simulation(preset=parse_preset(preset), patients=patients, matrix=matrix, seed=seed)
    with _progress() as bar:
        task = bar.add_task("Simulating", total=wanted.conditions.total())
        write_simulated_cohort(wanted, directory, workers=workers, progress=lambda slices: bar.advance(task, slices))
    counted = ", ".join(f"{condition} {slices}" for condition, slices in wanted.conditions.items())
    told = f"{wanted.conditions.total()} slices of {wanted.size} patients in {directory}: {counted}"
    open_screen(soft_wrap=True).print(told)


def _progress() -> Progress:
    columns = (words("{task.description}"), BarColumn(), MofNCompleteColumn(), words("slices"))
    return open_progress(*columns, TimeElapsedColumn(), TimeRemainingColumn())


app.command("import")(import_scans)
app.command()(describe)
