"""Arterial territories in MNI space: which artery feeds a place, and places drawn from a territory.

Own parametric territories; coordinates are MNI millimetres, x negative on the patient's left.
"""

from enum import StrEnum

import numpy as np

from cohort.simulator.anatomy import REGIONS, TEMPLATE_SPACING_MM, Array, Template
from cohort.simulator.shape import Triple


class Territory(StrEnum):
    """Arterial territory of a defect."""

    MCA = "MCA"
    ACA = "ACA"
    PCA = "PCA"
    BORDER_ZONE = "border zone"


# Points an artery feeds, per territory, for one hemisphere (|x|, y, z); a place belongs to the artery that feeds the
# nearest point. Own parametric territories, after the usual maps: ACA a medial strip from the frontal pole to behind
# the central sulcus, PCA the occipital lobe, medial temporal lobe and thalamus, MCA all else.
FEEDING_POINTS_MM: dict[Territory, tuple[Triple, ...]] = {
    Territory.ACA: ((8, 55, 5), (8, 45, 30), (9, 20, 50), (9, -5, 55), (9, -28, 55), (8, 30, -10), (6, 5, 28)),
    Territory.MCA: (
        (40, 35, 8), (48, 10, 8), (52, -15, 12), (50, -40, 15), (42, -60, 25), (40, 15, 42), (42, -15, 48),
        (42, -42, 46), (50, -10, -18), (36, 10, -30), (26, 2, 4), (30, 30, 28), (35, -62, 38), (24, -8, 28),
    ),
    Territory.PCA: (
        (10, -85, 5), (10, -65, 8), (22, -80, -5), (28, -55, -10), (24, -30, -12), (10, -18, 6), (12, -68, 30),
    ),
}  # fmt: skip
TERRITORY_EDGE_MM = 5.0
# Where places are drawn on a side: (|x|, y) ranges that hold the cerebrum, and how far from the level's plane.
PLACES_X_MM = (3.0, 72.0)
PLACES_Y_MM = (-106.0, 74.0)
PLACES_DRAWN = 256
_CEREBRAL = [region for region, name in enumerate(REGIONS) if name != "cerebellum"]


def territory_weights(mni_mm: Array) -> dict[Territory, Array]:
    """Membership 0 to 1 of ACA, MCA and PCA, with soft borders; the border zone is high where two meet."""
    x, y, z = np.abs(mni_mm[0]), mni_mm[1], mni_mm[2]
    nearest = {
        territory: np.sqrt(
            np.minimum.reduce(
                [(x - np.float32(a)) ** 2 + (y - np.float32(b)) ** 2 + (z - np.float32(c)) ** 2 for a, b, c in points]
            )
        )
        for territory, points in FEEDING_POINTS_MM.items()
    }
    closest = np.minimum.reduce(list(nearest.values()))
    raw = {territory: np.exp((closest - distance) / TERRITORY_EDGE_MM) for territory, distance in nearest.items()}
    total = sum(raw.values())
    weights: dict[Territory, Array] = {territory: values / total for territory, values in raw.items()}
    squares = sum(values**2 for values in weights.values())
    weights[Territory.BORDER_ZONE] = np.clip(2 * (1 - squares), 0, 1)
    return weights


def cerebral_tissue(template: Template, mni_mm: Array) -> Array:
    """Fraction of cerebral grey and white matter in the voxel nearest to MNI coordinates (3, n): (n,)."""
    last = np.array(template.fractions.shape[1:])[:, None] - 1
    voxels = np.rint((mni_mm - template.origin_mm[:, None]) / TEMPLATE_SPACING_MM).astype(np.intp)
    i, j, k = np.clip(voxels, 0, last)
    tissue: Array = template.fractions[:, i, j, k][_CEREBRAL].sum(axis=0)
    return tissue


def draw_place(territory: Territory, z_mm: float, template: Template, rng: np.random.Generator) -> Array:
    """Draw a place (|x|, y, z) of a territory's tissue in a plane: every place can be drawn, by its membership."""
    while True:
        x, y = (rng.uniform(*span, PLACES_DRAWN) for span in (PLACES_X_MM, PLACES_Y_MM))
        places = np.stack([x, y, np.full(PLACES_DRAWN, z_mm)]).astype(np.float32)
        weights = territory_weights(places)[territory].astype(np.float64) ** 2 * cerebral_tissue(template, places)
        if weights.sum() > 0:
            place: Array = places[:, rng.choice(PLACES_DRAWN, p=weights / weights.sum())]
            return place
