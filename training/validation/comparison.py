"""What every metric is given: synthetic and reference slices, the reference's halves, the floor, and PCA-50."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from registry.bundle.panel import Measurement
from spect.conditions import Condition
from spect.errors import CohortError
from training.validation.cells import Cell, common_conditions
from training.validation.gaussian_floor import draw_gaussian_slices
from training.validation.projection import Projection, fit_projection
from training.validation.resampling import halve_by_patient
from training.validation.sample import Sample, measure_sample

SCORES = 50  # principal components in which slices are compared

Pair = tuple[Sample, Sample]
Compute = Callable[[Sample, Sample], float]


@dataclass(frozen=True, kw_only=True)
class TrainingSlices:
    """The slices a model was trained on, resampled to its matrix: what memorisation is measured against."""

    counts: NDArray[np.float32]  # (n, m, m)
    condition_index: NDArray[np.int64]  # (n,)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Samples of one matrix and one pixel spacing, restricted to the conditions all of them have."""

    synthetic: Sample
    reference: Sample
    halves: Pair  # the reference, split by patient: real against real
    floor: Pair  # Gaussian slices, and the reference slices they were not fitted on
    training: TrainingSlices | None
    conditions: tuple[Condition, ...]
    seed: int
    floor_note: str = ""
    conditioned: tuple[str, ...] = ()  # quantities the generator is asked for, by name

    @property
    def conditioned_scores(self) -> int:
        """How many principal scores are asked of the generator."""
        return sum(name.startswith("score_") for name in self.conditioned)

    def rng(self, *key: int) -> np.random.Generator:
        """Return a generator of random numbers for one purpose; the same numbers in every run of one seed."""
        return np.random.default_rng([self.seed, *key])

    @cached_property
    def projection(self) -> Projection:
        """The first principal components of the reference slices, fitted once."""
        return fit_projection(self.reference.counts, SCORES)

    def scores(self, sample: Sample) -> NDArray[np.float64]:
        """Principal scores (n, 50) of a sample."""
        return self.projection.scores(sample.counts)

    def pairs(self, cell: Cell) -> tuple[Pair, Pair, Pair]:
        """Return the cell's slices of (synthetic, reference), of the reference's halves, and of the floor."""
        judged = (self.synthetic, self.reference)
        judged, halves, floor = (_take_cell(pair, cell, self.rng(2)) for pair in (judged, self.halves, self.floor))
        return judged, halves, floor

    def measure(self, metric: str, cell: Cell, compute: Compute, *, note: str = "") -> Measurement:
        """One number of one cell, beside its null (real against real) and its floor (the Gaussian)."""
        judged, halves, floor = self.pairs(cell)
        return Measurement(
            metric=metric,
            cell=cell.name,
            value=compute(*judged),
            null=compute(*halves),
            floor=compute(*floor),
            slices_synthetic=len(judged[0]),
            slices_reference=len(judged[1]),
            note=note,
        )


def build_comparison(
    *,
    synthetic: Sample,
    reference: Sample,
    training: TrainingSlices | None,
    seed: int,
    conditioned: tuple[str, ...] = (),
    workers: int | None = None,
) -> Comparison:
    """Assemble a comparison: halve the reference by patient, draw and measure the floor.

    Raises
    ------
    CohortError
        Synthetic and reference slices share no condition with enough slices.
    """
    conditions = common_conditions(synthetic.condition_index, reference.condition_index)
    if not conditions:
        raise CohortError("the cohort has no condition with at least 8 slices; validate against a larger cohort")
    synthetic, reference = (_keep_conditions(sample, conditions) for sample in (synthetic, reference))
    rng = np.random.default_rng([seed, 0])
    first, second = halve_by_patient(reference.patient, reference.condition_index, rng)
    halves = (reference.take(first), reference.take(second))
    floor_note, fitted_on, judged_on = "fitted on the training cohort", training, reference
    if training is None or common_conditions(training.condition_index) != conditions:
        floor_note, judged_on = "fitted on half of the reference patients", halves[1]
        fitted_on = TrainingSlices(counts=halves[0].counts, condition_index=halves[0].condition_index)
    if fitted_on is None:
        raise CohortError("no slices to fit the floor on")
    return Comparison(
        synthetic=synthetic,
        reference=reference,
        halves=halves,
        floor=(_measure_floor(fitted_on, judged_on, rng, workers=workers), judged_on),
        training=training,
        conditions=conditions,
        seed=seed,
        floor_note=floor_note,
        conditioned=conditioned,
    )


def _keep_conditions(sample: Sample, conditions: tuple[Condition, ...]) -> Sample:
    return sample.take(np.flatnonzero(np.isin(sample.condition_index, [condition.index for condition in conditions])))


def _take_cell(pair: Pair, cell: Cell, rng: np.random.Generator) -> Pair:
    first, second = (sample.take(cell.rows(sample.condition_index, rng)) for sample in pair)
    return first, second


def _measure_floor(
    fitted_on: TrainingSlices, judged_on: Sample, rng: np.random.Generator, *, workers: int | None
) -> Sample:
    drawn = draw_gaussian_slices(fitted_on.counts, fitted_on.condition_index, judged_on.condition_index, rng)
    return measure_sample(
        drawn,
        condition_index=judged_on.condition_index,
        patient=np.array([f"floor-{row}" for row in range(len(drawn))]),
        pixel_spacing_mm=judged_on.pixel_spacing_mm,
        workers=workers,
    )
