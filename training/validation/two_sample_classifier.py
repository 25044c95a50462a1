"""Classifier two-sample test: how well a logistic regression tells synthetic from reference slices.

AUC 0.5 is a coin; folds are grouped by patient, and the interval draws whole patients (Lopez-Paz & Oquab 2017, with
SCIENCE.md section 6's grouping). The slices are seen through 50 principal components and the quantifier's features.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from registry.bundle.panel import Measurement
from spect.conditions import CONDITIONS
from spect.features import FEATURES
from training.validation.cells import all_cell, pattern_cells
from training.validation.comparison import SCORES, Comparison, Pair
from training.validation.projection import fit_projection
from training.validation.resampling import draw_patient_weights
from training.validation.sample import Sample

INSIDE_OUTLINE = "c2st_auc_inside_outline"
WHOLE_FIELD = "c2st_auc_whole_field"

FOLDS = 5
REPLICATES = 300
CONFIDENCE = 0.95
MAX_ITERATIONS = 2000
OUTLINE_QUORUM = 0.5  # a pixel lies inside the reference outline where it does so in half of the level's slices

Vector = NDArray[np.float64]
Pixels = Callable[[Sample], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Separability:
    """How well synthetic and reference slices were told apart, with a 95 % interval over patients."""

    auc: float
    low: float
    high: float


def measure_two_sample_classifier(comparison: Comparison) -> list[Measurement]:
    """AUC per pattern and over all, inside the reference outline and over the whole field."""
    cells = (*pattern_cells(comparison.conditions), all_cell(comparison.conditions))
    masks = reference_outlines(comparison.reference)
    measurements = []
    for cell in cells:
        pairs = comparison.pairs(cell)
        measurements.append(_measure(comparison, INSIDE_OUTLINE, cell.name, pairs, lambda s: pixels_inside(s, masks)))
        measurements.append(_measure(comparison, WHOLE_FIELD, cell.name, pairs, pixels_everywhere))
    return measurements


def _measure(
    comparison: Comparison, metric: str, cell: str, pairs: tuple[Pair, Pair, Pair], pixels: Pixels
) -> Measurement:
    judged, null, floor = (classify(pair, pixels, seed=comparison.seed) for pair in pairs)
    return Measurement(
        metric=metric,
        cell=cell,
        value=judged.auc,
        low=judged.low,
        high=judged.high,
        null=null.auc,
        floor=floor.auc,
        slices_synthetic=len(pairs[0][0]),
        slices_reference=len(pairs[0][1]),
        note=f"95 % interval over patients; {describe_most_telling(pairs[0])}; floor {comparison.floor_note}",
    )


def reference_outlines(reference: Sample) -> NDArray[np.bool_]:
    """Pixels (conditions, m, m) inside the outline of at least half of a condition's reference slices."""
    masks = np.zeros((len(CONDITIONS), *reference.counts.shape[1:]), dtype=bool)
    for index in np.unique(reference.condition_index):
        masks[index] = reference.outlines[reference.condition_index == index].mean(axis=0) >= OUTLINE_QUORUM
    return masks


def pixels_inside(sample: Sample, masks: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return counts (n, p) inside the condition's reference outline, zero elsewhere, pixels of no outline dropped."""
    used = np.unique(sample.condition_index)
    anywhere = masks[used].any(axis=0)
    inside = masks[:, anywhere][sample.condition_index]
    return sample.counts[:, anywhere] * inside


def pixels_everywhere(sample: Sample) -> NDArray[np.float32]:
    """Return counts (n, p) of the whole field."""
    return sample.counts.reshape(len(sample), -1)


def classify(pair: Pair, pixels: Pixels, *, seed: int) -> Separability:
    """Cross-validate a logistic regression between the two samples of a pair."""
    is_first = np.repeat([1, 0], [len(pair[0]), len(pair[1])])
    patient = np.concatenate([np.char.add(prefix, s.patient) for prefix, s in zip("ab", pair, strict=True)])
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=MAX_ITERATIONS))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed % 2**32)
    decisions = cross_val_predict(
        model, _design(pair, pixels), is_first, groups=patient, cv=folds, method="decision_function"
    )
    weights = draw_patient_weights(patient, replicates=REPLICATES, rng=np.random.default_rng([seed, 3]))
    replicates = compute_auc(decisions, is_first, weights)
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(replicates, [tail, 100 - tail])
    auc = compute_auc(decisions, is_first, np.ones((1, len(is_first))))[0]
    return Separability(auc=float(auc), low=float(low), high=float(high))


def _design(pair: Pair, pixels: Pixels) -> Vector:
    # The components are fitted on both samples together: they know no label, so nothing leaks into the folds, and a
    # direction that only one of the two uses is not missed.
    flat = np.concatenate([pixels(sample) for sample in pair])
    scores = fit_projection(flat, SCORES).scores(flat)
    features = [np.concatenate([sample.measures[name] for sample in pair]) for name in FEATURES]
    return np.column_stack([scores, *features])


def describe_most_telling(pair: Pair) -> str:
    """Name the feature that tells the two samples best by itself, and how well: where a generator is to be mended."""
    is_first = np.repeat([1, 0], [len(pair[0]), len(pair[1])])
    alone = {}
    for name in FEATURES:
        values = np.concatenate([sample.measures[name] for sample in pair])
        auc = float(compute_auc(values, is_first, np.ones((1, len(is_first))))[0])
        alone[name] = max(auc, 1 - auc)
    name = max(alone, key=alone.__getitem__)
    return f"most telling feature {name}, alone {alone[name]:.2f}"


def compute_auc(decisions: Vector, is_first: NDArray[np.int64], weights: Vector) -> Vector:
    """Area under the ROC curve of decisions (n,) under each row of weights (replicates, n); ties count a half."""
    values, rank = np.unique(decisions, return_inverse=True)
    order = np.argsort(rank, kind="stable")
    starts = np.searchsorted(rank[order], np.arange(len(values)))
    positive = np.add.reduceat((weights * is_first)[:, order], starts, axis=1)
    negative = np.add.reduceat((weights * (1 - is_first))[:, order], starts, axis=1)
    below = np.cumsum(negative, axis=1) - negative
    wins = (positive * (below + negative / 2)).sum(axis=1)
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    return np.asarray(wins / np.maximum(pairs, np.finfo(float).tiny))
