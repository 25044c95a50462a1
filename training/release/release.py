"""From a run to a released bundle: export, validate what was exported, profile, card, bundle, registered version."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cohort.store import Cohort, load_cohort
from registry.bundle.directory import Bundle, write_bundle
from registry.bundle.generator import ReleasedGenerator
from registry.bundle.graph import find_opset
from registry.bundle.manifest import CARD_NAME, GENERATOR_NAME, PANEL_NAME, PROFILE_NAME
from registry.bundle.panel import Panel
from registry.gates import GateReport
from registry.policy import Policy, load_policy
from registry.registration import register_release
from registry.store.facts import DEFAULT_NAME
from registry.store.model_store import ModelStore
from spect.commit import git_commit
from spect.conditions import CONDITIONS
from spect.errors import BundleError, CohortError, RunError
from spect.features import FEATURES
from spect.profile import DEFAULT_PROFILE_SLICES, ReferenceProfile, ReferenceSample, build_profile
from training.machine import describe_latency
from training.release.card import CardFacts, write_card
from training.release.own_output import measure_own_output
from training.release.staging import StagedModel, describe_training_cohort, judge_panel, load_training_cohort, stage_run
from training.run import RunDirectory, RunRecord
from training.tracking.mlflow import replay, track_panel
from training.tracking.reporting import read_metrics
from training.validation.figures.slices import draw_measures_png, draw_synthetic_png
from training.validation.panel import Validation, validate_model
from training.validation.report import render_report
from training.validation.samples import FULL, SliceNumbers, select_reference

SYNTHETIC_FIGURE = "figures/synthetic.png"
MEASURES_FIGURE = "figures/measures.png"

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseNumbers:
    """How many slices per condition a release draws: 20,000 in the profile support one false alarm in 1,000."""

    panel: SliceNumbers = FULL
    profile: int = DEFAULT_PROFILE_SLICES


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What a release made."""

    bundle: Bundle
    gates: GateReport
    version: str | None  # None where nothing was registered


def release(
    run: RunDirectory,
    test_cohort: Path,
    *,
    destination: Path,
    name: str = DEFAULT_NAME,
    numbers: ReleaseNumbers | None = None,
    store: ModelStore | None = None,
    workers: int | None = None,
    on_progress: Progress | None = None,
) -> Release:
    """Release a run's best checkpoint; an interruption leaves nothing behind, and the call can be repeated.

    Parameters
    ----------
    run
        Trained on all conditions.
    test_cohort
        Patients the model never saw: what it is proven on, and whose statistics become the reference profile.
    destination
        Where the bundle goes; must not exist.
    name
        Of the registered model.
    numbers
        Slices per condition that are judged and that make up the profile; what a release demands where None.
    store
        Where the version is registered; None writes the bundle only.
    workers
        Processes; one a core by default.
    on_progress
        Hears of stage, done and total.

    Raises
    ------
    RunError, CohortError, BundleError, ParityError
        What cannot be released, and why.
    ConfigurationError
        The policy cannot be read.
    RegistryError
        The registry is unreachable; it is asked before the long work begins.
    """
    record, numbers = run.record(), numbers or ReleaseNumbers()
    _check_obeys(record)
    if destination.exists():
        raise BundleError(f"{destination} exists, and a bundle is never changed; remove it or choose another --out")
    policy = load_policy()
    cohort, training = _load_cohorts(record, test_cohort)
    if store is not None:
        store.versions()
    with tempfile.TemporaryDirectory(prefix=".release-", dir=run.path) as directory:
        staged = stage_run(run, record, name, Path(directory))
        _check_complete(staged)
        validation = validate_model(
            ReleasedGenerator.from_onnx(staged.path / GENERATOR_NAME, staged.manifest),
            cohort,
            training=training,
            git_commit=git_commit(),
            numbers=numbers.panel,
            workers=workers,
            on_progress=on_progress,
        )
        profile = _build_profile(
            staged, cohort, validation, slices=numbers.profile, workers=workers, on_progress=on_progress
        )
        bundle, gates = _write(staged, run, validation, profile, (cohort, training), destination, policy=policy)
    version = None
    if store is not None:
        run_id = replay(run)
        track_panel(run_id, validation.panel.measurements)
        report = render_report(validation, bundle.manifest, gates)
        version = register_release(store, bundle, mlflow_run_id=run_id, report_html=report)
    return Release(bundle=bundle, gates=gates, version=version)


def choose_destination(run: RunDirectory) -> Path:
    """Return a new place for a bundle in the run's directory."""
    return run.path / "bundles" / datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")


def _check_obeys(record: RunRecord) -> None:
    """Raise `RunError` for a generator that would not make the mean counts and ratios that users may ask for."""
    if not record.config.obeys_quantities:
        raise RunError(
            f"run {record.name} (preset {record.preset}) was trained without quantities, and a released model must "
            "make the mean counts and left/right ratio it is asked for; validate it, or train with "
            "conditioning=quantities"
        )


def _check_complete(staged: StagedModel) -> None:
    """Raise `RunError` for a generator that does not know every condition that may be asked for."""
    if missing := staged.manifest.untaught():
        raise RunError(
            f"run {staged.manifest.run_id} was trained without {', '.join(missing)}, which every released model "
            "serves; validate it, or train with --dataset A on a cohort that holds every condition"
        )


def _load_cohorts(record: RunRecord, test_cohort: Path) -> tuple[Cohort, Cohort | None]:
    """Load and check both cohorts before anything takes long; the training cohort may be gone."""
    cohort = load_cohort(test_cohort)
    training = load_training_cohort(record)
    select_reference(cohort, trained_on=describe_training_cohort(record), training=training, numbers=FULL, seed=0)
    missing = [str(condition) for condition in CONDITIONS if condition not in cohort.conditions()]
    if missing:
        raise CohortError(f"{test_cohort} has no slice of {', '.join(missing)}; release needs every condition")
    return cohort, training


def _build_profile(
    staged: StagedModel,
    cohort: Cohort,
    validation: Validation,
    *,
    slices: int,
    workers: int | None,
    on_progress: Progress | None,
) -> ReferenceProfile:
    reference = validation.comparison.reference
    own = measure_own_output(
        staged.path / GENERATOR_NAME,
        staged.manifest,
        per_condition=slices,
        workers=workers,
        on_progress=on_progress,
    )
    samples = {}
    for condition in CONDITIONS:
        of_condition = reference.condition_index == condition.index
        samples[condition] = ReferenceSample(
            features={name: reference.measures[name][of_condition] for name in FEATURES},
            patients=reference.patient[of_condition],
        )
    return build_profile(
        reference=samples,
        generated=own,
        source=cohort.description.source,
        # That of the served batches; a cohort of another one was refused before.
        intensity_unit=staged.manifest.training_cohort.intensity_unit,
        intensity_scaling=staged.manifest.training_cohort.intensity_scaling,
        pixel_spacing_mm=staged.manifest.pixel_spacing_mm,
    )


def _write(
    staged: StagedModel,
    run: RunDirectory,
    validation: Validation,
    profile: ReferenceProfile,
    cohorts: tuple[Cohort, Cohort | None],
    destination: Path,
    *,
    policy: Policy,
) -> tuple[Bundle, GateReport]:
    panel, comparison = validation.panel, validation.comparison
    manifest = staged.manifest.model_copy(update={"validation": summarise_panel(panel, policy)})
    gates = judge_panel(panel, manifest, policy, onnx_sha256=panel.onnx_sha256)
    card = write_card(
        CardFacts(
            manifest=manifest,
            run=run.record(),
            images_seen=staged.facts.images_seen,
            images_per_second=find_training_speed(run),
            graph_bytes=(staged.path / GENERATOR_NAME).stat().st_size,
            opset=find_opset((staged.path / GENERATOR_NAME).read_bytes()),
            latency=describe_latency(ReleasedGenerator.from_onnx(staged.path / GENERATOR_NAME, manifest)),
            panel=panel,
            gates=gates,
            profile=profile,
            test_cohort=cohorts[0].description,
            training_cohort=cohorts[1].description if cohorts[1] is not None else None,
            figures=(SYNTHETIC_FIGURE, MEASURES_FIGURE),
        )
    )
    files: dict[str, bytes | Path] = {
        GENERATOR_NAME: staged.path / GENERATOR_NAME,
        PROFILE_NAME: profile.to_json(),
        PANEL_NAME: panel.model_dump_json(indent=1).encode(),
        CARD_NAME: card.encode(),
        SYNTHETIC_FIGURE: draw_synthetic_png(comparison.synthetic, unit=profile.intensity_unit),
        MEASURES_FIGURE: draw_measures_png(comparison, source=panel.cohort_source, unit=profile.intensity_unit),
    }
    return write_bundle(files, manifest.model_dump(exclude={"files"}), destination), gates


def find_training_speed(run: RunDirectory) -> float | None:
    """Return images a second as the run last logged it: since it was started or resumed."""
    lines = read_metrics(run.metrics) if run.metrics.exists() else []
    return next((line["images_per_second"] for line in reversed(lines) if "images_per_second" in line), None)


def summarise_panel(panel: Panel, policy: Policy) -> dict[str, Any]:
    """Return the gates' measured values by metric and cell, with the cohort they were measured on."""
    values: dict[str, dict[str, float | None]] = {}
    for rule in policy.gates:
        for cell in rule.cells:
            measurement = panel.find(rule.metric, cell)
            if measurement is not None:
                values.setdefault(rule.metric, {})[cell] = measurement.value
    return {"cohort_fingerprint": panel.cohort_fingerprint, "cohort_source": panel.cohort_source, "values": values}
