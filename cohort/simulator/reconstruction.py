"""Projections to an image: filtered back-projection, or ordered subsets, with a Butterworth filter.

Neither knows of attenuation: `cohort.simulator.correction` comes after. Projections are (2, rotations, bins), as
`cohort.simulator.projector` has them.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import scipy.fft

from cohort.simulator.anatomy import Array, Values
from cohort.simulator.projector import ray_matrices


class Method(StrEnum):
    """How an image is reconstructed."""

    FBP = "FBP"
    OSEM = "OSEM"


@dataclass(frozen=True, slots=True, kw_only=True)
class Butterworth:
    """A low-pass filter of amplitude 1 / sqrt(1 + (f / cut-off)^(2 order))."""

    cutoff_cycles_per_cm: float
    order: int

    def response(self, frequency_per_cm: Values) -> Values:
        """Amplitude kept at frequencies, cycles/cm."""
        kept: Values = 1 / np.sqrt(1 + (frequency_per_cm / self.cutoff_cycles_per_cm) ** (2 * self.order))
        return kept


def back_project_filtered(projections: Array, butterworth: Butterworth, pixel_spacing_mm: float) -> Array:
    """Filter (2, rotations, bins) by ramp and Butterworth and back-project to (rows, columns); negatives stay."""
    mean = (projections[0] + projections[1]) / 2  # opposite views: what is far from one is near the other
    rotations, bins = mean.shape
    transfer = (_ramp(2 * bins) * butterworth.response(scipy.fft.rfftfreq(2 * bins, pixel_spacing_mm / 10))).astype(
        np.float32
    )
    filtered = scipy.fft.irfft(scipy.fft.rfft(mean, n=2 * bins, axis=1) * transfer, n=2 * bins, axis=1)[:, :bins]
    _, backward = ray_matrices(bins, rotations)
    image: Array = (backward @ filtered.astype(np.float32).ravel()).reshape(bins, bins)
    return image * np.float32(np.pi / rotations)


def _ramp(size: int) -> Values:
    """Ramp on the padded spectrum, sampled in space, so that its zero term is right (Kak & Slaney, eq. 61)."""
    positions = scipy.fft.fftfreq(size, 1 / size).round().astype(int)
    ramp = np.zeros(size)
    odd = positions % 2 == 1
    ramp[odd] = -1 / (np.pi * positions[odd]) ** 2
    ramp[0] = 0.25
    response: Values = scipy.fft.rfft(ramp).real
    return response


def iterate_subsets(projections: Array, *, subsets: int, iterations: int) -> Array:
    """Ordered-subset expectation maximisation (Hudson & Larkin 1994) with plain ray sums as its model."""
    mean = (projections[0] + projections[1]) / 2
    rotations, bins = mean.shape
    forward, _ = ray_matrices(bins, rotations)
    systems = []
    for first in range(subsets):
        rows = (np.arange(first, rotations, subsets)[:, None] * bins + np.arange(bins)).ravel()
        system = forward[rows]
        systems.append((system, system.T.tocsr(), mean.ravel()[rows]))
    image = np.ones(bins * bins, dtype=np.float32)
    for _ in range(iterations):
        for system, transposed, measured in systems:
            expected = system @ image
            ratio = np.divide(measured, expected, out=np.zeros_like(measured), where=expected > 1e-6)
            sensitivity = transposed @ np.ones_like(measured)
            image *= np.divide(transposed @ ratio, sensitivity, out=np.zeros_like(image), where=sensitivity > 1e-6)
    return image.reshape(bins, bins)


def smooth(image: Array, butterworth: Butterworth, pixel_spacing_mm: float) -> Array:
    """Butterworth filter of an image (rows, columns), the same in all directions."""
    size = len(image)
    along, across = scipy.fft.fftfreq(size, pixel_spacing_mm / 10), scipy.fft.rfftfreq(size, pixel_spacing_mm / 10)
    transfer = butterworth.response(np.hypot(along[:, None], across)).astype(np.float32)
    smoothed: Array = scipy.fft.irfft2(scipy.fft.rfft2(image) * transfer, s=image.shape)
    return smoothed
