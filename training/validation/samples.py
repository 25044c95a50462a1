"""Where the samples of a validation come from: a cohort that was not trained on, and the released graph."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cohort.store import Cohort
from registry.bundle.generator import ReleasedGenerator
from registry.bundle.manifest import Manifest, TrainingCohort
from spect.conditions import Condition
from spect.errors import CohortError
from spect.slices import Counts, resample_to_matrix
from training.validation.comparison import TrainingSlices
from training.validation.sample import Sample, measure_sample

TEST_SPLIT = "test"
FIELD_TOLERANCE_MM = 1.0  # far below a pixel, far above rounding

Progress = Callable[[str, int, int], None]  # stage, done, total


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceNumbers:
    """How many slices a condition a validation looks at."""

    synthetic: int
    reference: int | None = None  # at most; None is all there are

    @property
    def is_quick(self) -> bool:
        """Whether these are fewer than a release demands."""
        return self.reference is not None or self.synthetic < FULL.synthetic


FULL = SliceNumbers(synthetic=500)  # what SCIENCE.md section 3 asks for
QUICK = SliceNumbers(synthetic=118, reference=118)  # an eighth of the reference study's 938


def select_reference(
    cohort: Cohort, *, trained_on: TrainingCohort, training: Cohort | None, numbers: SliceNumbers, seed: int
) -> Cohort:
    """Return the slices of a cohort that may prove something: the test split if there is one, else all.

    Raises
    ------
    CohortError
        They overlap what the model was trained on, or their counts are of another unit or scaling.
    """
    training_fingerprint = trained_on.fingerprint
    _check_intensity(cohort, trained_on)
    has_test = bool((cohort.split == TEST_SPLIT).any())
    if cohort.description.fingerprint == training_fingerprint and not has_test:
        raise CohortError(
            "this is the cohort the model was trained on, and it has no test split: copying it would look like "
            "success; simulate another with --preset test, or import scans with a test split"
        )
    chosen = cohort.select(split=TEST_SPLIT) if has_test else cohort
    if training is not None:
        _check_disjoint(chosen, training, is_same_cohort=cohort.description.fingerprint == training_fingerprint)
    return chosen if numbers.reference is None else _thin(chosen, numbers.reference, seed=seed)


def keep_taught(cohort: Cohort, manifest: Manifest) -> Cohort:
    """Return the slices of the conditions that a model was taught; raise `CohortError` where there are none."""
    taught = manifest.density().conditions
    kept = np.isin(cohort.condition_index, [condition.index for condition in taught])
    if not kept.any():
        raise CohortError(
            f"the cohort has no slice of {', '.join(map(str, taught))}, all that the model was trained on; validate "
            "against a cohort that has"
        )
    return cohort if kept.all() else cohort.take(np.flatnonzero(kept))


def _check_intensity(cohort: Cohort, trained_on: TrainingCohort) -> None:
    ours = cohort.description
    for what, got, expected in (
        ("intensity unit", ours.intensity_unit, trained_on.intensity_unit),
        ("intensity scaling", ours.intensity_scaling, trained_on.intensity_scaling),
    ):
        if got != expected:
            raise CohortError(
                f"the cohort's {what} is {got}, that of the model's training cohort {expected}: their counts do not "
                "compare; import the scans in the model's"
            )


def _check_disjoint(chosen: Cohort, training: Cohort, *, is_same_cohort: bool) -> None:
    ours, theirs = chosen.description, training.description
    if not is_same_cohort and _shares_patients(chosen, training):
        raise CohortError(
            f"this cohort and the training cohort are both preset {ours.name} of seed {ours.seed}: the same patients; "
            "simulate another with --preset test"
        )
    known = {counts.tobytes() for counts in training.select(split="train").counts} or {
        counts.tobytes() for counts in training.counts
    }
    shared = sum(counts.tobytes() in known for counts in chosen.counts)
    if shared:
        raise CohortError(
            f"{shared} of {len(chosen)} slices are in the training cohort {theirs.fingerprint[:12]} too; "
            "validate against patients the model never saw"
        )


def _shares_patients(chosen: Cohort, training: Cohort) -> bool:
    ours, theirs = chosen.description, training.description
    if not ours.source == theirs.source == "simulated" or ours.seed != theirs.seed:
        return False
    return ours.name == theirs.name  # every preset draws its patients from a stream of its own


def _thin(cohort: Cohort, most: int, *, seed: int) -> Cohort:
    """Keep at most so many slices a condition, at random."""
    rng = np.random.default_rng([seed, 9])
    index = cohort.condition_index
    kept = [rng.permutation(np.flatnonzero(index == condition.index))[:most] for condition in cohort.conditions()]
    return cohort.take(np.sort(np.concatenate(kept)))


def resample_to_model(cohort: Cohort, manifest: Manifest) -> Counts:
    """Return a cohort's counts at the model's matrix; raise `CohortError` where its field of view is another one."""
    field_mm = cohort.matrix * cohort.description.pixel_spacing_mm
    model_field_mm = manifest.matrix * manifest.pixel_spacing_mm
    if abs(field_mm - model_field_mm) > FIELD_TOLERANCE_MM:
        raise CohortError(
            f"the cohort's field of view is {field_mm:g} mm, the model's {model_field_mm:g} mm; import the scans into "
            "the model's field"
        )
    return resample_to_matrix(cohort.counts, manifest.matrix)


def measure_reference(
    cohort: Cohort, manifest: Manifest, *, workers: int | None = None, on_progress: Progress | None = None
) -> Sample:
    """Measure a cohort's slices at the model's matrix."""
    return measure_sample(
        resample_to_model(cohort, manifest),
        condition_index=cohort.condition_index,
        patient=cohort.patient,
        pixel_spacing_mm=manifest.pixel_spacing_mm,
        workers=workers,
        on_progress=_counter(on_progress, "measuring reference slices", len(cohort)),
    )


def select_trained(cohort: Cohort, manifest: Manifest) -> Cohort:
    """Return the slices of a training cohort that a model was trained on: its conditions, its split if there is one."""
    return keep_taught(cohort.select(split="train") if (cohort.split == "train").any() else cohort, manifest)


def resample_training(cohort: Cohort, manifest: Manifest) -> TrainingSlices:
    """Return the slices a model was trained on, at its matrix: of the train split if the cohort has one."""
    trained = select_trained(cohort, manifest)
    return TrainingSlices(counts=resample_to_model(trained, manifest), condition_index=trained.condition_index)


def draw_synthetic(
    generator: ReleasedGenerator,
    conditions: tuple[Condition, ...],
    *,
    per_condition: int,
    seed: int,
    workers: int | None = None,
    on_progress: Progress | None = None,
) -> Sample:
    """Generate slices 0 to per_condition - 1 of each condition as a server would, and measure them."""
    counts = []
    for done, condition in enumerate(conditions):
        counts.append(generator.generate(condition, seed=seed, count=per_condition).counts)
        if on_progress is not None:
            on_progress("generating synthetic slices", (done + 1) * per_condition, len(conditions) * per_condition)
    total = len(conditions) * per_condition
    return measure_sample(
        np.concatenate(counts),
        condition_index=np.repeat([condition.index for condition in conditions], per_condition).astype(np.int64),
        patient=np.array([f"synthetic-{row}" for row in range(total)]),
        pixel_spacing_mm=generator.manifest.pixel_spacing_mm,
        workers=workers,
        on_progress=_counter(on_progress, "measuring synthetic slices", total),
    )


def _counter(on_progress: Progress | None, stage: str, total: int) -> Callable[[int], None] | None:
    if on_progress is None:
        return None
    done = 0

    def count(slices: int) -> None:
        nonlocal done
        done += slices
        on_progress(stage, done, total)

    return count
