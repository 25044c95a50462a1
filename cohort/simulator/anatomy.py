"""One person's brain: MNI152 tissue maps, and the smooth map from the person's space back to them.

Coordinates are MNI millimetres (x to the patient's right, y anterior, z up). The only module that knows nilearn.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.ndimage

from cohort.simulator.nuclei import CORTICAL, REGIONS, divide_into_regions
from cohort.simulator.shape import Array, Axes, SmoothField, Values, build_rotation, soft_step

__all__ = [
    "BRAIN_CENTER_MM", "CORTICAL", "REGIONS", "Array", "Axes", "Brain", "SmoothField", "Template", "Values",
    "load_template", "sample_volume", "soft_step",
]  # fmt: skip

TEMPLATE_SPACING_MM = 2.0
# Middle of the brain in MNI space: heads turn about it, and it is laid into the middle of the field.
BRAIN_CENTER_MM = np.array([0.0, -18.0, 4.0], dtype=np.float32)

# Nod, roll and turn left after reorientation; hemispheres differ by little, since MNI152 and most brains do.
POSE_SD_DEG = (3.0, 0.4, 2.0)
WARP_SD_MM = 2.2
WARP_ASYMMETRY = 0.06
# Age-like: one drawn age widens the ventricles, thins the cortex and, in `perfusion`, lowers cortical flow.
# Adults seen for cerebrovascular disease; the slopes are chosen so that 30 to 90 years spans narrow to wide ventricles.
MEAN_AGE_YEARS = 65.0
AGE_SD_YEARS = 11.0
AGE_RANGE_YEARS = (30.0, 90.0)
WIDENING = (0.20, 0.009, 0.06, 0.0, 0.45)  # at the mean age, per year, SD at one age, least and most
THINNING = (1.35, 0.015, 0.12, 1.0, 1.9)


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
    return Template(fractions=divide_into_regions(grey, white, (axes[0], axes[1], axes[2])), origin_mm=origin)


def _halve_resolution(volume: Array) -> Array:
    smoothed: Array = scipy.ndimage.gaussian_filter(volume, 0.8)  # just enough against aliasing at 2 mm
    return smoothed[::2, ::2, ::2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Brain:
    """What makes one person's brain differ from MNI152."""

    to_mni: Array  # (3, 3), person's mm from the brain's centre to MNI mm from it: pose and size
    shift_mm: Array  # (3,), where the brain's centre lies in the field
    warp: SmoothField  # three channels, mm
    age_years: float  # what widening and thinning share
    ventricle_widening: float  # share by which structures near the ventricles are pushed outwards
    cortical_thinning: float  # exponent on the cortex's fraction: 1 as MNI152, more is older

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Brain":
        """Draw a brain; sizes vary by some 4 %, shapes by some 2.5 mm, poses by a few degrees and mm."""
        angles = np.deg2rad(rng.normal(0, POSE_SD_DEG))
        scale = rng.normal(1, 0.025) * rng.normal(1, (0.02, 0.02, 0.02))
        sheared = np.eye(3)
        sheared[1, 2] = rng.normal(0, 0.03)
        age_years = float(np.clip(rng.normal(MEAN_AGE_YEARS, AGE_SD_YEARS), *AGE_RANGE_YEARS))
        return cls(
            to_mni=(sheared @ np.diag(1 / scale) @ build_rotation(angles)).astype(np.float32),
            shift_mm=rng.normal(0, (3.0, 4.0, 0.0)).astype(np.float32),
            warp=SmoothField.draw(rng, sd=WARP_SD_MM, asymmetry=WARP_ASYMMETRY, mirror_signs=(-1, 1, 1)),
            age_years=age_years,
            ventricle_widening=_draw_with_age(WIDENING, age_years, rng),
            cortical_thinning=_draw_with_age(THINNING, age_years, rng),
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


def _draw_with_age(law: tuple[float, float, float, float, float], age_years: float, rng: np.random.Generator) -> float:
    mean, per_year, sd, least, most = law
    return float(np.clip(rng.normal(mean + per_year * (age_years - MEAN_AGE_YEARS), sd), least, most))


def sample_volume(volume: Array, origin_mm: Array, mni_mm: Array) -> Array:
    """Trilinear samples of a 2 mm volume at MNI coordinates (3, ...); zero outside."""
    voxels = (mni_mm - origin_mm.reshape(3, *[1] * (mni_mm.ndim - 1))) / np.float32(TEMPLATE_SPACING_MM)
    samples: Array = scipy.ndimage.map_coordinates(volume, voxels, output=np.float32, order=1, mode="constant")
    return samples
