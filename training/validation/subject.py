"""What is validated: a bundle as it is, or a run's best checkpoint exported for the occasion."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cohort.store import Cohort, load_cohort
from registry.bundle.directory import CURRENT_NAME, load_bundle
from registry.bundle.generator import ReleasedGenerator
from registry.bundle.manifest import GENERATOR_NAME, MANIFEST_NAME
from registry.gates import GateReport
from registry.policy import load_policy
from spect.commit import git_commit
from spect.errors import CohortError, ConfigurationError
from training.release.staging import judge_panel, load_training_cohort, stage_run
from training.run import RunDirectory
from training.validation.panel import Validation, validate_model
from training.validation.samples import FULL, Progress, SliceNumbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A generator in ONNX Runtime, the cohort it was trained on where known, and the directory it must not touch."""

    generator: ReleasedGenerator
    training: Cohort | None
    bundle_path: Path | None  # None for a run


@contextmanager
def open_subject(model: str, train: Path | None) -> Iterator[Subject]:
    """Open a bundle directory, or export a run for as long as the block lasts.

    Raises
    ------
    RunError, BundleError, CohortError
        There is neither, or the training cohort given is not the model's.
    """
    directory = Path(model)
    if (directory / MANIFEST_NAME).is_file() or (directory / CURRENT_NAME).exists():
        bundle = load_bundle(directory)
        training = _training_cohort(train, bundle.manifest.training_cohort.fingerprint)
        yield Subject(generator=ReleasedGenerator(bundle), training=training, bundle_path=bundle.path)
        return
    run = RunDirectory.open(model)
    record = run.record()
    training = _training_cohort(train, record.cohort_fingerprint) or load_training_cohort(record)
    with tempfile.TemporaryDirectory(prefix="synspect-validate-") as staging:
        staged = stage_run(run, record, record.name, Path(staging))
        generator = ReleasedGenerator.from_onnx(staged.path / GENERATOR_NAME, staged.manifest)
        yield Subject(generator=generator, training=training, bundle_path=None)


def _training_cohort(train: Path | None, fingerprint: str) -> Cohort | None:
    if train is None:
        return None
    cohort = load_cohort(train)
    if cohort.description.fingerprint != fingerprint:
        raise CohortError(
            f"{train} has fingerprint {cohort.description.fingerprint[:12]}, the model was trained on "
            f"{fingerprint[:12]}; give that cohort, or leave --train out"
        )
    return cohort


def check_report_place(report: Path, subject: Subject) -> None:
    """Raise `ConfigurationError` where the report would land inside the bundle."""
    if subject.bundle_path is not None and report.absolute().is_relative_to(subject.bundle_path.absolute()):
        raise ConfigurationError(f"{report} lies in the bundle, which is never changed; write the report beside it")
    if report.is_dir():
        raise ConfigurationError(f"{report} is a directory; name a file for the report")


def validate_subject(
    subject: Subject,
    cohort: Path,
    *,
    numbers: SliceNumbers = FULL,
    workers: int | None = None,
    on_progress: Progress | None = None,
) -> tuple[Validation, GateReport]:
    """Measure a subject against the cohort in a directory and hold the panel against the gates."""
    policy = load_policy()  # before the long work: it may be the user's own
    validation = validate_model(
        subject.generator,
        load_cohort(cohort),
        training=subject.training,
        git_commit=git_commit(),
        numbers=numbers,
        workers=workers,
        on_progress=on_progress,
    )
    gates = judge_panel(validation.panel, subject.generator.manifest, policy, onnx_sha256=subject.generator.sha256)
    return validation, gates
