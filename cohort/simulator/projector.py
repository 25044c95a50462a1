"""What reaches the detector: attenuation, collimator blur that grows with distance, scatter; rotate and sum.

Arrays of one slice are (rows, columns), its slab (planes, rows, columns). In rotation k, at the angle
theta = k pi / rotations, bin u of the detector is column cos(theta) + row sin(theta), counted from the middle.
One rotation serves two views: the detector before the rotated image's row 0, and the one opposite, read in the
same direction of bins. Sums are in pixels, not mm.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.fft
import scipy.sparse
from numpy.typing import NDArray

from cohort.simulator.anatomy import Array, Values
from spect.outline import SIGMA_PER_FWHM

Response = Callable[[Values], Values]  # full width at half maximum (mm) at distances from the collimator (mm)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """The turn of a camera about a slab: where its detector stands, and what blurs on the way there."""

    matrix: int
    rotations: int  # half the views
    pixel_spacing_mm: float
    plane_spacing_mm: float
    orbit_radius_mm: float  # from the axis to the collimator's face
    response: Response  # in the plane
    axial_response: Response  # with the axial part of the reconstruction's filter

    def positions_mm(self) -> Values:
        """Place of pixels along one side, from the middle of the field: (matrix,)."""
        positions: Values = (np.arange(self.matrix) - (self.matrix - 1) / 2) * self.pixel_spacing_mm
        return positions

    def project(self, slab: Array, attenuation_per_cm: Array) -> Array:
        """Primary photons of the middle plane's detector row: (2, rotations, bins), before and opposite.

        The slab's planes share the attenuation map (rows, columns) of the middle one.
        """
        # From the detector's distance the axial blur is a parabola through three distances: far cheaper than a plane
        # each, and within half a percent of the slab.
        parts = [np.einsum("p,pij->ij", weights, slab) for weights in self._axial_weights(len(slab))]
        images = np.stack([*parts, attenuation_per_cm], axis=-1).reshape(-1, 4).astype(np.float32)
        share = np.stack([self._parabola()[::-1], self._parabola()]).astype(np.float32)  # detector, row, part
        blur = self._blur()
        step_cm = np.float32(self.pixel_spacing_mm / 10)
        projections = np.empty((2, self.rotations, self.matrix), dtype=np.float32)
        for rotation, turned in enumerate(rotation_matrices(self.matrix, self.rotations)):
            image = (turned @ images).reshape(self.matrix, self.matrix, 4)
            seen = np.einsum("dvk,vuk->dvu", share, image[..., :3])
            seen *= _transmission(image[..., 3] * step_cm)
            spectrum = np.einsum("dvf,dvf->df", scipy.fft.rfft(seen, axis=2), blur)
            projections[:, rotation] = scipy.fft.irfft(spectrum, n=self.matrix, axis=1)
        return np.maximum(projections, 0, out=projections)  # the FFT rounds below zero beside the head

    def _distances_mm(self) -> Values:
        """Distance from the far detector to the rows of a rotated image, (rows,): row 0 is the far one."""
        distances: Values = np.maximum(self.orbit_radius_mm - self.positions_mm(), 0)
        return distances

    def _nodes_mm(self) -> Values:
        reach = 0.8 * self.matrix * self.pixel_spacing_mm / 2
        nodes: Values = np.maximum(self.orbit_radius_mm + np.array([-reach, 0.0, reach]), 0)
        return nodes

    def _axial_weights(self, planes: int) -> Array:
        """Weights (3, planes) of the planes at three distances."""
        offsets = (np.arange(planes) - (planes - 1) / 2) * self.plane_spacing_mm
        sigma = self.axial_response(self._nodes_mm()) * SIGMA_PER_FWHM
        weights = np.exp(-0.5 * (offsets / np.maximum(sigma[:, None], 1e-6)) ** 2)
        normed: Array = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
        return normed

    def _parabola(self) -> Values:
        """Share (rows, 3) of each distance's weights at the rows, Lagrange's; the sum is 1."""
        at, (near, middle, far) = self._distances_mm(), self._nodes_mm()
        shares = (
            (at - middle) * (at - far) / ((near - middle) * (near - far)),
            (at - near) * (at - far) / ((middle - near) * (middle - far)),
            (at - near) * (at - middle) / ((far - near) * (far - middle)),
        )
        return np.stack(shares, axis=1)

    def _blur(self) -> Array:
        """Transfer function (2, rows, frequencies) of the collimator, for the detector before and the opposite one."""
        frequency = scipy.fft.rfftfreq(self.matrix, self.pixel_spacing_mm)
        sigma = self.response(self._distances_mm()) * SIGMA_PER_FWHM
        far = np.exp(-2 * (np.pi * sigma[:, None] * frequency) ** 2)
        return np.stack([far[::-1], far]).astype(np.float32)


def _transmission(attenuation: Array) -> Array:
    """Share of photons (2, rows, bins) that reaches either detector from the middle of each pixel.

    Attenuation is per pixel's side; a photon crosses half of its own pixel, and all in front of it.
    """
    crossed = np.cumsum(attenuation, axis=0)
    before = crossed - attenuation / 2
    share: Array = np.exp(-np.stack([before, crossed[-1] - before]))
    return share


def add_scatter(primary: Array, *, fraction: float, reach_mm: float, pixel_spacing_mm: float) -> Array:
    """Primary (..., bins) and its scatter: `fraction` times the primary, spread by exp(-|u| / reach)."""
    bins = primary.shape[-1]
    padded = 2 * bins
    offsets_mm = scipy.fft.fftfreq(padded, 1 / padded) * pixel_spacing_mm
    kernel = np.exp(-np.abs(offsets_mm) / reach_mm)
    transfer = (scipy.fft.rfft(kernel / kernel.sum()).real * fraction).astype(np.float32)
    scattered = scipy.fft.irfft(scipy.fft.rfft(primary, n=padded) * transfer, n=padded)[..., :bins]
    with_scatter: Array = primary + np.maximum(scattered, 0).astype(np.float32)
    return with_scatter


@lru_cache(maxsize=4)
def rotation_matrices(matrix: int, rotations: int) -> tuple[scipy.sparse.csr_array, ...]:
    """One (matrix^2, matrix^2) bilinear interpolation a rotation; 80 MB at 128 by 60, once in a process."""
    center = (matrix - 1) / 2
    rows, columns = (grid.ravel() - center for grid in np.mgrid[:matrix, :matrix])
    inside = np.flatnonzero(np.hypot(rows, columns) <= matrix / 2)
    turned = []
    for angle in np.arange(rotations) * np.pi / rotations:
        cosine, sine = np.cos(angle), np.sin(angle)
        source_row = sine * columns[inside] + cosine * rows[inside] + center
        source_column = cosine * columns[inside] - sine * rows[inside] + center
        turned.append(_interpolation(source_row, source_column, inside, matrix))
    return tuple(turned)


def _interpolation(row: Values, column: Values, targets: NDArray[np.intp], matrix: int) -> scipy.sparse.csr_array:
    """Take pixels `targets` of an image from (row, column) of another, bilinearly; outside it is zero."""
    entries = []
    for down in (0, 1):
        for right in (0, 1):
            top, left = np.floor(row).astype(np.int32) + down, np.floor(column).astype(np.int32) + right
            weight = (1 - np.abs(row - top)) * (1 - np.abs(column - left))
            held = (top >= 0) & (top < matrix) & (left >= 0) & (left < matrix) & (weight > 1e-6)
            entries.append((weight[held], targets[held], top[held] * matrix + left[held]))
    weights, target, source = (np.concatenate(part) for part in zip(*entries, strict=True))
    return scipy.sparse.csr_array((weights.astype(np.float32), (target, source)), shape=(matrix**2, matrix**2))


@lru_cache(maxsize=4)
def ray_matrices(matrix: int, rotations: int) -> tuple[scipy.sparse.csr_array, scipy.sparse.csr_array]:
    """Plain ray sums (rotations * bins, matrix^2) and their transpose: each pixel falls on two bins, linearly."""
    center = (matrix - 1) / 2
    rows, columns = (grid.ravel() - center for grid in np.mgrid[:matrix, :matrix])
    angles = np.arange(rotations)[:, None] * np.pi / rotations
    bins = np.cos(angles) * columns + np.sin(angles) * rows + center
    lower = np.floor(bins).astype(np.int32)
    first = np.arange(rotations, dtype=np.int32)[:, None] * matrix
    pixels = np.broadcast_to(np.arange(matrix**2, dtype=np.int32), bins.shape)
    entries = []
    for shift in (0, 1):
        seen = (lower + shift >= 0) & (lower + shift < matrix)
        weight = 1 - np.abs(bins - lower - shift)
        entries.append((weight[seen], (first + lower + shift)[seen], pixels[seen]))
    weights, ray, pixel = (np.concatenate(part) for part in zip(*entries, strict=True))
    shape = (rotations * matrix, matrix**2)
    forward = scipy.sparse.csr_array((weights.astype(np.float32), (ray, pixel)), shape=shape)
    return forward, scipy.sparse.csr_array(forward.T)
