"""Start or resume a run: cohort and preset in, a run directory out; keeps the run's status true however it ends."""

import logging
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Literal, cast

import torch
from lightning_fabric import Fabric

from cohort.store import Cohort, load_cohort, load_description
from spect.commit import git_commit
from spect.errors import RegistryError, RunError
from spect.slices import FIELD_MM
from training.config import TrainingConfig
from training.devices import Precision, check_devices, on_first, open_devices
from training.loop import Outcome, ProgressReporter, TrainingLoop
from training.machine import describe_machine
from training.prepare import Dataset, Prepared, prepare
from training.presets import PRESETS
from training.run import RunDirectory, RunRecord
from training.tracking.mlflow import LiveTracker, forget_completeness
from training.tracking.reporting import DIED, End, JsonlTracker, RunTracker, SilentTracker, TrackerGroup

log = logging.getLogger(__name__)

TrackerName = Literal["mlflow", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """What a user asks for."""

    cohort_path: Path
    preset: str
    config: TrainingConfig
    dataset: Dataset
    seed: int


def check_start(wanted: NewRun, path: Path, *, devices: int = 1) -> None:
    """Raise what `start_run` would raise of what can be seen at once: devices, cohort directory, place of the run."""
    check_devices(wanted.config, devices)
    load_description(wanted.cohort_path)
    RunDirectory.check_free(path)


def start_run(
    wanted: NewRun, path: Path, *, tracker: TrackerName, progress: ProgressReporter, devices: int = 1
) -> tuple[RunDirectory, Outcome]:
    """Train a new run in `path`, on as many devices as there are to be.

    Raises
    ------
    CohortError, ConfigurationError, RunError
        What cannot be trained, and why; nothing was written.
    TrainingError
        It diverged for good, or its files could not be written; the run is kept.
    """
    check_devices(wanted.config, devices)
    precision = preferred_precision()
    fabric = open_devices(devices, precision)
    cohort = load_cohort(wanted.cohort_path)
    prepared = prepare(cohort, wanted.config, dataset=wanted.dataset)
    path = fabric.broadcast(path)  # the first process chose it
    record = _record(wanted, path.name, cohort, prepared, precision)
    run = on_first(fabric, lambda: RunDirectory.create(path, record))
    try:
        outcome = _train(run, record, prepared, fabric=fabric, tracker=tracker, progress=progress)
    except RegistryError:
        if not run.checkpoint("last").exists():  # nothing was learnt: leave the place free for the same command
            shutil.rmtree(run.path, ignore_errors=True)
        raise
    return run, outcome


def resume_run(run: RunDirectory, *, tracker: TrackerName, progress: ProgressReporter, devices: int = 1) -> Outcome:
    """Train a run on from its last checkpoint, exactly as if it had not stopped.

    Raises
    ------
    RunError
        The run is finished, is being trained, or its cohort is not the one it was started on.
    """
    record = run.record()
    if run.status() == "finished":
        raise RunError(f"{run.path} is finished; train a new run, or release this one")
    check_devices(record.config, devices)
    fabric = open_devices(devices, cast(Precision, record.precision))
    cohort = load_cohort(Path(record.cohort_path))
    if cohort.description.fingerprint != record.cohort_fingerprint:
        raise RunError(
            f"{record.cohort_path} holds cohort {cohort.description.fingerprint[:12]}, the run was started on "
            f"{record.cohort_fingerprint[:12]}; bring that cohort back, or start a new run"
        )
    prepared = prepare(cohort, record.config, dataset=record.dataset)
    return _train(run, record, prepared, fabric=fabric, tracker=tracker, progress=progress)


def preferred_precision() -> Precision:
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
    fabric: Fabric,
    tracker: TrackerName,
    progress: ProgressReporter,
) -> Outcome:
    with ExitStack() as held:
        on_first(fabric, lambda: held.enter_context(run.lock()))
        on_first(fabric, run.remove_partials)
        loop = TrainingLoop(run=run, prepared=prepared, config=record.config, seed=record.seed, fabric=fabric)
        loop.resume()
        trackers: list[RunTracker] = []
        on_first(fabric, lambda: trackers.append(_open_trackers(run, record, tracker, images_seen=loop.images_seen)))
        report = held.enter_context(_reporting(run, trackers[0] if trackers else None))
        with stop_on_signal() as stop:
            outcome = loop.run(report.tracker, progress if fabric.is_global_zero else _NoProgress(), stop)
        outcome = replace(outcome, is_terminated=not outcome.is_finished and stop.received is signal.SIGTERM)
        report.how, report.reason = _ending(outcome)
    return outcome


@dataclass(slots=True)
class _Report:
    """Where a run reports, and how it ended: it failed unless it is said otherwise."""

    tracker: RunTracker
    how: End = "failed"
    reason: str | None = DIED


@contextmanager
def _reporting(run: RunDirectory, tracker: RunTracker | None) -> Iterator[_Report]:
    """Keep status file and tracker true to how training ends, by itself, by a signal or by an error.

    Processes beside the first have no tracker and write nothing.
    """
    if tracker is None:
        yield _Report(SilentTracker())
        return
    report = _Report(tracker)
    run.set_status("running")
    try:
        yield report
    except BaseException as error:
        report.reason = f"{type(error).__name__}: {error}"
        raise
    finally:
        try:
            run.set_status(report.how, report.reason)
        except OSError as error:  # a full disk: what ended the run says so, and must not be hidden by this
            log.warning("%s could not be noted as %s: %s", run.path, report.how, error.strerror)
        report.tracker.end(report.how, report.reason)


def _ending(outcome: Outcome) -> tuple[End, str | None]:
    if outcome.is_finished:
        return "finished", None
    if outcome.is_terminated:
        return "terminated", f"stopped by SIGTERM after {outcome.images_seen:,} images; it can be resumed"
    return "interrupted", f"stopped by hand after {outcome.images_seen:,} images; it can be resumed"


def _open_trackers(run: RunDirectory, record: RunRecord, tracker: TrackerName, *, images_seen: int) -> RunTracker:
    lines = JsonlTracker(run, keep_until=images_seen)
    if run.status() == "running":  # and this process holds it
        run.note_event("died", at=images_seen, reason=DIED)
    if tracker == "mlflow":
        return TrackerGroup([lines, LiveTracker(run, record)])
    forget_completeness(run)
    return lines


class _NoProgress:
    """For the processes beside the first."""

    def update(self, images_seen: int, *, images_per_second: float, score: float | None) -> None:
        """Show nothing."""


class StopRequest:
    """Whether to stop, asked between steps, and which signal said so."""

    received: signal.Signals | None = None

    def __call__(self) -> bool:
        """Return whether to stop."""
        return self.received is not None


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Turn Ctrl-C and a polite kill into a question asked between steps: a step is never cut in two.

    A second Ctrl-C ends at once.
    """
    request = StopRequest()

    def remember(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 — the signature of a handler
        request.received = signal.Signals(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
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
        changed_settings=wanted.config.differences(PRESETS[wanted.preset]) if wanted.preset in PRESETS else {},
        machine=describe_machine(),
    )
