"""One seed from nothing, or from where it was killed, to its result: cut, trained, exported, taught, judged."""

import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
from study.arms import compute_training_seconds, train_on
from study.progress import StageProgress
from tenth.cut import Cut
from tenth.results import PRESET, SeedResult, Taught, TenthRecord, Tenths
from tenth.scans import MeasuredScans, Scans, plan_tenth
from threadpoolctl import threadpool_limits

from cohort.store import Cohort, is_cohort, load_description, save_cohort
from registry.bundle.generator import ReleasedGenerator
from registry.bundle.manifest import GENERATOR_NAME
from spect.commit import git_commit
from spect.errors import CohortError, InvalidOutputError, ParityError, QuantificationError, TrainingError
from training.loop import ProgressReporter
from training.release.staging import stage_run
from training.run import RunDirectory
from training.session import NewRun
from training.tracking.reporting import AT, read_metrics
from training.validation.lessons import Lesson, draw_gaussian, teach, teach_with_added
from training.validation.pattern_classifier import LabelledSlices
from training.validation.samples import draw_synthetic


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """What a training gave: slices, or why there are none."""

    outcome: Literal["measured", "no generator", "not measurable"]
    reason: str | None = None
    slices: LabelledSlices | None = None


def finish_seed(
    tenths: Tenths,
    seed: int,
    record: TenthRecord,
    scans: Scans,
    *,
    training: ProgressReporter,
    measuring: StageProgress,
) -> SeedResult | None:
    """Cut, train, or train on, and judge a seed; None where a signal stopped the training.

    A training that diverges, or whose slices cannot be measured, is a result; a full disk is not.

    Raises
    ------
    SynspectError
        What stops the benchmark: a cohort or a setting that cannot be used, a disk that is full.
    """
    cut, tenth = plan_tenth(scans, record, seed)
    _keep_tenth(tenths.cohort_path(seed), tenth)
    run = RunDirectory(tenths.run_path(seed))
    made = _train(run, tenths.cohort_path(seed), record, seed, training)
    if made is None:
        return None
    measured = scans.measure(measuring)
    started = time.monotonic()
    if made.outcome == "measured":
        made = _make_slices(run, record.slices, seed, workers=scans.workers, on_progress=measuring)
    measuring("teaching classifiers", 0, 1)
    lessons = teach_all(measured, cut, made.slices, per_condition=record.slices, seed=seed)
    seconds = time.monotonic() - started
    return _conclude(run, seed, tenth, made, lessons, seconds=seconds, rest=len(cut.rest), judged=len(scans.judged))


def teach_all(
    scans: MeasuredScans, cut: Cut, synthetic: LabelledSlices | None, *, per_condition: int, seed: int
) -> dict[Taught, Lesson]:
    """Teach with the tenth, alone and with each of what may be added, and judge all on the patients never trained on.

    The floor has as many slices of every condition as the generator was asked for.
    """
    few = scans.site.take(cut.few)
    asked = np.repeat(np.unique(few.condition_index), per_condition)
    added: dict[Taught, LabelledSlices] = {
        "few_gaussian": draw_gaussian(few, asked, np.random.default_rng([seed, 1])),
        "all": scans.site.take(cut.rest),
    }
    if synthetic is not None:
        added["few_synthetic"] = synthetic
    # One thread of linear algebra, as in the panel: the digits do not hang on how many cores there are.
    with threadpool_limits(limits=1, user_api="blas"):
        alone, together = teach_with_added(few, added, scans.judged)
        lessons: dict[Taught, Lesson] = {"few": alone, **together}
        if synthetic is not None:
            lessons["synthetic"] = teach(synthetic, scans.judged)
    return lessons


def _keep_tenth(path: Path, tenth: Cohort) -> None:
    """Write the tenth unless it is there; raise `CohortError` where another cohort lies there."""
    if not is_cohort(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        save_cohort(tenth, path)
        return
    there = load_description(path).fingerprint
    if there != tenth.description.fingerprint:
        raise CohortError(
            f"{path} holds cohort {there[:12]}, this seed cuts {tenth.description.fingerprint[:12]}: the cut has "
            "changed since; name another directory"
        )


def _train(run: RunDirectory, cohort: Path, record: TenthRecord, seed: int, progress: ProgressReporter) -> _Made | None:
    wanted = NewRun(cohort_path=cohort, preset=PRESET, config=record.config(), dataset="A", seed=seed)
    try:
        is_finished = train_on(run, wanted, progress)
    except TrainingError as error:
        if isinstance(error.__cause__, OSError):
            raise
        return _Made(outcome="no generator", reason=str(error))
    return _Made(outcome="measured") if is_finished else None


def _make_slices(
    run: RunDirectory, per_condition: int, seed: int, *, workers: int | None, on_progress: StageProgress
) -> _Made:
    """Export the generator, and generate and measure slices of every condition as a server would."""
    record = run.record()
    on_progress("exporting", 0, 1)
    try:
        with tempfile.TemporaryDirectory(prefix="synspect-tenth-") as directory:
            staged = stage_run(run, record, record.name, Path(directory))
            sample = draw_synthetic(
                ReleasedGenerator.from_onnx(staged.path / GENERATOR_NAME, staged.manifest),
                staged.manifest.density().conditions,
                per_condition=per_condition,
                seed=seed,
                workers=workers,
                on_progress=on_progress,
            )
    except (InvalidOutputError, QuantificationError, ParityError) as error:
        return _Made(outcome="not measurable", reason=str(error))
    return _Made(outcome="measured", slices=LabelledSlices.of(sample))


def _conclude(
    run: RunDirectory,
    seed: int,
    tenth: Cohort,
    made: _Made,
    lessons: dict[Taught, Lesson],
    *,
    seconds: float,
    rest: int,
    judged: int,
) -> SeedResult:
    record = run.record()
    lines = read_metrics(run.metrics) if run.metrics.exists() else []
    return SeedResult(
        seed=seed,
        outcome=made.outcome,
        reason=made.reason,
        tenth_fingerprint=tenth.description.fingerprint,
        patients=len(np.unique(tenth.patient)),
        slices_few=len(tenth),
        slices_trained=record.training_slices,
        slices_rest=rest,
        slices_synthetic=0 if made.slices is None else len(made.slices.condition_index),
        slices_judged=judged,
        images_seen=int(lines[-1][AT]) if lines else 0,
        training_hours=compute_training_seconds(lines) / 3600,
        measuring_hours=seconds / 3600,
        machine=record.machine,
        precision=record.precision,
        trained_commit=record.git_commit,
        measured_commit=git_commit(),
        changed_settings=dict(record.changed_settings),
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        lessons=lessons,
    )
