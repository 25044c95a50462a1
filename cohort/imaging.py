"""What the camera sees: collimator blur, projections with Poisson noise, filtered back-projection."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.fft
import scipy.ndimage
import scipy.sparse

from cohort.anatomy import Array
from spect.outline import SIGMA_PER_FWHM
from spect.slices import FIELD_MM


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """A gamma camera and its reconstruction: parallel holes, filtered back-projection, Butterworth.

    With the defaults a point reads 9.9 mm wide in the plane (SCIENCE: 8 to 12 mm after Butterworth).
    """

    matrix: int = 128
    collimator_fwhm_mm: float = 6.0  # fan beam or ELEGP with 123I, at the brain's mean depth
    cutoff_cycles_per_cm: float = 0.40  # PMC6038970: 0.32 to 0.46
    butterworth_order: int = 2  # of the amplitude; a higher one at this cut-off would read wider than 12 mm
    axial_fwhm_mm: float = 9.9
    study_counts: float = 5e6  # protocols: some 5 M in all projections
    views: int = 120

    @property
    def pixel_spacing_mm(self) -> float:
        """Side of a pixel."""
        return FIELD_MM / self.matrix

    @property
    def axial_sigma_mm(self) -> float:
        """Standard deviation of the axial response."""
        return float(self.axial_fwhm_mm * SIGMA_PER_FWHM)

    @property
    def effective_thickness_mm(self) -> float:
        """Thickness of the slab whose noise the axial filter leaves in a slice: 1 over the sum of squared weights."""
        return float(2 * np.sqrt(np.pi) * self.axial_sigma_mm)

    def blur(self, activity: Array) -> Array:
        """Collimator blur of activity (matrix, matrix)."""
        sigma = self.collimator_fwhm_mm * SIGMA_PER_FWHM / self.pixel_spacing_mm
        blurred: Array = scipy.ndimage.gaussian_filter(activity, sigma, mode="constant")
        return blurred

    def project(self, activity: Array) -> Array:
        """Sum along rays: (views, matrix)."""
        forward, _ = _projectors(self.matrix, self.views)
        projected: Array = (forward @ activity.ravel()).reshape(self.views, self.matrix)
        return projected

    def reconstruct(self, projections: Array) -> Array:
        """Filter and back-project (views, matrix) to activity (matrix, matrix); negatives stay."""
        spectrum = scipy.fft.rfft(projections, n=2 * self.matrix, axis=1)
        filtered = scipy.fft.irfft(spectrum * self._filter(), n=2 * self.matrix, axis=1)[:, : self.matrix]
        _, backward = _projectors(self.matrix, self.views)
        activity: Array = (backward @ filtered.astype(np.float32).ravel()).reshape(self.matrix, self.matrix)
        return activity * np.float32(np.pi / self.views)

    def acquire(self, activity: Array, counts_share: float, rng: np.random.Generator) -> Array:
        """Image activity (matrix, matrix) with the share of the study's counts that falls on this slice.

        The scale is kept: without noise and blur the answer is the activity itself.
        """
        blurred = self.blur(activity)
        clean = self.project(blurred)
        total = float(clean.sum())
        if total <= 0:
            return np.zeros_like(activity)
        counts_per_unit = self.study_counts * counts_share / total
        noisy = (rng.poisson(clean * counts_per_unit) / counts_per_unit).astype(np.float32)
        image: Array = np.clip(self.reconstruct(noisy), 0, None) * _support(blurred, 6 / self.pixel_spacing_mm)
        return image

    def _filter(self) -> Array:
        """Ramp times Butterworth on the padded spectrum; the ramp sampled in space, so that its zero term is right."""
        positions = scipy.fft.fftfreq(2 * self.matrix, 1 / (2 * self.matrix)).round().astype(int)
        ramp = np.zeros(2 * self.matrix)
        odd = positions % 2 == 1
        ramp[odd] = -1 / (np.pi * positions[odd]) ** 2
        ramp[0] = 0.25
        frequency = scipy.fft.rfftfreq(2 * self.matrix, self.pixel_spacing_mm / 10)  # cycles/cm
        butterworth = 1 / np.sqrt(1 + (frequency / self.cutoff_cycles_per_cm) ** (2 * self.butterworth_order))
        response: Array = (scipy.fft.rfft(ramp).real * butterworth).astype(np.float32)
        return response


def _support(blurred: Array, margin_sigma: float) -> Array:
    """Head contour with a soft edge: 1 where the camera's own view holds activity, 0 well outside the head."""
    wide = scipy.ndimage.gaussian_filter(blurred, margin_sigma / 2, mode="constant")
    edge = np.clip((wide / wide.max() - 0.01) / 0.05, 0, 1)
    soft: Array = edge * edge * (3 - 2 * edge)
    return soft


@lru_cache(maxsize=4)
def _projectors(matrix: int, views: int) -> tuple[scipy.sparse.csr_array, scipy.sparse.csr_array]:
    """Forward (views * matrix, matrix^2) and backward projection; each pixel falls on two bins, linearly.

    Views cover half a turn: without attenuation the other half repeats them.
    """
    center = (matrix - 1) / 2
    rows, columns = np.mgrid[:matrix, :matrix] - center
    angles = np.arange(views)[:, None] * np.pi / views
    bins = np.cos(angles) * columns.ravel() + np.sin(angles) * rows.ravel() + center
    lower = np.floor(bins).astype(np.int64)
    upper_weight = bins - lower
    view_start = np.arange(views)[:, None] * matrix
    pixels = np.broadcast_to(np.arange(matrix * matrix), bins.shape)
    entries = []
    for shift, weight in ((0, 1 - upper_weight), (1, upper_weight)):
        seen = (lower + shift >= 0) & (lower + shift < matrix)
        entries.append(((view_start + lower + shift)[seen], pixels[seen], weight[seen]))
    ray, pixel, weight = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    shape = (views * matrix, matrix * matrix)
    forward = scipy.sparse.csr_array((weight.astype(np.float32), (ray, pixel)), shape=shape)
    return forward, scipy.sparse.csr_array(forward.T)
