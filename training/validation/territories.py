"""Regional counts by arterial territory, which nobody conditioned on: each territory over the whole, and its two sides.

Territories are the simulator's own parametric ones, laid into `standard_space` by the section of MNI152 at the level's
plane. The cerebellum is left out: no cerebral artery feeds it.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from cohort.calibration.template import PLANES_MM
from cohort.simulator.anatomy import TEMPLATE_SPACING_MM, load_template
from cohort.simulator.territories import Territory, territory_weights
from registry.bundle.panel import Measurement
from spect.conditions import Level
from training.validation.cells import condition_cells
from training.validation.comparison import Comparison
from training.validation.contrast import contrast_means, contrast_spreads
from training.validation.sample import Sample
from training.validation.standard_space import ACROSS, ALONG, measure_half_axes

LEVELS = (Level.BASAL_GANGLIA, Level.CORTEX)
TISSUE_SHARE = 0.3  # of grey and white matter in a voxel that counts as brain
SMALLEST_VALUE = 1e-6  # of the spared level: a territory without a count has no logarithm

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class TerritoryWeights:
    """Membership of every pixel of the standard space, at one level."""

    whole: Vector  # (48, 40)
    territory: dict[Territory, Vector]

    def share(self, sample: Sample, territory: Territory) -> Vector:
        """Mean of a territory, both sides, over the mean of the whole section, (n,)."""
        return _weighted_mean(sample, self.territory[territory]) / np.maximum(
            _weighted_mean(sample, self.whole), SMALLEST_VALUE
        )

    def asymmetry(self, sample: Sample, territory: Territory) -> Vector:
        """Log of left over right inside a territory, (n,)."""
        left, right = (_weighted_mean(sample, self.territory[territory] * side) for side in (ACROSS > 0, ACROSS < 0))
        return np.asarray(np.log(np.maximum(left, SMALLEST_VALUE) / np.maximum(right, SMALLEST_VALUE)))


def _weighted_mean(sample: Sample, weights: Vector) -> Vector:
    return np.asarray(np.tensordot(sample.standard, weights, axes=2) / weights.sum(), dtype=np.float64)


@lru_cache(maxsize=len(LEVELS))
def weigh_territories(level: Level) -> TerritoryWeights:
    """Lay the territories into the standard space of a level."""
    template = load_template()
    plane = round((PLANES_MM[level] - float(template.origin_mm[2])) / TEMPLATE_SPACING_MM)
    tissue = template.fractions[..., plane].sum(axis=0) > TISSUE_SHARE
    x_mm, y_mm = (
        template.origin_mm[axis] + TEMPLATE_SPACING_MM * np.arange(tissue.shape[axis], dtype=np.float64)
        for axis in (0, 1)
    )
    filled = scipy.ndimage.binary_fill_holes(tissue)
    columns, rows = np.nonzero(filled)
    middle, half_across, half_along = measure_half_axes(x_mm[columns], y_mm[rows])
    # MNI's x grows to the patient's right and its y to anterior; the standard space's grow to left and posterior.
    x, y = np.broadcast_arrays(-ACROSS * half_across, middle - ALONG * half_along)
    mni_mm = np.stack([x, y, np.full_like(x, PLANES_MM[level])]).astype(np.float32)
    places = [(x - x_mm[0]) / TEMPLATE_SPACING_MM, (y - y_mm[0]) / TEMPLATE_SPACING_MM]
    whole = scipy.ndimage.map_coordinates(filled.astype(np.float64), places, order=1, mode="constant")
    weights = territory_weights(mni_mm)
    return TerritoryWeights(whole=whole, territory={name: whole * weights[name] for name in Territory})


def territory_metric(kind: str, territory: Territory) -> str:
    """Name of a territory's metric; kind is share_ratio or asymmetry_sd_ratio."""
    return f"territory_{territory.name.lower()}_{kind}"


def measure_territories(comparison: Comparison) -> list[Measurement]:
    """Ratios of each territory's share and SD ratios of its asymmetry, per condition of the cerebral levels."""
    measurements = []
    for cell in condition_cells(comparison.conditions):
        if cell.conditions[0].level not in LEVELS:
            continue
        weights = weigh_territories(cell.conditions[0].level)
        for territory in Territory:

            def share(sample: Sample, weights: TerritoryWeights = weights, name: Territory = territory) -> Vector:
                return weights.share(sample, name)

            def asymmetry(sample: Sample, weights: TerritoryWeights = weights, name: Territory = territory) -> Vector:
                return weights.asymmetry(sample, name)

            measurements.append(
                contrast_means(territory_metric("share_ratio", territory), share).measure(comparison, cell)
            )
            measurements.append(
                contrast_spreads(territory_metric("asymmetry_sd_ratio", territory), asymmetry).measure(comparison, cell)
            )
    return measurements
