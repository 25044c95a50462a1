"""`synspect train`: learn a generator from a cohort."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from spect.errors import ConfigurationError, SynspectError
from synspect.options import refuse_given
from synspect.screen import open_screen

if TYPE_CHECKING:
    from training.loop import Outcome
    from training.run import RunDirectory
    from training.session import NewRun

TrackerName = Literal["mlflow", "none"]


def train(  # noqa: PLR0917 — one parameter an option
    context: typer.Context,
    directory: Annotated[Path | None, typer.Argument(help="Cohort directory; left out with --resume.")] = None,
    preset: Annotated[str, typer.Option(help="smoke, brain64, brain128 or paper (the baseline).")] = "brain64",
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change one setting of the preset; none switches it off."),
    ] = None,
    dataset: Annotated[str, typer.Option(help="A: all levels. B: cortex only.")] = "A",
    seed: Annotated[int, typer.Option(min=0, help="Fixes weights, batches and augmentation.")] = 0,
    tracker: Annotated[str, typer.Option(help="mlflow: follow the run live. none: its directory only.")] = "mlflow",
    resume: Annotated[str | None, typer.Option(help="A run to train on, by name or path.")] = None,
    devices: Annotated[int, typer.Option(min=1, help="GPUs (or processes on a CPU) that share each batch.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Run directory; by default under SYNSPECT_HOME/runs.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check what can be seen at once, print the configuration and stop.")
    ] = False,
) -> None:
    """Train a generator; Ctrl-C saves, and --resume goes on exactly where it stopped.

    Ablations are one --set each: conditioning=condition, principal_scores=0, texture_matrix=none, detail_gain=none,
    upsampling=nearest, averaging_half_life=none, r1_strength=0, lecam_weight=0, ...; --dry-run prints all settings.

    Example: synspect train cohorts/paper --preset brain64 --seed 0 --set lecam_weight=0
    """
    from spect.sampling import check_seed
    from training.presets import preset as find_preset
    from training.run import default_run_path, resolve_run
    from training.session import NewRun, check_start

    chosen = _tracker(tracker)
    if resume is not None:
        if directory is not None or out is not None or changes:
            raise ConfigurationError(
                "--resume knows its cohort, directory and settings; leave DIR, --out and --set out"
            )
        refuse_given(context, "preset", "dataset", "seed", reason="--resume goes on with the run's own; leave them out")
        _resume(resolve_run(resume), chosen, devices=devices, dry_run=dry_run)
        return
    if directory is None:
        raise ConfigurationError("no cohort given; name a cohort directory, or a run with --resume RUN")
    if dataset not in ("A", "B"):
        raise ConfigurationError(f"dataset must be A (all levels) or B (cortex only), got {dataset!r}")
    wanted = NewRun(
        cohort_path=directory,
        preset=preset,
        config=find_preset(preset).changed_by(changes or ()),
        dataset="A" if dataset == "A" else "B",
        seed=check_seed(seed),
    )
    path = out or default_run_path(f"{wanted.preset}-seed{wanted.seed}")
    if not _is_beside_the_first():
        check_start(wanted, path, devices=devices)  # says what is wrong before anything is printed, or takes long
    _print_plan({"preset": preset, "dataset": dataset, "seed": seed, **wanted.config.to_dict()})
    if not dry_run:
        _start(wanted, path, chosen, devices=devices)


def _start(wanted: "NewRun", path: Path, tracker: TrackerName, *, devices: int) -> None:
    from training.session import start_run

    with _said_once(), _ProgressBar(wanted.config.images) as bar:
        run, outcome = start_run(wanted, path, tracker=tracker, progress=bar, devices=devices)
    _print_end(run, outcome)


def _resume(run: "RunDirectory", tracker: TrackerName, *, devices: int, dry_run: bool) -> None:
    from training.session import resume_run

    record = run.record()
    _print_plan(record.to_dict())
    if dry_run:
        return
    with _said_once(), _ProgressBar(record.config.images) as bar:
        outcome = resume_run(run, tracker=tracker, progress=bar, devices=devices)
    _print_end(run, outcome)


def _tracker(name: str) -> TrackerName:
    if name == "mlflow":
        return "mlflow"
    if name == "none":
        return "none"
    raise ConfigurationError(f"tracker must be mlflow or none, got {name!r}")


def _is_beside_the_first() -> bool:
    """Whether this is one of the processes that --devices started: they run the same command, and say nothing."""
    return os.environ.get("LOCAL_RANK", "0") != "0"


@contextmanager
def _said_once() -> Iterator[None]:
    """Leave it to the first process to report an error that all of them have met."""
    try:
        yield
    except SynspectError:
        if _is_beside_the_first():
            raise typer.Exit from None
        raise


def _print_plan(values: dict[str, object]) -> None:
    if not _is_beside_the_first():
        typer.echo(json.dumps(values, indent=2))


# What a shell says of a command that Ctrl-C ended, and of one that SIGTERM did.
_INTERRUPTED, _TERMINATED = 130, 143


def _print_end(run: "RunDirectory", outcome: "Outcome") -> None:
    if _is_beside_the_first():
        return
    console = open_screen(soft_wrap=True)
    if outcome.is_finished:
        console.print(f"{run.path}: finished, best validation score {outcome.best_score:.3f}")
    else:
        console.print(f"{run.path}: saved after {outcome.images_seen} images; go on with")
        console.print(f"  synspect train --resume {run.path}")
        # `train && release` must not go on with half a run.
        raise typer.Exit(_TERMINATED if outcome.is_terminated else _INTERRUPTED)


class _ProgressBar:
    """Images seen, images a second, time left and the last validation score."""

    def __init__(self, images: int) -> None:
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f} images"),
            TextColumn("{task.fields[speed]:.1f}/s"),
            TimeRemainingColumn(),
            TextColumn("score {task.fields[score]}"),
            console=open_screen(stderr=True),
            disable=_is_beside_the_first(),
        )
        self._task: TaskID = self._progress.add_task("training", total=images, speed=0.0, score="not yet")

    def __enter__(self) -> "_ProgressBar":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(self, images_seen: int, *, images_per_second: float, score: float | None) -> None:
        """Move the bar."""
        shown = "not yet" if score is None else f"{score:.3f}"
        self._progress.update(self._task, completed=images_seen, speed=images_per_second, score=shown)
