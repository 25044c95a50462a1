"""One arm from nothing, or from where it was killed, to its result: trained, exported, measured."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from study.plan import Arm, Scale
from study.progress import StageProgress
from study.results import ArmResult, Study, StudyRecord

from cohort.store import Cohort, load_cohort
from registry.bundle.generator import ReleasedGenerator
from registry.bundle.manifest import GENERATOR_NAME, Manifest, TrainingCohort
from registry.bundle.panel import Measurement
from spect.commit import git_commit
from spect.errors import InvalidOutputError, ParityError, QuantificationError, TrainingError
from training.loop import ProgressReporter
from training.release.staging import stage_run
from training.run import CONFIG_NAME, RunDirectory
from training.session import NewRun, resume_run, start_run
from training.tracking.reporting import AT, UNIX_TIME, read_metrics
from training.validation.comparison import build_comparison
from training.validation.p_values import measure_p_values
from training.validation.panel import VALIDATION_SEED, Validation, validate_model
from training.validation.samples import (
    FULL,
    QUICK,
    SliceNumbers,
    measure_reference,
    select_reference,
    select_trained,
)

PAUSE = 10  # usual gaps between two lines of metrics: longer ones are pauses, not training


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """The cohorts of a study, loaded once."""

    train_path: Path
    training: Cohort
    test: Cohort
    numbers: SliceNumbers
    workers: int | None

    def describe(self, scale: Scale) -> StudyRecord:
        """Return what a study on them shares."""
        ours = self.training.description
        return StudyRecord(
            scale=scale,
            training_fingerprint=ours.fingerprint,
            training_source=ours.source,
            training_simulator_version=ours.simulator_version,
            test_fingerprint=self.test.description.fingerprint,
            is_quick=self.numbers.is_quick,
        )


def load_material(train: Path, test: Path, *, is_quick: bool, workers: int | None) -> Material:
    """Load both cohorts; raise `CohortError` where the test cohort cannot prove anything of the training cohort's."""
    training, tested = load_cohort(train), load_cohort(test)
    numbers = QUICK if is_quick else FULL
    select_reference(
        tested, trained_on=describe_training(training), training=training, numbers=numbers, seed=VALIDATION_SEED
    )
    return Material(train_path=train, training=training, test=tested, numbers=numbers, workers=workers)


def describe_training(training: Cohort) -> TrainingCohort:
    """Return what a manifest would say of the cohort of training, before anything is trained."""
    ours = training.description
    return TrainingCohort.model_validate(
        {
            "fingerprint": ours.fingerprint,
            "source": ours.source,
            "simulator_version": ours.simulator_version,
            "slices": len(training),
            "intensity_unit": ours.intensity_unit,
            "intensity_scaling": ours.intensity_scaling,
        }
    )


def finish_arm(
    study: Study, arm: Arm, scale: Scale, material: Material, *, training: ProgressReporter, measuring: StageProgress
) -> ArmResult | None:
    """Train an arm, or train it on, and measure it; None where a signal stopped the training.

    A training that diverges, or whose slices cannot be measured, is a result; a full disk is not.

    Raises
    ------
    SynspectError
        What stops the study: a cohort or a setting that cannot be used, a disk that is full.
    """
    run = RunDirectory(study.runs / arm.name)
    try:
        is_finished = _train(run, arm, scale, material.train_path, training)
    except TrainingError as error:
        if isinstance(error.__cause__, OSError):
            raise
        return _conclude(run, arm, outcome="no generator", reason=str(error))
    if not is_finished:
        return None
    try:
        validation, against_training = _measure(run, material, measuring)
    except (InvalidOutputError, QuantificationError, ParityError) as error:
        return _conclude(run, arm, outcome="not measurable", reason=str(error))
    return _conclude(run, arm, outcome="measured").model_copy(
        update={
            "panel": validation.panel,
            "validation_hours": validation.panel.seconds / 3600,
            "against_training": tuple(against_training),
        }
    )


def _train(run: RunDirectory, arm: Arm, scale: Scale, cohort: Path, progress: ProgressReporter) -> bool:
    wanted = NewRun(
        cohort_path=cohort, preset=arm.preset(scale), config=arm.config(scale), dataset=arm.dataset, seed=arm.seed
    )
    return train_on(run, wanted, progress)


def train_on(run: RunDirectory, wanted: NewRun, progress: ProgressReporter) -> bool:
    """Begin a run, or train it on where it is; return whether it is finished, False where a signal stopped it."""
    if not (run.path / CONFIG_NAME).exists():
        return start_run(wanted, run.path, tracker="none", progress=progress)[1].is_finished
    if run.status() == "finished":
        return True
    return resume_run(run, tracker="none", progress=progress).is_finished


def _measure(run: RunDirectory, material: Material, on_progress: StageProgress) -> tuple[Validation, list[Measurement]]:
    record = run.record()
    with tempfile.TemporaryDirectory(prefix="synspect-study-") as directory:
        staged = stage_run(run, record, record.name, Path(directory))
        validation = validate_model(
            ReleasedGenerator.from_onnx(staged.path / GENERATOR_NAME, staged.manifest),
            material.test,
            training=material.training,
            git_commit=git_commit(),
            numbers=material.numbers,
            workers=material.workers,
            on_progress=on_progress,
        )
    return validation, _compare_with_training(validation, material, staged.manifest)


def _compare_with_training(validation: Validation, material: Material, manifest: Manifest) -> list[Measurement]:
    """P values against the slices it was trained on, which is what the reference study compared with."""
    trained = select_trained(material.training, manifest)
    comparison = build_comparison(
        synthetic=validation.comparison.synthetic,
        reference=measure_reference(trained, manifest, workers=material.workers),
        training=None,
        seed=VALIDATION_SEED,
        workers=material.workers,
    )
    return measure_p_values(comparison)


def _conclude(run: RunDirectory, arm: Arm, *, outcome: str, reason: str | None = None) -> ArmResult:
    record = run.record()
    lines = read_metrics(run.metrics) if run.metrics.exists() else []
    return ArmResult.model_validate(
        {
            "arm": arm,
            "outcome": outcome,
            "reason": reason,
            "images_seen": lines[-1][AT] if lines else 0,
            "training_slices": record.training_slices,
            "training_hours": compute_training_seconds(lines) / 3600,
            "validation_hours": 0.0,
            "machine": record.machine,
            "precision": record.precision,
            "git_commit": record.git_commit,
            "changed_settings": dict(record.changed_settings),
            "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )


def compute_training_seconds(lines: Sequence[dict[str, float]]) -> float:
    """Seconds of the training that lines of metrics tell of; a pause between two sittings counts as a usual gap."""
    logged = [line for line in lines if "images_per_second" in line]
    if not logged:
        return 0.0
    gaps = np.diff([line[UNIX_TIME] for line in lines])
    usual = float(np.median(np.diff([line[UNIX_TIME] for line in logged]))) if len(logged) > 1 else 0.0
    before_the_first = logged[0][AT] / logged[0]["images_per_second"]
    return before_the_first + float(np.where(gaps > PAUSE * usual, usual, gaps).sum())
