"""How strong each wavelength is in what slices of one condition differ by, and what brings a generator's to training's.

A gamma camera blurs: scans hold next to nothing finer than its resolution. A generator learns that only roughly, and
what is too fine gives its slices away to whoever looks for it. Wavelength by wavelength that is one number to measure
and to weigh.
"""

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from spect.slices import FIELD_MM

RING_CYCLES_PER_MM = 0.005
# Coarser than this (50 mm) lies what is asked for, mean counts and left/right ratio first: it is left alone.
FREE_BELOW_CYCLES_PER_MM = 0.02
GAIN_LIMITS = (0.2, 1.5)  # a network that has not learnt yet is not to be made of noise
TINY = 1e-12

Gain = NDArray[np.float64]
Power = NDArray[np.float64]  # (rings,)


def measure_power(model_images: NDArray[np.float32], condition: NDArray[np.int64], weight: NDArray[np.int64]) -> Power:
    """Return the mean power about the mean slice of a condition, at each ring of wavelengths.

    Of model images (n, m, m) of conditions (n,), each condition by its weight (conditions,): one of weight is shown by
    two slices at least.
    """
    rings = _rings(model_images.shape[-1])
    total: Power = np.zeros(int(rings.max()) + 1)
    for index in np.flatnonzero(weight):
        images = model_images[condition == index]
        waves = scipy.fft.dctn(images - images.mean(axis=0), axes=(1, 2), norm="ortho")
        power = np.square(waves, dtype=np.float64).sum(axis=0) / (len(images) - 1)
        total += weight[index] * np.bincount(rings.ravel(), power.ravel())
    power_of_ring: Power = total / weight.sum() / np.bincount(rings.ravel())
    return power_of_ring


def compute_gain(expected: Power, found: Power, matrix: int) -> Gain:
    """Return the factor (m, m) of each cosine coefficient that brings the power found to the power expected."""
    ratio = np.sqrt(np.maximum(expected, TINY) / np.maximum(found, TINY))
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
