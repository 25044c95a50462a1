"""How strong each wavelength is in what slices of one condition differ by, and what brings a generator's to training's.

A gamma camera blurs: scans hold next to nothing finer than its resolution. A generator learns that only roughly. The
discriminator reads a log-spaced share of it at best, and in the finest waves our slices held up to six times the power
of scans; between 20 and 60 mm they held too little. Wavelength by wavelength that is one number to measure and weigh.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from spect.slices import FIELD_MM

RING_CYCLES_PER_MM = 0.005
# Coarser than this (50 mm) is what is asked for: mean counts, left/right ratio and most of the principal scores.
FREE_BELOW_CYCLES_PER_MM = 0.02
GAIN_LIMITS = (0.2, 1.5)  # a network that has not learnt yet is not to be made of noise
TINY = 1e-12

Gain = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RingPower:
    """Mean power about the mean slice of the condition, at each ring of wavelengths (rings,)."""

    power: NDArray[np.float64]

    @classmethod
    def of(
        cls, model_images: NDArray[np.float32], condition: NDArray[np.int64], weight: NDArray[np.float64]
    ) -> "RingPower":
        """Measure model images (n, m, m) of conditions (n,), each condition by its weight (conditions,)."""
        rings = _rings(model_images.shape[-1])
        total = np.zeros(int(rings.max()) + 1)
        for index in np.flatnonzero(weight):
            images = model_images[condition == index]
            waves = scipy.fft.dctn(images - images.mean(axis=0), axes=(1, 2), norm="ortho")
            power = np.square(waves, dtype=np.float64).sum(axis=0) / (len(images) - 1)
            total += weight[index] * np.bincount(rings.ravel(), power.ravel())
        return cls(total / weight.sum() / np.bincount(rings.ravel()))


def weigh_conditions(slices: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the degrees of freedom of conditions with this many slices each."""
    return np.maximum(slices - 1, 0).astype(np.float64)


def compute_gain(expected: RingPower, found: RingPower, matrix: int) -> Gain:
    """Return the factor (m, m) of each cosine coefficient that brings the power found to the power expected."""
    ratio = np.sqrt(np.maximum(expected.power, TINY) / np.maximum(found.power, TINY))
    radius = _radius(matrix)
    centres = (np.arange(len(ratio)) + 0.5) * RING_CYCLES_PER_MM
    gain: Gain = np.interp(radius, centres, np.clip(ratio, *GAIN_LIMITS))
    gain[radius < FREE_BELOW_CYCLES_PER_MM] = 1
    return gain


def _radius(matrix: int) -> NDArray[np.float64]:
    """Spatial frequency of each cosine coefficient (m, m), cycles/mm."""
    along = np.arange(matrix) / (2 * FIELD_MM)
    radius: NDArray[np.float64] = np.hypot(along[:, None], along[None])
    return radius


def _rings(matrix: int) -> NDArray[np.int64]:
    """Ring of each cosine coefficient (m, m); the last, a corner of few, belongs to the one before."""
    rings = (_radius(matrix) / RING_CYCLES_PER_MM).astype(np.int64)
    bounded: NDArray[np.int64] = np.minimum(rings, rings.max() - 1)
    return bounded
