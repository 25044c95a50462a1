"""Spread along the reference's first 24 principal components: where a generator that ignores its latents is narrow."""

import numpy as np
from numpy.typing import NDArray

from registry.bundle.panel import Measurement
from spect.conditions import CONDITIONS
from training.validation.cells import all_cell
from training.validation.comparison import Comparison, Pair

METRIC = "principal_component_sd_ratio"
COMPONENTS = 24

Vector = NDArray[np.float64]
Labels = NDArray[np.int64]


def compute_sd_ratios(synthetic: Vector, reference: Vector, labels: tuple[Labels, Labels]) -> Vector:
    """SD ratios (k,) of scores (n, k), each condition about its own mean so that levels cannot hide a collapse."""
    return _pooled_sd(synthetic, labels[0]) / np.maximum(_pooled_sd(reference, labels[1]), np.finfo(float).tiny)


def component_ratios(comparison: Comparison, pair: Pair) -> Vector:
    """SD ratios (24,) of a pair along the reference's components."""
    first, second = (comparison.scores(sample)[:, :COMPONENTS] for sample in pair)
    return compute_sd_ratios(first, second, (pair[0].condition_index, pair[1].condition_index))


def _pooled_sd(scores: Vector, labels: Labels) -> Vector:
    variances = [scores[labels == label].var(axis=0, ddof=1) for label in np.unique(labels)]
    return np.asarray(np.sqrt(np.mean(variances, axis=0)))


def measure_principal_components(comparison: Comparison) -> list[Measurement]:
    """Geometric mean of the 24 SD ratios; the note names the lowest and the highest."""
    judged, halves, floor = comparison.pairs(all_cell(comparison.conditions))
    measured = component_ratios(comparison, judged)
    lowest, highest = int(measured.argmin()), int(measured.argmax())
    missing = len(CONDITIONS) - len(comparison.conditions)
    return [
        Measurement(
            metric=METRIC,
            cell="all",
            value=_geometric_mean(measured),
            null=_geometric_mean(component_ratios(comparison, halves)),
            floor=_geometric_mean(component_ratios(comparison, floor)),
            slices_synthetic=len(judged[0]),
            slices_reference=len(judged[1]),
            note=(
                f"geometric mean over {len(measured)} components, within conditions; lowest {measured[lowest]:.2f} "
                f"(component {lowest + 1}), highest {measured[highest]:.2f} (component {highest + 1})"
                + (f"; {missing} conditions without slices" if missing else "")
            ),
        )
    ]


def _geometric_mean(ratios: Vector) -> float:
    return float(np.exp(np.log(np.maximum(ratios, 1e-12)).mean()))
