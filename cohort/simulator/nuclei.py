"""Where the regions lie in MNI space: deep nuclei, insula and cerebellum, placed by hand over MNI152.

The tissue maps hold grey and white alone. A shape is a generous ellipsoid that the grey map cuts to the nucleus.
"""

from collections.abc import Mapping

import numpy as np

from cohort.simulator.shape import Array, Axes, Triple, Values, soft_ellipsoid, soft_step

REGIONS = (
    "cortex", "temporal_base", "medial_posterior", "insula", "white_matter", "cerebellum", "putamen", "caudate",
    "thalamus",
)  # fmt: skip
CORTICAL = slice(0, 4)
DEEP_NUCLEI = ("putamen", "caudate", "thalamus")

# Region, centre, half axes (mm) and rotation about z (degrees; positive turns the anterior end outwards), for the
# right side; mirrored for the left.
NUCLEI: tuple[tuple[str, Triple, Triple, float], ...] = (
    ("putamen", (27.0, 1.0, 1.5), (6.5, 19.0, 12.0), -14.0),
    ("caudate", (12.0, 13.0, 5.0), (6.0, 13.0, 13.0), 20.0),
    ("caudate", (16.0, 2.0, 18.5), (4.5, 14.0, 7.5), -9.0),
    ("thalamus", (11.0, -18.0, 7.5), (10.0, 16.0, 11.0), -25.0),
)
INSULA: tuple[Triple, Triple, float] = ((38.0, 3.0, 1.0), (6.0, 24.0, 15.0), -6.0)
# Least grey fraction inside a nucleus: voxel-based maps call much of the thalamus and the putamen white.
NUCLEUS_GREY = 0.9
# Grey fraction where the striatum ends: internal capsule and pallidum lie below it, the putamen above.
STRIATUM_EDGE = 0.35


def divide_into_regions(grey: Array, white: Array, axes: Axes) -> Array:
    """Fractions (len(REGIONS), x, y, z) of a voxel from its grey and white fractions (x, y, z)."""
    places = np.meshgrid(*axes, indexing="ij", sparse=True)
    x, y, z = np.abs(places[0]), places[1], places[2]
    nuclei = _shape_nuclei(grey, white, (x, y, z))
    inside: Values = np.clip(sum(nuclei.values()), 0, 1)
    grey = np.maximum(grey, np.float32(NUCLEUS_GREY) * inside)
    cerebellum = _below_tentorium(x, y, z)
    mantle = grey * (1 - cerebellum) * (1 - inside)
    overlap = np.maximum(sum(nuclei.values()), 1)
    parts: dict[str, Values] = {name: grey * shape / overlap for name, shape in nuclei.items()}
    parts |= _divide_mantle(mantle, (x, y, z))
    parts |= {"cerebellum": grey * cerebellum * (1 - inside), "white_matter": np.minimum(white, 1 - grey)}
    return np.stack([parts[region] for region in REGIONS]).astype(np.float32)


def _shape_nuclei(grey: Array, white: Array, places: tuple[Array, Array, Array]) -> dict[str, Values]:
    nuclei: dict[str, Values] = {region: np.zeros_like(grey) for region in DEEP_NUCLEI}
    tissue = soft_step((grey + white - 0.5) / 0.05)
    striatum = soft_step((grey - STRIATUM_EDGE) / 0.04)
    for region, center, half_axes, turned_deg in NUCLEI:
        # The thalamus reads half white in the maps: its ellipsoid alone bounds it.
        bounded = tissue if region == "thalamus" else tissue * striatum
        np.maximum(nuclei[region], soft_ellipsoid(places, center, half_axes, turned_deg) * bounded, out=nuclei[region])
    return nuclei


def _divide_mantle(mantle: Values, places: tuple[Array, Array, Array]) -> Mapping[str, Values]:
    x, y, z = places
    insula = soft_ellipsoid(places, *INSULA)
    rest = mantle * (1 - insula)
    base = soft_step((-16 - z) / 4)
    posterior = soft_step((-38 - y) / 6) * soft_step((24 - x) / 4) * (1 - base)
    return {
        "cortex": rest * (1 - base - posterior),
        "temporal_base": rest * base,
        "medial_posterior": rest * posterior,
        "insula": mantle * insula,
    }


def _below_tentorium(x: Array, y: Array, z: Array) -> Values:
    """1 in the posterior fossa behind the petrous bone, 0 elsewhere; the tentorium is a tent, highest at the vermis."""
    tent_mm = -6 - 0.0075 * x**2 - 0.018 * (y + 55) ** 2
    below: Values = soft_step((tent_mm - z) / 1.5) * soft_step((-30 - y) / 1.5)
    return below
