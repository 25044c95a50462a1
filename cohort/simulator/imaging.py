"""The camera: what it is made of, and what it makes of a slab of activity; settings and one call."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.ndimage

from cohort.simulator.anatomy import Array, Values
from cohort.simulator.attenuation import WATER_PER_CM
from cohort.simulator.correction import ChangCorrection, Ellipse, find_contour
from cohort.simulator.projector import Scan, add_scatter
from cohort.simulator.reconstruction import Butterworth, Method, back_project_filtered, iterate_subsets, smooth
from spect.outline import SIGMA_PER_FWHM, upper_percentile
from spect.slices import FIELD_MM

CYLINDER_RADIUS_MM = 100.0  # the usual quality-control cylinder
CYLINDER_REGION = 0.6  # share of its radius in which the level is read


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """A gamma camera and its reconstruction; with the defaults a point reads some 10 mm wide in the plane."""

    matrix: int = 128
    views: int = 120  # over the full turn
    # Fan-beam class: 6.5 mm at 140 mm. sqrt(intrinsic^2 + (hole (1 + distance / length))^2), Anger 1964.
    intrinsic_fwhm_mm: float = 3.8
    hole_mm: float = 1.05
    hole_length_mm: float = 35.0  # effective: less what photons pass through the septa's edges
    orbit_radius_mm: float = 140.0  # past the shoulders
    scatter_fraction: float = 0.30  # of the primary, 20 % window about 159 keV, no scatter subtracted
    scatter_reach_mm: float = 35.0  # exponential, as in Axelsson, J Nucl Med 1984;25:490
    study_counts: float = 5e6  # protocols: some 5 M in all projections
    cutoff_cycles_per_cm: float = 0.46  # PMC6038970: 0.32 to 0.46
    butterworth_order: int = 3  # of the amplitude; 2 leaves grain of single pixels, 4 reads a point wider than 12 mm
    axial_filter_fwhm_mm: float = 7.0  # the same filter, across the planes
    plane_spacing_mm: float = 3.0
    method: Method = Method.FBP
    subsets: int = 6
    iterations: int = 8

    @property
    def pixel_spacing_mm(self) -> float:
        """Side of a pixel."""
        return FIELD_MM / self.matrix

    @property
    def effective_thickness_mm(self) -> float:
        """Thickness of the slab whose noise the axial filter leaves in a slice: 1 over the sum of squared weights."""
        middle = float(self.axial_fwhm_mm(np.array(self.orbit_radius_mm)))
        return float(2 * np.sqrt(np.pi) * middle * SIGMA_PER_FWHM)

    @property
    def butterworth(self) -> Butterworth:
        """The low-pass filter."""
        return Butterworth(cutoff_cycles_per_cm=self.cutoff_cycles_per_cm, order=self.butterworth_order)

    @property
    def scan(self) -> Scan:
        """The turn about the patient."""
        return Scan(
            matrix=self.matrix,
            rotations=self.views // 2,
            pixel_spacing_mm=self.pixel_spacing_mm,
            plane_spacing_mm=self.plane_spacing_mm,
            orbit_radius_mm=self.orbit_radius_mm,
            response=self.collimator_fwhm_mm,
            axial_response=self.axial_fwhm_mm,
        )

    def collimator_fwhm_mm(self, distance_mm: Values) -> Values:
        """Width of a point at a distance from the collimator's face."""
        geometric = self.hole_mm * (1 + distance_mm / self.hole_length_mm)
        width: Values = np.hypot(self.intrinsic_fwhm_mm, geometric)
        return width

    def axial_fwhm_mm(self, distance_mm: Values) -> Values:
        """Width across the planes, with the filter."""
        width: Values = np.hypot(self.collimator_fwhm_mm(distance_mm), self.axial_filter_fwhm_mm)
        return width

    def project(self, slab: Array, attenuation_per_cm: Array) -> Array:
        """Noiseless projections (2, rotations, bins) of a slab (planes, rows, columns), with scatter."""
        return add_scatter(
            self.scan.project(slab, attenuation_per_cm),
            fraction=self.scatter_fraction,
            reach_mm=self.scatter_reach_mm,
            pixel_spacing_mm=self.pixel_spacing_mm,
        )

    def reconstruct(self, projections: Array) -> Array:
        """Image (rows, columns) before any correction; filtered back-projection leaves negatives."""
        if self.method is Method.OSEM:
            image = iterate_subsets(projections, subsets=self.subsets, iterations=self.iterations)
            return smooth(image, self.butterworth, self.pixel_spacing_mm)
        return back_project_filtered(projections, self.butterworth, self.pixel_spacing_mm)

    def quantify(self, image: Array, correction: ChangCorrection) -> Array:
        """Correct an image for attenuation and bring it to the activity's unit, by the cylinder's calibration."""
        positions = self.scan.positions_mm()
        contour = find_contour(image, positions, correction.margin_mm)
        if contour is None:
            return np.zeros_like(image)
        corrected: Array = image * correction.factors(contour, positions) * np.float32(calibrate(self))
        return np.clip(corrected, 0, None) * _head(corrected, self.pixel_spacing_mm)

    def acquire(
        self,
        slab: Array,
        attenuation_per_cm: Array,
        *,
        counts_share: float,
        correction: ChangCorrection,
        rng: np.random.Generator,
    ) -> Array:
        """Image a slab's middle plane, with the share of the study's counts that falls on it.

        Parameters
        ----------
        slab
            Activity (planes, rows, columns), planes `plane_spacing_mm` apart.
        attenuation_per_cm
            Of the middle plane (rows, columns).

        Returns
        -------
        The image (rows, columns) in the activity's unit: exactly so for a uniform cylinder, without noise.
        """
        clean = self.project(slab, attenuation_per_cm)
        total = float(clean.sum(dtype=np.float64))
        if total <= 0:
            return np.zeros((self.matrix, self.matrix), dtype=np.float32)
        counts_per_unit = self.study_counts * counts_share / total
        noisy = (rng.poisson(clean * counts_per_unit) / counts_per_unit).astype(np.float32)
        return self.quantify(self.reconstruct(noisy), correction)


@lru_cache(maxsize=8)
def calibrate(camera: Camera) -> float:
    """Compute the cross-calibration: activity over image level in a water cylinder, by the camera's own chain.

    Its wall is known, so that its contour is the true one; mu is the one the clinic uses.
    """
    # The level does not depend on the counts, so that cameras that differ in them share one factor.
    axis = camera.scan.positions_mm()
    radius = np.hypot(axis[:, None], axis)
    cylinder = np.clip((CYLINDER_RADIUS_MM - radius) / camera.pixel_spacing_mm + 0.5, 0, 1).astype(np.float32)
    slab = np.repeat(cylinder[None], 3, axis=0)
    image = camera.reconstruct(camera.project(slab, cylinder * np.float32(WATER_PER_CM)))
    wall = Ellipse(row_mm=0, column_mm=0, half_axes_mm=(CYLINDER_RADIUS_MM, CYLINDER_RADIUS_MM), turned=0)
    corrected = image * ChangCorrection().factors(wall, axis)
    return 1 / float(corrected[radius < CYLINDER_REGION * CYLINDER_RADIUS_MM].mean(dtype=np.float64))


def _head(image: Array, pixel_spacing_mm: float) -> Array:
    """Head contour with a soft edge, found in the image: 1 in it, 0 outside; a workstation blanks what lies beyond.

    Scatter lays a faint veil round the head, ramp-filtered noise lies everywhere, and attenuation leaves bright spots
    beside every concave stretch of the outline (Sylvian fissure, behind the temporal pole): none belongs to the brain.
    """
    wide = scipy.ndimage.gaussian_filter(image, 5 / pixel_spacing_mm, mode="constant")
    reference = upper_percentile(wide, 99.5)
    if not reference > 0:
        return np.zeros_like(image)
    edge = np.clip((wide / reference - 0.13) / 0.10, 0, 1)
    parts, count = scipy.ndimage.label(edge > 0)
    if count > 1:  # specks of noise beside the head; a temporal pole is far more than a twentieth of the largest part
        sizes = np.bincount(parts.ravel(), weights=edge.ravel())
        sizes[0] = 0
        edge = np.where((sizes > 0.05 * sizes.max())[parts], edge, 0)
    soft: Array = (edge * edge * (3 - 2 * edge)).astype(np.float32)
    return soft
