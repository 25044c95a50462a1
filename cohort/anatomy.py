"""One person's brain: MNI152 tissue maps, and the smooth map from the person's space back to them.

Coordinates are MNI millimetres (x to the patient's right, y anterior, z up). The only module that knows nilearn.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

Array = NDArray[np.float32]
Values = NDArray[np.floating[Any]]
Axes = tuple[Array, Array, Array]  # x (p,), y (q,), z (r,) of a regular grid, mm

REGIONS = (
    "cortex", "temporal_base", "medial_posterior", "white_matter", "cerebellum", "putamen", "caudate", "thalamus",
)  # fmt: skip
CORTICAL = slice(0, 3)
TEMPLATE_SPACING_MM = 2.0
# Middle of the brain in MNI space: heads turn about it, and it is laid into the middle of the field.
BRAIN_CENTER_MM = np.array([0.0, -18.0, 4.0], dtype=np.float32)

# Deep nuclei as MNI ellipsoids, placed by hand inside the grey-matter map: region, centre, half axes (mm) and
# rotation about z (degrees; positive turns the anterior end outwards). Given for the right side, mirrored for the left.
NUCLEI = (
    ("putamen", (26.0, 2.0, 1.0), (6.0, 16.0, 11.0), -13.0),
    ("caudate", (12.5, 14.0, 4.0), (5.0, 9.5, 9.0), 12.0),
    ("caudate", (15.0, 0.0, 18.0), (4.0, 13.0, 5.5), -10.0),
    ("thalamus", (11.0, -18.0, 7.0), (9.5, 14.0, 9.0), -30.0),
)
# Nod, roll and turn left after reorientation; hemispheres differ by little, since MNI152 and most brains do.
POSE_SD_DEG = (3.0, 0.4, 2.0)
WARP_SD_MM = 2.2
WARP_ASYMMETRY = 0.06
NUCLEUS_GREY = 0.85  # least grey fraction inside a nucleus: voxel-based maps call much of the thalamus white


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """Fraction of each region in every voxel of a 2 mm MNI grid."""

    fractions: Array  # (len(REGIONS), x, y, z), 0 to 1
    origin_mm: Array  # (3,), MNI coordinates of voxel (0, 0, 0)

    def volumes_ml(self) -> Array:
        """Volume of each region, (len(REGIONS),)."""
        total: Array = self.fractions.sum(axis=(1, 2, 3), dtype=np.float64) * TEMPLATE_SPACING_MM**3 / 1000
        return total


@lru_cache(maxsize=1)
def load_template() -> Template:
    """Return the regions of MNI152 from the maps inside the nilearn package; nothing is downloaded."""
    from nilearn.datasets import load_mni152_gm_template, load_mni152_wm_template  # noqa: PLC0415 — slow to import

    maps = [load(resolution=1) for load in (load_mni152_gm_template, load_mni152_wm_template)]
    grey, white = (_halve_resolution(image.get_fdata(dtype=np.float32)) for image in maps)
    origin = maps[0].affine[:3, 3].astype(np.float32)
    axes = [origin[i] + TEMPLATE_SPACING_MM * np.arange(size, dtype=np.float32) for i, size in enumerate(grey.shape)]
    return Template(fractions=_divide_into_regions(grey, white, (axes[0], axes[1], axes[2])), origin_mm=origin)


def _halve_resolution(volume: Array) -> Array:
    smoothed: Array = scipy.ndimage.gaussian_filter(volume, 0.8)  # just enough against aliasing at 2 mm
    return smoothed[::2, ::2, ::2]


def _divide_into_regions(grey: Array, white: Array, axes: Axes) -> Array:
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    nuclei = {region: np.zeros_like(grey) for region in ("putamen", "caudate", "thalamus")}
    for region, center, half_axes, turned_deg in NUCLEI:
        shape = _soft_ellipsoid(np.abs(x), y, z, center, half_axes, turned_deg)
        np.maximum(nuclei[region], shape * ((grey + white) > 0.5), out=nuclei[region])
    inside = np.clip(sum(nuclei.values()), 0, 1)
    grey = np.maximum(grey, NUCLEUS_GREY * inside)
    white = np.minimum(white, 1 - grey)
    cerebellum = _below_tentorium(x, y, z)
    parts: dict[str, Values] = {
        name: grey * shape / np.maximum(sum(nuclei.values()), 1) for name, shape in nuclei.items()
    }
    mantle = grey * (1 - cerebellum) * (1 - inside)
    base = soft_step((-16 - z) / 4)
    posterior = soft_step((-38 - y) / 6) * soft_step((24 - np.abs(x)) / 4) * (1 - base)
    parts |= {
        "cerebellum": grey * cerebellum * (1 - inside),
        "cortex": mantle * (1 - base - posterior),
        "temporal_base": mantle * base,
        "medial_posterior": mantle * posterior,
        "white_matter": white,
    }
    return np.stack([parts[region] for region in REGIONS]).astype(np.float32)


def _soft_ellipsoid(
    x: Array,
    y: Array,
    z: Array,
    center: tuple[float, float, float],
    half_axes: tuple[float, float, float],
    turned_deg: float,
) -> Values:
    """1 inside, 0 outside, with an edge of some 2 mm."""
    dx, dy, dz = x - center[0], y - center[1], z - center[2]
    cosine, sine = np.cos(np.deg2rad(turned_deg)), np.sin(np.deg2rad(turned_deg))
    across, along = cosine * dx - sine * dy, sine * dx + cosine * dy
    radius = np.sqrt((across / half_axes[0]) ** 2 + (along / half_axes[1]) ** 2 + (dz / half_axes[2]) ** 2)
    soft: Values = np.clip((1 - radius) * min(half_axes) / 2 + 0.5, 0, 1)
    return soft


def _below_tentorium(x: Array, y: Array, z: Array) -> Values:
    """1 in the posterior fossa behind the petrous bone, 0 elsewhere; the tentorium is a tent, highest at the vermis."""
    tent_mm = -6 - 0.0075 * x**2 - 0.018 * (y + 55) ** 2
    below: Values = soft_step((tent_mm - z) / 1.5) * soft_step((-30 - y) / 1.5)
    return below


def soft_step(values: Values) -> Values:
    """0 far below zero, 1 far above: the logistic function."""
    soft: Values = 1 / (1 + np.exp(-np.clip(values, -30, 30)))
    return soft


@dataclass(frozen=True, slots=True, kw_only=True)
class SmoothField:
    """Cubic B-spline field over a box that holds every head; cheap on regular grids, since it is separable."""

    coefficients: Array  # (channels, 8, 9, 8)

    LOW_MM = (-140.0, -160.0, -130.0)
    KNOT_MM = (40.0, 40.0, 40.0)

    @classmethod
    def draw(
        cls, rng: np.random.Generator, *, sd: float, asymmetry: float, mirror_signs: tuple[int, ...] = (1,)
    ) -> "SmoothField":
        """Draw a field of standard deviation `sd`, one channel a mirror sign.

        A channel of sign 1 keeps its value under the mirror x -> -x, one of sign -1 changes sign (the x component of a
        symmetric warp); to that is added what breaks the symmetry, `asymmetry` times as large.
        """
        raw = rng.standard_normal((len(mirror_signs), 8, 9, 8))
        mirrored = raw[:, ::-1] * np.array(mirror_signs).reshape(-1, 1, 1, 1)
        even, odd = (raw + mirrored) / 2, (raw - mirrored) / 2
        # A cubic B-spline keeps 0.48 of the variance of its coefficients along each axis.
        norm = 0.48**1.5 * np.sqrt((1 + asymmetry**2) / 2)
        return cls(coefficients=((even + asymmetry * odd) * sd / norm).astype(np.float32))

    def evaluate(self, axes: Axes) -> Array:
        """Values (channels, p, q, r) on the grid of `axes`."""
        bases = [
            _spline_basis((axis - low) / knot, size)
            for axis, low, knot, size in zip(axes, self.LOW_MM, self.KNOT_MM, self.coefficients.shape[1:], strict=True)
        ]
        # einsum in this order keeps every step small, and calls no threaded library: the same bits on any machine load.
        values = np.einsum("cijk,rk->cijr", self.coefficients, bases[2])
        values = np.einsum("cijr,qj->ciqr", values, bases[1])
        field: Array = np.einsum("ciqr,pi->cpqr", values, bases[0])
        return field


def _spline_basis(position: Array, size: int) -> Array:
    """Cubic B-spline weights (len(position), size) at positions counted in knots."""
    distance = np.abs(position[:, None] - np.arange(size, dtype=np.float32))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Brain:
    """What makes one person's brain differ from MNI152."""

    to_mni: Array  # (3, 3), person's mm from the brain's centre to MNI mm from it: pose and size
    shift_mm: Array  # (3,), where the brain's centre lies in the field
    warp: SmoothField  # three channels, mm
    ventricle_widening: float  # share by which structures near the ventricles are pushed outwards
    cortical_thinning: float  # exponent on the cortex's fraction: 1 as MNI152, more is older

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Brain":
        """Draw a brain; sizes vary by some 4 %, shapes by some 2.5 mm, poses by a few degrees and mm."""
        angles = np.deg2rad(rng.normal(0, POSE_SD_DEG))
        scale = rng.normal(1, 0.025) * rng.normal(1, (0.02, 0.02, 0.02))
        sheared = np.eye(3)
        sheared[1, 2] = rng.normal(0, 0.03)
        return cls(
            to_mni=(sheared @ np.diag(1 / scale) @ _rotation(angles)).astype(np.float32),
            shift_mm=rng.normal(0, (3.0, 4.0, 0.0)).astype(np.float32),
            warp=SmoothField.draw(rng, sd=WARP_SD_MM, asymmetry=WARP_ASYMMETRY, mirror_signs=(-1, 1, 1)),
            ventricle_widening=float(rng.uniform(0, 0.4)),
            cortical_thinning=float(rng.uniform(1.0, 1.7)),
        )

    def locate(self, axes: Axes) -> Array:
        """MNI coordinates (3, p, q, r) of a regular grid in the person's space, mm from the middle of the field."""
        centered = [axis - offset for axis, offset in zip(axes, self.shift_mm, strict=True)]
        grids = np.meshgrid(*centered, indexing="ij", sparse=True)
        # About the brain's own middle, so that the warp's mirror is the brain's.
        located = self.warp.evaluate((centered[0], centered[1], centered[2]))
        for row in range(3):
            located[row] += BRAIN_CENTER_MM[row]
            for column in range(3):
                located[row] += self.to_mni[row, column] * grids[column]
        x, y, z = located
        near = np.exp(-((x / 22) ** 2) - ((y + 10) / 45) ** 2 - ((z - 14) / 18) ** 2)
        located[0] = x * (1 - self.ventricle_widening * near)
        return located


def _rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation about x (nod), then y (tilt), then z (turn)."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    rotation: NDArray[np.float64] = about_z @ about_y @ about_x
    return rotation


def sample_volume(volume: Array, origin_mm: Array, mni_mm: Array) -> Array:
    """Trilinear samples of a 2 mm volume at MNI coordinates (3, ...); zero outside."""
    voxels = (mni_mm - origin_mm.reshape(3, *[1] * (mni_mm.ndim - 1))) / np.float32(TEMPLATE_SPACING_MM)
    samples: Array = scipy.ndimage.map_coordinates(volume, voxels, output=np.float32, order=1, mode="constant")
    return samples
