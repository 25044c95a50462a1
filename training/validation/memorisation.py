"""Memorisation: the share of synthetic slices nearer to a training slice than 95 % of unseen slices are.

Five in a hundred honest samples lie there; copies all do. The distance is Euclidean in the training slices' first 50
principal components, where noise, which a generator may lack, counts little.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from registry.bundle.panel import Measurement
from spect.conditions import Condition
from training.validation.cells import common_conditions
from training.validation.comparison import SCORES, Comparison, Pair, TrainingSlices
from training.validation.distances import squared_distances
from training.validation.projection import Projection, fit_projection
from training.validation.resampling import draw_patient_weights
from training.validation.sample import Sample

METRIC = "memorisation_share"
EXPECTED_SHARE = 0.05
REPLICATES = 500
ONE_SIDED_95 = 1.645  # standard errors
NOT_MEASURED = "it needs the training cohort"

Vector = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class NearestTraining:
    """Distances to the nearest training slice of the same condition."""

    training: TrainingSlices

    @cached_property
    def _projection(self) -> Projection:
        return fit_projection(self.training.counts, SCORES)

    @cached_property
    def _scores(self) -> Vector:
        return self._projection.scores(self.training.counts)

    def find(self, sample: Sample) -> tuple[Vector, NDArray[np.int64]]:
        """Distance (n,) to the nearest training slice and its position (n,) among them."""
        distances = np.full(len(sample), np.inf)
        positions = np.full(len(sample), -1, dtype=np.int64)
        scores = self._projection.scores(sample.counts)
        for index in np.unique(sample.condition_index):
            rows = np.flatnonzero(sample.condition_index == index)
            candidates = np.flatnonzero(self.training.condition_index == index)
            squared = squared_distances(scores[rows], self._scores[candidates])
            positions[rows] = candidates[squared.argmin(axis=1)]
            distances[rows] = np.sqrt(squared.min(axis=1))
        return distances, positions


def measure_memorisation(comparison: Comparison) -> list[Measurement]:
    """Shares over all conditions, in equal parts, and of each; None where they cannot be measured."""
    training = comparison.training
    if training is None:
        return [Measurement(metric=METRIC, cell="all", value=None, note=NOT_MEASURED)]
    conditions = common_conditions(training.condition_index, comparison.reference.condition_index)
    if not set(comparison.conditions) <= set(conditions):
        note = "the training cohort lacks a condition of the cohort validated against"
        return [Measurement(metric=METRIC, cell="all", value=None, note=note)]
    nearest = NearestTraining(training=training)
    judged = _near_shares(nearest, (comparison.synthetic, comparison.reference), comparison)
    halves = _near_shares(nearest, comparison.halves, comparison)
    floor = _near_shares(nearest, comparison.floor, comparison)
    everything = [_measurement("all", comparison.conditions, judged, halves, floor)]
    return everything + [
        _measurement(str(condition), (condition,), judged, halves, floor) for condition in comparison.conditions
    ]


Shares = dict[Condition, tuple[float, Vector, int, int]]  # share, its replicates, slices of either side


def _measurement(
    cell: str, conditions: tuple[Condition, ...], judged: Shares, halves: Shares, floor: Shares
) -> Measurement:
    def share(shares: Shares) -> float:
        return float(np.mean([shares[condition][0] for condition in conditions]))

    # The bootstrap's spread, not its percentiles: resampling lowers the 5th percentile of few unseen slices, and with
    # 20 a condition the percentile bound of honest samples would pass 5 % in 46 of 100 trials; this one in 5.
    error = float(np.mean([judged[condition][1] for condition in conditions], axis=0).std(ddof=1))
    reach = ONE_SIDED_95 * error
    return Measurement(
        metric=METRIC,
        cell=cell,
        value=share(judged),
        low=max(share(judged) - reach, 0),
        high=share(judged) + reach,
        null=share(halves),
        floor=share(floor),
        slices_synthetic=sum(judged[condition][2] for condition in conditions),
        slices_reference=sum(judged[condition][3] for condition in conditions),
        note=f"95 % one-sided bounds; {share(judged) / EXPECTED_SHARE:.2f} times the 5 % of honest samples",
    )


def _near_shares(nearest: NearestTraining, pair: Pair, comparison: Comparison) -> Shares:
    judged, unseen = pair
    judged_distances, _ = nearest.find(judged)
    unseen_distances, _ = nearest.find(unseen)
    judged_weights = draw_patient_weights(judged.patient, replicates=REPLICATES, rng=comparison.rng(4))
    unseen_weights = draw_patient_weights(unseen.patient, replicates=REPLICATES, rng=comparison.rng(5))
    shares: Shares = {}
    for condition in comparison.conditions:
        ours, theirs = (np.flatnonzero(sample.condition_index == condition.index) for sample in pair)
        value = compute_near_share(judged_distances[ours], unseen_distances[theirs])
        replicates = compute_near_share(
            judged_distances[ours], unseen_distances[theirs], judged_weights[:, ours], unseen_weights[:, theirs]
        )
        shares[condition] = (float(value[0]), replicates, len(ours), len(theirs))
    return shares


def compute_near_share(
    judged: Vector, unseen: Vector, judged_weights: Vector | None = None, unseen_weights: Vector | None = None
) -> Vector:
    """Share of judged distances (n,) below the 5th percentile of unseen ones (m,), for each row of weights."""
    judged_weights = np.ones((1, len(judged))) if judged_weights is None else judged_weights
    unseen_weights = np.ones((1, len(unseen))) if unseen_weights is None else unseen_weights
    order = np.argsort(unseen)
    cumulative = np.cumsum(unseen_weights[:, order], axis=1)
    reached = cumulative >= EXPECTED_SHARE * cumulative[:, -1:]
    thresholds = unseen[order][reached.argmax(axis=1)]
    total = np.maximum(judged_weights.sum(axis=1), 1)
    return np.asarray((judged_weights * (judged < thresholds[:, None])).sum(axis=1) / total)
