"""Precision, recall, density and coverage in 50 principal components: plausible slices, and all their variety.

Kynkaanniemi et al. 2019 and Naeem et al. 2020, per condition with k = 5.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from registry.bundle.panel import Measurement
from training.validation.cells import condition_cells
from training.validation.comparison import Comparison, Pair
from training.validation.distances import squared_distances
from training.validation.sample import Sample

NEIGHBOURS = 5

Vector = NDArray[np.float64]


def compute_neighbourhoods(synthetic: Vector, reference: Vector) -> dict[str, float]:
    """Return precision, recall, density and coverage of synthetic scores (n, k) against reference scores (m, k)."""
    between = squared_distances(reference, synthetic)
    reference_radius, synthetic_radius = _radius(reference), _radius(synthetic)
    inside_reference = between <= reference_radius[:, None]
    return {
        "precision": float(inside_reference.any(axis=0).mean()),
        "recall": float((between <= synthetic_radius[None]).any(axis=1).mean()),
        "density": float(inside_reference.sum(axis=0).mean() / NEIGHBOURS),
        "coverage": float((between.min(axis=1) <= reference_radius).mean()),
    }


def _radius(scores: Vector) -> Vector:
    """Squared distance (n,) of each row to its fifth neighbour, itself not counted."""
    within = squared_distances(scores, scores)
    return np.partition(within, min(NEIGHBOURS, len(scores) - 1), axis=1)[:, min(NEIGHBOURS, len(scores) - 1)]


def measure_neighbourhoods(comparison: Comparison) -> list[Measurement]:
    """All four per condition, and precision and recall as shares of what real slices reach against real ones.

    On equally many slices of every sample, the halves of the reference included: the figures depend on their numbers.
    """
    measurements = []
    for cell in condition_cells(comparison.conditions):
        pairs = comparison.pairs(cell)
        size = min(len(sample) for pair in pairs for sample in pair)
        judged, halves, floor = (_of_pair(pair, comparison.scores, size) for pair in pairs)
        note = f"50 principal components, {NEIGHBOURS} neighbours, {size} slices a side"
        figures = {name: (judged[name], halves[name], floor[name]) for name in judged}
        for name in ("precision", "recall"):
            reached = max(halves[name], np.finfo(float).tiny)
            figures[relative_metric(name)] = (judged[name] / reached, 1.0, floor[name] / reached)
        measurements += [
            Measurement(
                metric=name,
                cell=cell.name,
                value=value,
                null=null,
                floor=floored,
                slices_synthetic=size,
                slices_reference=size,
                note=note,
            )
            for name, (value, null, floored) in figures.items()
        ]
    return measurements


def relative_metric(name: str) -> str:
    """Name of precision or recall over the value that real slices reach against real ones."""
    return f"{name}_relative_to_real"


def _of_pair(pair: Pair, scores: Callable[[Sample], Vector], size: int) -> dict[str, float]:
    synthetic, reference = (scores(sample.take(np.arange(size))) for sample in pair)
    return compute_neighbourhoods(synthetic, reference)
