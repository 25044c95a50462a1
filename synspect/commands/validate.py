"""`synspect validate`: measure a run or a bundle against a cohort it was not trained on."""

import json
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from synspect.gate_table import print_gates
from synspect.screen import open_screen

if TYPE_CHECKING:
    from collections.abc import Iterator


def validate(
    model: Annotated[str, typer.Argument(metavar="RUN|BUNDLE", help="A run's name or path, or a bundle directory.")],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Cohort the model was not trained on.")],
    train: Annotated[Path | None, typer.Option(help="Training cohort, for memorisation; a run knows its own.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="118 slices a condition: wider intervals.")] = False,
    report: Annotated[Path | None, typer.Option(help="HTML report; by default validation.html.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the panel as one JSON object.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; one a core by default.")] = None,
) -> None:
    """Measure a model, run as it is served, against a cohort; write numbers and one HTML page beside, never into, it.

    A failed gate is an answer, not a failure of this command: the exit code is 0.

    Example: synspect validate models/reference cohorts/test --train cohorts/paper --report report.html
    """
    from training.validation.report import write_report
    from training.validation.samples import FULL, QUICK
    from training.validation.simulators import compare_simulators
    from training.validation.subject import check_report_place, open_subject, validate_subject

    report_path = report or Path("validation.html")
    with open_subject(model, train) as subject:
        check_report_place(report_path, subject)
        with stage_progress() as on_progress:
            validation, gates = validate_subject(
                subject, directory, numbers=QUICK if quick else FULL, workers=workers, on_progress=on_progress
            )
        write_report(validation, subject.generator.manifest, gates, report_path)
    panel = validation.panel
    if as_json:
        typer.echo(json.dumps({"panel": json.loads(panel.model_dump_json()), "gates": gates.to_dict()}))
        return
    simulators = compare_simulators(subject.generator.manifest, panel)
    print_gates(gates, about=f"against a {panel.cohort_source} cohort")
    console = open_screen(soft_wrap=True)
    if simulators:
        console.print(simulators)
    console.print(f"{report_path}: {len(panel.measurements)} measurements")


@contextmanager
def stage_progress() -> "Iterator[Callable[[str, int, int], None]]":
    """Show one bar a stage on stderr."""
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=open_screen(stderr=True),
    )
    tasks: dict[str, TaskID] = {}

    def show(stage: str, done: int, total: int) -> None:
        if stage not in tasks:
            tasks[stage] = bars.add_task(stage, total=total)
        bars.update(tasks[stage], completed=done)

    with bars:
        yield show
