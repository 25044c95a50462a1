"""The panel: every metric measured on one ONNX file and one cohort, bound to both by their digests."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from threadpoolctl import threadpool_limits

from cohort.store import Cohort
from registry.bundle.generator import ReleasedGenerator
from registry.bundle.panel import Measurement, Panel
from training.validation.beyond_conditioned import measure_beyond_conditioned
from training.validation.comparison import Comparison, build_comparison
from training.validation.convolutional_classifier import measure_convolutional_classifier
from training.validation.defects import measure_defects
from training.validation.diversity import measure_diversity
from training.validation.frequency_bands import measure_frequency_bands
from training.validation.kernel_discrepancy import measure_kernel_discrepancy
from training.validation.left_right import measure_left_right
from training.validation.mean_counts import measure_mean_counts
from training.validation.membership import measure_membership
from training.validation.memorisation import measure_memorisation
from training.validation.neighbourhoods import measure_neighbourhoods
from training.validation.p_values import measure_p_values
from training.validation.parity import describe_parity
from training.validation.pixel_histogram import measure_pixel_histogram
from training.validation.principal_components import measure_principal_components
from training.validation.samples import (
    FULL,
    Progress,
    SliceNumbers,
    draw_synthetic,
    keep_taught,
    measure_reference,
    resample_training,
    select_reference,
)
from training.validation.shape import measure_shape
from training.validation.side_balance import measure_side_balance
from training.validation.sliced_wasserstein import measure_sliced_wasserstein
from training.validation.spectrum import measure_spectrum
from training.validation.spreads import measure_spreads
from training.validation.territories import measure_territories
from training.validation.thresholds import measure_thresholds
from training.validation.two_sample_classifier import measure_two_sample_classifier
from training.validation.utility import measure_utility

VALIDATION_SEED = 938  # the number of slices of the reference study; any other would do, and it is in the panel

Metric = Callable[[Comparison], list[Measurement]]

QUICK_METRICS: tuple[Metric, ...] = (
    measure_mean_counts,
    measure_left_right,
    measure_spreads,
    measure_thresholds,
    measure_principal_components,
    measure_two_sample_classifier,
    measure_beyond_conditioned,
    measure_frequency_bands,
    measure_memorisation,
    measure_defects,
    measure_territories,
    measure_p_values,
    measure_side_balance,
    measure_shape,
    measure_spectrum,
    measure_pixel_histogram,
    measure_diversity,
    measure_neighbourhoods,
    measure_kernel_discrepancy,
    measure_sliced_wasserstein,
)
FULL_METRICS: tuple[Metric, ...] = (
    *QUICK_METRICS,
    measure_membership,
    measure_utility,
    measure_convolutional_classifier,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """A panel and the slices it was measured on."""

    panel: Panel
    comparison: Comparison


def validate_model(
    generator: ReleasedGenerator,
    cohort: Cohort,
    *,
    training: Cohort | None,
    git_commit: str,
    numbers: SliceNumbers = FULL,
    seed: int = VALIDATION_SEED,
    workers: int | None = None,
    on_progress: Progress | None = None,
) -> Validation:
    """Measure a graph, run as it will be served, against a cohort it was not trained on, in the conditions it knows.

    Parameters
    ----------
    generator
        The staged or released ONNX file in ONNX Runtime.
    cohort
        What to compare with: its test split if it has one, else all of it.
    training
        The training cohort; without it memorisation is not measured.
    git_commit
        Of the code that measures.
    numbers
        Slices a condition: `FULL`, as a release demands, or `QUICK`.
    seed
        Of the synthetic slices and of every random choice here.
    workers
        Processes that measure; one a core by default.
    on_progress
        Hears of stage, slices or metrics done, and their total.

    Raises
    ------
    CohortError
        The cohort overlaps the training cohort, or has another intensity unit, scaling or field of view.
    """
    started = time.monotonic()
    manifest = generator.manifest
    selected = select_reference(
        cohort, trained_on=manifest.training_cohort, training=training, numbers=numbers, seed=seed
    )
    chosen = keep_taught(selected, manifest)
    reference = measure_reference(chosen, manifest, workers=workers, on_progress=on_progress)
    synthetic = draw_synthetic(
        generator,
        chosen.conditions(),
        per_condition=numbers.synthetic,
        seed=seed,
        workers=workers,
        on_progress=on_progress,
    )
    comparison = build_comparison(
        synthetic=synthetic,
        reference=reference,
        training=resample_training(training, manifest) if training is not None else None,
        seed=seed,
        conditioned=manifest.density().names,
        workers=workers,
    )
    metrics = QUICK_METRICS if numbers.is_quick else FULL_METRICS
    measurements = (describe_parity(manifest.parity), *_measure_all(comparison, metrics, on_progress))
    panel = Panel(
        onnx_sha256=generator.sha256,
        cohort_fingerprint=cohort.description.fingerprint,
        cohort_source=cohort.description.source,
        cohort_simulator_version=cohort.description.simulator_version,
        training_fingerprint=training.description.fingerprint if training is not None else None,
        git_commit=git_commit,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        quick=numbers.is_quick,
        seed=seed,
        seconds=round(time.monotonic() - started, 1),
        measurements=measurements,
    )
    return Validation(panel=panel, comparison=comparison)


def _measure_all(
    comparison: Comparison, metrics: tuple[Metric, ...], on_progress: Progress | None
) -> list[Measurement]:
    measurements: list[Measurement] = []
    # One thread of linear algebra: its matrices are small, waiting threads cost more than they save on shared cores,
    # and the digits do not hang on how many cores there are.
    with threadpool_limits(limits=1, user_api="blas"):
        for done, measure in enumerate(metrics, start=1):
            measurements += measure(comparison)
            if on_progress is not None:
                on_progress("computing metrics", done, len(metrics))
    return measurements
