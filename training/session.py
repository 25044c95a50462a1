"""Start or resume a run: cohort and preset in, a run directory out; keeps the run's status true however it ends."""

import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Literal

import torch
from lightning_fabric import Fabric

from cohort.store import Cohort, load_cohort
from spect.commit import git_commit
from spect.errors import RegistryError, RunError
from spect.slices import FIELD_MM
from training.config import TrainingConfig
from training.loop import Outcome, ProgressReporter, TrainingLoop
from training.prepare import Dataset, Prepared, prepare
from training.run import RunDirectory, RunRecord
from training.tracking import JsonlTracker, LiveTracker, RunTracker, TrackerGroup, forget_completeness

TrackerName = Literal["mlflow", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """What a user asks for."""

    cohort_path: Path
    preset: str
    config: TrainingConfig
    dataset: Dataset
    seed: int


def start_run(
    wanted: NewRun, path: Path, *, tracker: TrackerName, progress: ProgressReporter
) -> tuple[RunDirectory, Outcome]:
    """Train a new run in `path`."""
    cohort = load_cohort(wanted.cohort_path)
    prepared = prepare(cohort, wanted.config, dataset=wanted.dataset)
    precision = preferred_precision()
    record = _record(wanted, path.name, cohort, prepared, precision)
    run = RunDirectory.create(path, record)
    try:
        outcome = _train(run, record, prepared, tracker=tracker, progress=progress, is_resumed=False)
    except RegistryError:
        if not run.metrics.exists():  # nothing was learnt: leave the place free for the same command
            shutil.rmtree(run.path)
        raise
    return run, outcome


def resume_run(run: RunDirectory, *, tracker: TrackerName, progress: ProgressReporter) -> Outcome:
    """Train a run on from its last checkpoint, exactly as if it had not stopped.

    Raises
    ------
    RunError
        The run is finished, has no checkpoint, or its cohort is not the one it was started on.
    """
    record = run.record()
    if run.status() == "finished":
        raise RunError(f"{run.path} is finished; train a new run, or release this one")
    if not run.checkpoint("last").exists():
        raise RunError(f"{run.path} has no checkpoint to resume from; start it again with another --out")
    cohort = load_cohort(Path(record.cohort_path))
    if cohort.description.fingerprint != record.cohort_fingerprint:
        raise RunError(
            f"{record.cohort_path} holds cohort {cohort.description.fingerprint[:12]}, the run was started on "
            f"{record.cohort_fingerprint[:12]}; bring that cohort back, or start a new run"
        )
    prepared = prepare(cohort, record.config, dataset=record.dataset)
    return _train(run, record, prepared, tracker=tracker, progress=progress, is_resumed=True)


def preferred_precision() -> Literal["bf16-mixed", "32-true"]:
    """Return bfloat16 where the GPU or the CPU computes in it, else float32."""
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    cpu = Path("/proc/cpuinfo")
    has_bfloat16 = cpu.exists() and "avx512_bf16" in cpu.read_text(encoding="utf-8", errors="replace")
    return "bf16-mixed" if has_bfloat16 else "32-true"


def _train(
    run: RunDirectory,
    record: RunRecord,
    prepared: Prepared,
    *,
    tracker: TrackerName,
    progress: ProgressReporter,
    is_resumed: bool,
) -> Outcome:
    fabric = Fabric(accelerator="auto", devices=1, precision=record.precision)  # type: ignore[arg-type]
    loop = TrainingLoop(run=run, prepared=prepared, config=record.config, seed=record.seed, fabric=fabric)
    if is_resumed:
        loop.resume()
    report = _trackers(run, record, tracker, keep_until=loop.images_seen)
    run.set_status("running")
    ended: Literal["finished", "interrupted", "failed"] = "failed"
    try:
        with stop_on_interrupt() as should_stop:
            outcome = loop.run(report, progress, should_stop)
        ended = "finished" if outcome.is_finished else "interrupted"
    finally:
        run.set_status(ended)
        report.end(ended)
    return outcome


def _trackers(run: RunDirectory, record: RunRecord, tracker: TrackerName, *, keep_until: int) -> RunTracker:
    lines = JsonlTracker(run.metrics, keep_until=keep_until)
    if tracker == "mlflow":
        return TrackerGroup([lines, LiveTracker(run, record)])
    forget_completeness(run)
    return lines


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C and a polite kill into a question asked between steps: a step is never cut in two.

    A second Ctrl-C ends at once.
    """
    asked = False

    def remember(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 — the signature of a handler
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _record(wanted: NewRun, name: str, cohort: Cohort, prepared: Prepared, precision: str) -> RunRecord:
    description = cohort.description
    return RunRecord(
        name=name,
        preset=wanted.preset,
        dataset=wanted.dataset,
        seed=wanted.seed,
        config=wanted.config,
        cohort_path=str(wanted.cohort_path.absolute()),
        cohort_fingerprint=description.fingerprint,
        cohort_source=description.source,
        simulator_version=description.simulator_version,
        intensity_unit=description.intensity_unit,
        intensity_scaling=description.intensity_scaling,
        training_slices=len(prepared.train),
        max_counts=prepared.scale.max_counts,
        matrix=wanted.config.matrix,
        pixel_spacing_mm=FIELD_MM / wanted.config.matrix,
        git_commit=git_commit(),
        precision=precision,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
