"""Radial power spectrum: how far synthetic texture lies from the reference's, over all spatial frequencies."""

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from registry.bundle.panel import Measurement
from training.validation.cells import condition_cells
from training.validation.comparison import Comparison
from training.validation.sample import Sample

METRIC = "radial_spectrum_distance"


def compute_radial_spectrum(sample: Sample) -> NDArray[np.float64]:
    """Mean power (m // 2,) of a sample's slices in rings of equal width up to the Nyquist frequency."""
    matrix = sample.counts.shape[-1]
    power = np.abs(scipy.fft.fft2(sample.counts)) ** 2
    frequency = np.hypot(*np.meshgrid(scipy.fft.fftfreq(matrix), scipy.fft.fftfreq(matrix)))
    ring = np.rint(frequency * matrix).astype(int)
    rings = matrix // 2 + 1
    inside = ring < rings
    mean_power = power.mean(axis=0, dtype=np.float64)
    total = np.bincount(ring[inside], weights=mean_power[inside], minlength=rings)
    return np.asarray(total / np.bincount(ring[inside], minlength=rings))


def compute_spectrum_distance(first: Sample, second: Sample) -> float:
    """Root mean square difference of the log10 radial spectra: 0.1 is a power off by a quarter at every frequency."""
    spectra = [np.log10(np.maximum(compute_radial_spectrum(sample), 1e-12)) for sample in (first, second)]
    return float(np.sqrt(np.mean((spectra[0] - spectra[1]) ** 2)))


def measure_spectrum(comparison: Comparison) -> list[Measurement]:
    """Distances per condition."""
    return [
        comparison.measure(METRIC, cell, compute_spectrum_distance, note="log10 power, root mean square over rings")
        for cell in condition_cells(comparison.conditions)
    ]
