"""Membership inference: whether slices a generator was trained on lie nearer to what it makes than unseen ones do.

The attack of GAN-Leaks with the generator's output alone (Chen et al., CCS 2020): a slice is taken for a training slice
the more, the nearer its nearest synthetic slice of the same condition is, in 50 components of the synthetic slices.
"""

import numpy as np
from numpy.typing import NDArray

from registry.bundle.panel import Measurement
from spect.conditions import Condition
from training.auc import compute_weighted_auc
from training.validation.cells import common_conditions
from training.validation.comparison import SCORES, Comparison, TrainingSlices
from training.validation.distances import squared_distances
from training.validation.memorisation import NOT_MEASURED
from training.validation.projection import fit_projection
from training.validation.resampling import draw_patient_weights
from training.validation.sample import Sample

METRIC = "membership_inference_auc"
LARGEST_UPPER_BOUND = 0.60  # SCIENCE.md section 6; reported, not gated
REPLICATES = 500
CONFIDENCE = 0.95

Vector = NDArray[np.float64]


def measure_membership(comparison: Comparison) -> list[Measurement]:
    """AUC over all conditions in equal parts, and of each; None without the training cohort."""
    training = comparison.training
    if training is None:
        return [Measurement(metric=METRIC, cell="all", value=None, note=NOT_MEASURED)]
    conditions = common_conditions(training.condition_index, comparison.reference.condition_index)
    conditions = tuple(condition for condition in conditions if condition in comparison.conditions)
    if not conditions:
        note = "the training cohort shares no condition with the cohort validated against"
        return [Measurement(metric=METRIC, cell="all", value=None, note=note)]
    judged = attack(comparison.synthetic, training, comparison.reference, conditions, rng=comparison.rng(12))
    null = attack(comparison.halves[0], training, comparison.halves[1], conditions, rng=comparison.rng(12))
    floor = attack(comparison.floor[0], training, comparison.floor[1], conditions, rng=comparison.rng(12))
    cells = {"all": list(range(len(conditions))), **{str(c): [place] for place, c in enumerate(conditions)}}
    return [
        _measurement(comparison, name, [conditions[place] for place in places], judged[:, places], null, floor, places)
        for name, places in cells.items()
    ]


def _measurement(
    comparison: Comparison,
    cell: str,
    conditions: list[Condition],
    judged: Vector,
    null: Vector,
    floor: Vector,
    places: list[int],
) -> Measurement:
    replicates = judged.mean(axis=1)
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(replicates[1:], [tail, 100 - tail])
    indices = [condition.index for condition in conditions]
    within = "within" if high <= LARGEST_UPPER_BOUND else "above"
    return Measurement(
        metric=METRIC,
        cell=cell,
        value=float(replicates[0]),
        low=float(low),
        high=float(high),
        null=float(null[0, places].mean()),
        floor=float(floor[0, places].mean()),
        slices_synthetic=int(np.isin(comparison.synthetic.condition_index, indices).sum()),
        slices_reference=int(np.isin(comparison.reference.condition_index, indices).sum()),
        note=f"95 % interval over slices and patients; upper bound {within} {LARGEST_UPPER_BOUND:g}",
    )


def attack(
    made: Sample,
    members: TrainingSlices,
    others: Sample,
    conditions: tuple[Condition, ...],
    *,
    rng: np.random.Generator,
) -> Vector:
    """AUC (1 + replicates, conditions) of taking members for members; row 0 is the estimate."""
    projection = fit_projection(made.counts, SCORES)
    made_scores = projection.scores(made.counts)
    columns = []
    for condition in conditions:
        near = made_scores[made.condition_index == condition.index]
        inside = members.condition_index == condition.index
        outside = others.condition_index == condition.index
        nearness = [
            -squared_distances(projection.scores(counts), near).min(axis=1)
            for counts in (members.counts[inside], others.counts[outside])
        ]
        weights = _draw_weights(int(inside.sum()), others.patient[outside], rng)
        is_member = np.repeat([1, 0], [len(one) for one in nearness])
        columns.append(compute_weighted_auc(np.concatenate(nearness), is_member, weights))
    return np.column_stack(columns)


def _draw_weights(members: int, others: NDArray[np.str_], rng: np.random.Generator) -> Vector:
    """Bootstrap weights (1 + replicates, n) that draw members one by one and the others by patient; the first are 1."""
    names = np.array([f"member-{row}" for row in range(members)])
    drawn = [draw_patient_weights(patient, replicates=REPLICATES, rng=rng) for patient in (names, others)]
    return np.vstack([np.ones((1, members + len(others))), np.hstack(drawn)])
