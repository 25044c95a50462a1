"""The features drift is judged by: a closed list, because their names are metric labels (SCIENCE.md section 7)."""

from collections.abc import Mapping

import numpy as np
import scipy.fft
import scipy.ndimage

from spect.outline import SIGMA_PER_FWHM, Slice, Vector
from spect.quantify import DEFAULT_THRESHOLD, Regions, check_measurable, measure, require_regions

MEAN_COUNTS = "mean_counts"
LOG_LEFT_RIGHT_RATIO = "log_left_right_ratio"
MASK_FRACTION = "mask_fraction"
MAX_OVER_MEAN = "max_over_mean"
HIGH_FREQUENCY_SHARE = "high_frequency_share"
NOISE_SD = "noise_sd"
FEATURES = (MEAN_COUNTS, LOG_LEFT_RIGHT_RATIO, MASK_FRACTION, MAX_OVER_MEAN, HIGH_FREQUENCY_SHARE, NOISE_SD)

HIGH_FREQUENCY_PER_CM = 0.6
# Its response falls to a half at 0.73 cycles/cm, beside the limit of high frequency.
NOISE_BLUR_FWHM_MM = 6.0


def compute_features(counts: object, *, pixel_spacing_mm: float) -> dict[str, Vector]:
    """Compute the features of slices (n, rows, columns): float64 (n,) under each name of `FEATURES`.

    Each slice is measured by itself, so that it gives the same numbers in any batch. Raises `QuantificationError`
    naming the first slice in which no outline can be found.
    """
    stack = check_measurable(counts, pixel_spacing_mm=pixel_spacing_mm)
    regions = [require_regions(index, one, pixel_spacing_mm, DEFAULT_THRESHOLD) for index, one in enumerate(stack)]
    rows = [describe_slice(one, found) for one, found in zip(stack, regions, strict=True)]
    return {name: np.array([row[name] for row in rows], dtype=np.float64) for name in FEATURES}


def describe_slice(counts: Slice, regions: Regions) -> Mapping[str, float]:
    """Compute the features of counts (rows, columns) whose regions are known."""
    measured = measure(regions, counts)
    pixel_spacing_mm = regions.outline.pixel_spacing_mm
    return {
        MEAN_COUNTS: measured.mean_counts,
        LOG_LEFT_RIGHT_RATIO: float(np.log(measured.left_right_ratio)),
        MASK_FRACTION: measured.mask_fraction,
        MAX_OVER_MEAN: float(counts.max()) / measured.mean_counts,
        HIGH_FREQUENCY_SHARE: compute_high_frequency_share(counts, pixel_spacing_mm),
        NOISE_SD: compute_noise_sd(counts, regions, pixel_spacing_mm) / measured.mean_counts,
    }


def compute_high_frequency_share(counts: Slice, pixel_spacing_mm: float) -> float:
    """Compute the share of a slice's power, its mean included, above 0.6 cycles/cm."""
    power = np.abs(scipy.fft.rfft2(counts.astype(np.float64))) ** 2
    # All but the first and, where there is one, the Nyquist column stand for two columns of the whole spectrum.
    power[:, 1 : (counts.shape[1] + 1) // 2] *= 2
    spacing_cm = pixel_spacing_mm / 10
    down = scipy.fft.fftfreq(counts.shape[0], spacing_cm)[:, None]
    across = scipy.fft.rfftfreq(counts.shape[1], spacing_cm)[None, :]
    return float(power[np.hypot(down, across) > HIGH_FREQUENCY_PER_CM].sum() / power.sum())


def compute_noise_sd(counts: Slice, regions: Regions, pixel_spacing_mm: float) -> float:
    """Compute the SD, inside the outline, of counts minus their 6 mm blur."""
    wide = counts.astype(np.float64)
    blurred = scipy.ndimage.gaussian_filter(wide, NOISE_BLUR_FWHM_MM * SIGMA_PER_FWHM / pixel_spacing_mm)
    return float((wide - blurred)[regions.outline.mask].std())
