"""A run's generator exported beside its manifest, before it is a bundle; and its panel held against the gates."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cohort.store import Cohort, load_cohort
from registry.bundle.directory import Bundle, compute_sha256
from registry.bundle.manifest import GENERATOR_NAME, Manifest, TrainingCohort, describe_graph
from registry.bundle.panel import Panel
from registry.gates import GateReport, judge_bundle
from registry.policy import Policy
from spect.conditions import CONDITIONS
from spect.errors import CohortError
from training.checkpoint import RunFacts, load_averaged_generator
from training.export import export_onnx
from training.run import RunDirectory, RunRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedModel:
    """An exported graph in a directory, and the manifest it would be served by."""

    path: Path
    manifest: Manifest
    facts: RunFacts


def stage_run(run: RunDirectory, record: RunRecord, name: str, directory: Path) -> StagedModel:
    """Export the best checkpoint into a directory, with the manifest it would be served by."""
    generator, facts = load_averaged_generator(run)
    onnx_path = directory / GENERATOR_NAME
    parity = export_onnx(generator, facts, onnx_path)
    inputs, outputs = describe_graph(facts.latent_size, len(facts.density.names), facts.matrix)
    manifest = Manifest(
        name=name,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        git_commit=record.git_commit,
        run_id=record.name,
        training_cohort=describe_training_cohort(record),
        conditions=tuple(map(str, CONDITIONS)),
        inputs=inputs,
        outputs=outputs,
        quantity_density=facts.density.to_dict(),
        latent_size=facts.latent_size,
        matrix=facts.matrix,
        pixel_spacing_mm=facts.pixel_spacing_mm,
        max_counts=facts.scale.max_counts,
        parity=parity,
        validation={},
        files={GENERATOR_NAME: compute_sha256(onnx_path)},
    )
    return StagedModel(path=directory, manifest=manifest, facts=facts)


def describe_training_cohort(record: RunRecord) -> TrainingCohort:
    """Return what a manifest says of the cohort a run was trained on."""
    return TrainingCohort.model_validate(
        {
            "fingerprint": record.cohort_fingerprint,
            "source": record.cohort_source,
            "simulator_version": record.simulator_version,
            "slices": record.training_slices,
            "intensity_unit": record.intensity_unit,
            "intensity_scaling": record.intensity_scaling,
        }
    )


def load_training_cohort(record: RunRecord) -> Cohort | None:
    """Load the cohort a run was trained on; None where it is no longer there.

    Raises
    ------
    CohortError
        Another cohort lies at its path now.
    """
    path = Path(record.cohort_path)
    if not path.is_dir():
        return None
    cohort = load_cohort(path)
    if cohort.description.fingerprint != record.cohort_fingerprint:
        raise CohortError(
            f"{path} has fingerprint {cohort.description.fingerprint[:12]}, the run was trained on "
            f"{record.cohort_fingerprint[:12]}; put the training cohort back, or move this one away"
        )
    return cohort


def judge_panel(panel: Panel, manifest: Manifest, policy: Policy, *, onnx_sha256: str) -> GateReport:
    """Hold a panel against the gates before it is in a bundle; no champion to compare with."""
    staged = Bundle(
        path=Path(),
        manifest=manifest,
        panel=panel,
        card="",
        sha256=onnx_sha256,
        manifest_sha256="",
    )
    return judge_bundle(policy, staged)
