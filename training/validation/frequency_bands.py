"""The frequency band that gives a generator away: a two-sample test that sees one band of spatial frequencies alone.

Low bands hold shape and regional pattern, high ones texture and noise. Each band's Fourier coefficients (of which a
band-passed slice is a rotation) are seen through 50 principal components, with the slice's power in rings of the band.
The whole field is seen: faint light outside the head counts.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from registry.bundle.panel import Measurement
from training.validation.cells import all_cell
from training.validation.comparison import SCORES, Comparison, Pair
from training.validation.sample import Sample
from training.validation.separability import Separability, Vector, cross_validate
from training.validation.two_sample_classifier import joint_scores

EDGES_PER_CM = (0.0, 0.15, 0.3, 0.45, 0.6, 0.9, 1.25, 2.5)  # cycles/cm; 1.25 and 2.5 are Nyquist's at 4 and 2 mm
RINGS = 4  # of a band, whose power is seen each by itself
VALUES_PER_SCORE = 3  # a low band has few coefficients: as elsewhere, its faintest directions are not looked at
SMALLEST_POWER = 1e-12  # of nothing: an exactly empty ring has no logarithm


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """A range of spatial frequencies in cycles/cm."""

    low: float
    high: float

    @property
    def metric(self) -> str:
        """Name of the band's metric."""
        return f"c2st_auc_band_{round(100 * self.low):03d}_to_{round(100 * self.high):03d}_per_metre"

    def __str__(self) -> str:
        return f"{self.low:g}–{self.high:g}"


BANDS = tuple(Band(low=low, high=high) for low, high in itertools.pairwise(EDGES_PER_CM))


def bands_of(pixel_spacing_mm: float) -> tuple[Band, ...]:
    """Return the bands that pixels of this size hold whole."""
    nyquist_per_cm = 5 / pixel_spacing_mm
    return tuple(band for band in BANDS if band.high <= nyquist_per_cm * (1 + 1e-9))


def measure_frequency_bands(comparison: Comparison) -> list[Measurement]:
    """AUC of every band over all conditions."""
    cell = all_cell(comparison.conditions)
    pairs = comparison.pairs(cell)
    spectra = [tuple(_transform(sample) for sample in pair) for pair in pairs]
    spacing_mm = comparison.reference.pixel_spacing_mm
    measurements = []
    for band in bands_of(spacing_mm):
        judged, null, floor = (
            classify_band(pair, both, band, seed=comparison.seed) for pair, both in zip(pairs, spectra, strict=True)
        )
        note = f"{band} cycles/cm alone, whole field"
        measurements.append(
            judged.measurement(band.metric, cell.name, pairs[0], null=null.auc, floor=floor.auc, note=note)
        )
    return measurements


def _transform(sample: Sample) -> NDArray[np.complex64]:
    spectrum: NDArray[np.complex64] = scipy.fft.rfft2(sample.counts.astype(np.float32, copy=False), norm="ortho")
    return spectrum


def classify_band(pair: Pair, spectra: tuple[NDArray[np.complex64], ...], band: Band, *, seed: int) -> Separability:
    """Cross-validate a logistic regression on one band of the spectra (n, m, m // 2 + 1) of a pair."""
    frequency = _frequencies_per_cm(pair[0])
    inside = (frequency >= band.low) & (frequency < band.high)
    parts = np.concatenate([spectrum[:, inside] for spectrum in spectra])
    ring = np.minimum((RINGS * (frequency[inside] - band.low) / (band.high - band.low)).astype(int), RINGS - 1)
    power = np.abs(parts) ** 2
    powers = [
        np.log(power[:, ring == one].mean(axis=1) + SMALLEST_POWER) for one in range(RINGS) if (ring == one).any()
    ]
    values = np.concatenate([parts.real, parts.imag], axis=1)
    scores = joint_scores(values, min(SCORES, values.shape[1] // VALUES_PER_SCORE))
    return cross_validate(pair, np.column_stack([scores, *powers]), seed=seed)


def _frequencies_per_cm(sample: Sample) -> Vector:
    rows, columns = sample.counts.shape[1:]
    spacing_cm = sample.pixel_spacing_mm / 10
    down = scipy.fft.fftfreq(rows, spacing_cm)[:, None]
    return np.asarray(np.hypot(down, scipy.fft.rfftfreq(columns, spacing_cm)[None]))
