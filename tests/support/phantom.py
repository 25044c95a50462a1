"""Brains of ellipses whose mean counts, left/right ratio and midline are known: made at 0.5 mm, binned to a matrix."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

Values = NDArray[np.float64]
FINE_MM = 0.5
FINE_MATRIX = 512

# Changes flow in place of (flow, across, along, radius): across is mm to the patient's left of the midline, along mm
# to posterior of the centre, radius 1 at the surface.
Defect = Callable[[Values, Values, Values, Values], Values]


@dataclass(frozen=True, kw_only=True)
class Phantom:
    """A slice and its truth; shift is of the midline from the middle of the field, as `spect.midline` has it."""

    counts: NDArray[np.float32]
    left_right_ratio: float
    mean_counts: float
    angle_deg: float
    shift_mm: float


def brain_coordinates(angle_deg: float, shift_mm: float) -> tuple[Values, Values]:
    axis = (np.arange(FINE_MATRIX) - (FINE_MATRIX - 1) / 2) * FINE_MM
    x, y = np.meshgrid(axis, axis)
    angle = np.deg2rad(angle_deg)
    return x * np.cos(angle) + y * np.sin(angle) - shift_mm, y * np.cos(angle) - x * np.sin(angle)


def image(flow: Values, across: Values, *, angle_deg: float, shift_mm: float, matrix: int, fwhm_mm: float) -> Phantom:
    brain = flow > 0
    left, right = flow[brain & (across > 0)].mean(), flow[brain & (across < 0)].mean()
    blurred = scipy.ndimage.gaussian_filter(flow, fwhm_mm / 2.3548 / FINE_MM) if fwhm_mm else flow
    step = FINE_MATRIX // matrix
    binned = blurred.reshape(matrix, step, matrix, step).mean(axis=(1, 3))
    return Phantom(
        counts=(100 * binned).astype(np.float32),
        left_right_ratio=float(left / right),
        mean_counts=float(100 * flow[brain].mean()),
        angle_deg=angle_deg,
        shift_mm=shift_mm,
    )


def union_toy(*, matrix: int, angle_deg: float = 0.0, shift_mm: float = 0.0, fwhm_mm: float = 0.0) -> Phantom:
    """R uniform 0.8; of L 30 % at 0.4, the rest 0.8; small mirrored spots of 1.0, so that thresholds bite."""
    across, along = brain_coordinates(angle_deg, shift_mm)
    brain = (across / 65) ** 2 + (along / 82) ** 2 < 1
    flow = np.where(brain, 0.8, 0.0)
    left = brain & (across > 0)
    low, high = np.quantile(along[left], (0.35, 0.65))
    flow[left & (along > low) & (along < high)] = 0.4
    for row in (-50, 50):
        flow[(np.abs(across) - 25) ** 2 + (along - row) ** 2 < 8**2] = 1.0
    return image(flow, across, angle_deg=angle_deg, shift_mm=shift_mm, matrix=matrix, fwhm_mm=fwhm_mm)


def brain_phantom(
    *,
    matrix: int,
    angle_deg: float = 0.0,
    shift_mm: float = 0.0,
    fwhm_mm: float = 10.0,
    defect: Defect | None = None,
    noise: float = 0.0,
    seed: int = 0,
) -> Phantom:
    """Cortex of 1.0 around white matter of 0.62, blurred as SPECT blurs.

    `noise` is the SD in cortex, as a share of its counts, of noise with SPECT's grain.
    """
    rng = np.random.default_rng(seed)
    across, along = brain_coordinates(angle_deg, shift_mm)
    half_width, half_length = 66 * (1 + 0.02 * rng.standard_normal()), 84 * (1 + 0.02 * rng.standard_normal())
    radius = np.hypot(across / half_width, along / half_length)
    flow = np.where(radius < 1, np.where(radius > 0.78, 1.0, 0.62), 0.0)
    if defect is not None:
        flow = defect(flow, across, along, radius)
    phantom = image(flow, across, angle_deg=angle_deg, shift_mm=shift_mm, matrix=matrix, fwhm_mm=fwhm_mm)
    if not noise:
        return phantom
    grain = scipy.ndimage.gaussian_filter(rng.standard_normal((matrix, matrix)), 7 / 2.3548 * matrix / 256)
    expected = scipy.ndimage.gaussian_filter(phantom.counts, 1)
    noisy = phantom.counts + noise * grain / grain.std() * np.sqrt(100 * expected + 100)
    return Phantom(**{**phantom.__dict__, "counts": np.maximum(noisy, 0).astype(np.float32)})


def one_sided(depth: float) -> Defect:
    """Scale the middle cerebral artery's territory of the patient's left to `depth`."""

    def apply(flow: Values, across: Values, along: Values, radius: Values) -> Values:
        direction = np.rad2deg(np.arctan2(along, across))
        struck = (across > 3) & (direction > -60) & (direction < 50) & (radius > 0.35)
        return np.where(struck, depth * flow, flow)

    return apply


def two_sided(depth: float) -> Defect:
    """Scale a deep region of both hemispheres to `depth`."""

    def apply(flow: Values, across: Values, along: Values, radius: Values) -> Values:
        struck = ((np.abs(across) - 35) / 20) ** 2 + (along / 30) ** 2 < 1
        return np.where(struck, depth * flow, flow)

    return apply
