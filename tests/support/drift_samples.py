"""Feature rows and slices for tests of drift, distributed about as the simulated cohort, made in a moment."""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from spect.conditions import CONDITIONS, Condition, Pattern
from spect.features import FEATURES
from spect.profile import ReferenceProfile, ReferenceSample, build_profile

Rows = dict[str, NDArray[np.float64]]
SPACING_MM = 4.0
_BLUR_MM = 10 / 2.355  # sigma of the resolution of SPECT, FWHM 10 mm


def draw_features(
    condition: Condition,
    slices: int,
    rng: np.random.Generator,
    *,
    mean_ratio: float = 1.0,
    log_ratio_shift: float = 0.0,
) -> Rows:
    """Feature rows of one condition; `mean_ratio` scales mean counts, `log_ratio_shift` moves every log ratio."""
    side = rng.choice([-1.0, 1.0], slices) if condition.pattern is Pattern.UNILATERAL else np.zeros(slices)
    spread = 0.05 if condition.pattern is Pattern.UNILATERAL else 0.02
    return {
        "mean_counts": 50 * mean_ratio * np.exp(rng.normal(0, 0.14, slices)),
        "log_left_right_ratio": side * 0.14 + rng.normal(0, spread, slices) + log_ratio_shift,
        "mask_fraction": rng.normal(0.85, 0.03, slices),
        "max_over_mean": rng.normal(1.6, 0.08, slices),
        "high_frequency_share": 2e-3 * np.exp(rng.normal(0, 0.15, slices)),
        "noise_sd": 0.05 * np.exp(rng.normal(0, 0.1, slices)),
    }


def patients_of(slices: int, *, slices_each: int = 1) -> NDArray[np.str_]:
    """Who each slice is from, `slices_each` in a row from one."""
    return np.array([f"p{row // slices_each}" for row in range(slices)])


@lru_cache(maxsize=8)
def make_profile(
    *,
    slices: int = 4096,
    reference_slices: int = 500,
    false_alarm_rate: float = 1e-3,
    seed: int = 0,
    ratio: float = 1.0,
) -> ReferenceProfile:
    """A profile of all conditions; the model's own mean counts are `ratio` times the reference's."""
    rng = np.random.default_rng([seed, slices])
    return build_profile(
        reference={
            condition: ReferenceSample(
                features=draw_features(condition, reference_slices, rng), patients=patients_of(reference_slices)
            )
            for condition in CONDITIONS
        },
        generated={condition: draw_features(condition, slices, rng, mean_ratio=ratio) for condition in CONDITIONS},
        source="simulated",
        intensity_unit="counts",
        pixel_spacing_mm=SPACING_MM,
        false_alarm_rate=false_alarm_rate,
    )


def profile_of(own: Mapping[str, NDArray[np.float64]]) -> ReferenceProfile:
    """A profile whose every condition has these feature rows, as own output and as reference."""
    rows = {name: own[name] for name in FEATURES}
    sample = ReferenceSample(features=rows, patients=patients_of(len(rows["mean_counts"])))
    return build_profile(
        reference=dict.fromkeys(CONDITIONS, sample),
        generated=dict.fromkeys(CONDITIONS, rows),
        source="simulated",
        intensity_unit="counts",
        pixel_spacing_mm=SPACING_MM,
    )


def draw_slices(
    slices: int, rng: np.random.Generator, *, noise: float = 1.0, extra_blur_mm: float = 0.0, matrix: int = 64
) -> NDArray[np.float32]:
    """Brain-like slices (n, matrix, matrix): an oval with a brighter rim, blurred, with noise of its resolution."""
    axis = (np.arange(matrix) - (matrix - 1) / 2) * SPACING_MM * 64 / matrix
    y, x = np.meshgrid(axis, axis, indexing="ij")
    spacing = SPACING_MM * 64 / matrix
    counts = np.empty((slices, matrix, matrix), dtype=np.float32)
    for row in range(slices):
        radius = np.hypot(x / rng.normal(65, 3), y / rng.normal(80, 3))
        brain = np.where(radius < 1, 0.6 + 0.4 * (radius > 0.7), 0.0) * 50 * np.exp(rng.normal(0, 0.14))
        brain *= 1 + 0.02 * rng.normal() * np.sign(x)
        grain = scipy.ndimage.gaussian_filter(rng.normal(size=brain.shape), 3.5 / spacing)
        grain *= 0.06 * noise * brain / grain.std()
        blurred = scipy.ndimage.gaussian_filter(brain, _BLUR_MM / spacing) + grain
        if extra_blur_mm:
            blurred = scipy.ndimage.gaussian_filter(blurred, extra_blur_mm / 2.355 / spacing)
        counts[row] = np.maximum(blurred, 0)
    return counts
