"""Classifier two-sample test: how well a logistic regression tells synthetic from reference slices.

AUC 0.5 is a coin; folds are grouped by patient, and the interval draws whole patients (Lopez-Paz & Oquab 2017, with
SCIENCE.md section 6's grouping). The slices are seen through 50 principal components and the quantifier's features.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from registry.bundle.panel import Measurement
from spect.conditions import CONDITIONS
from spect.features import FEATURES
from training.auc import compute_auc
from training.validation.cells import all_cell, pattern_cells
from training.validation.comparison import SCORES, Comparison, Pair
from training.validation.projection import fit_projection
from training.validation.sample import Sample
from training.validation.separability import Separability, Vector, cross_validate

INSIDE_OUTLINE = "c2st_auc_inside_outline"
WHOLE_FIELD = "c2st_auc_whole_field"

OUTLINE_QUORUM = 0.5  # a pixel lies inside the reference outline where it does so in half of the level's slices

Pixels = Callable[[Sample], NDArray[np.float32]]


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
    note = f"{describe_most_telling(pairs[0])}; floor {comparison.floor_note}"
    return judged.measurement(metric, cell, pairs[0], null=null.auc, floor=floor.auc, note=note)


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
    return cross_validate(pair, _design(pair, pixels), seed=seed)


def _design(pair: Pair, pixels: Pixels) -> Vector:
    features = [np.concatenate([sample.measures[name] for sample in pair]) for name in FEATURES]
    return np.column_stack([joint_scores(np.concatenate([pixels(sample) for sample in pair])), *features])


def joint_scores(flat: NDArray[np.float32], size: int = SCORES) -> Vector:
    """Principal scores (n, size) of both samples' values (n, p) together.

    The components know no label, so nothing leaks into the folds, and a direction that only one of the two uses is not
    missed.
    """
    return fit_projection(flat, size).scores(flat)


def describe_most_telling(pair: Pair) -> str:
    """Name the feature that tells the two samples best by itself, and how well: where a generator is to be mended."""
    alone = {}
    for name in FEATURES:
        auc = compute_auc(*(sample.measures[name] for sample in pair))
        alone[name] = max(auc, 1 - auc)
    name = max(alone, key=alone.__getitem__)
    return f"most telling feature {name}, alone {alone[name]:.2f}"
