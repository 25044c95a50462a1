"""Fit slices of any matrix and pixel spacing into the one field of view that everything here uses."""

import numpy as np
from numpy.typing import NDArray

from spect.errors import SlicesError
from spect.slices import FIELD_MM, Counts, resample_to_matrix

# A field this close to 256 mm is 256 mm: headers round their spacings.
FIELD_TOLERANCE_MM = 1.0
SPACING_RANGE_MM = (0.2, 20.0)  # beyond it a header is wrong, not a camera
MAX_SIDE = 4096  # pixels: sixteen times the finest camera matrix
_BLOCK_PIXELS = 2**22  # resampled at once: some 100 MB of float64 at most


def check_pixel_spacing(pixel_spacing_mm: float) -> float:
    """Return the spacing; raise `SlicesError` where no camera has such pixels."""
    low, high = SPACING_RANGE_MM
    if not low <= pixel_spacing_mm <= high:
        raise SlicesError(f"pixel spacing must be {low} to {high} mm, got {pixel_spacing_mm:g}; mend the file's header")
    return pixel_spacing_mm


def fit_to_field(counts: Counts, *, pixel_spacing_mm: float, matrix: int) -> Counts:
    """Resample slices (n, rows, columns) to (n, matrix, matrix) over 256 mm, centre on centre.

    What lies outside the field is cut, what is missing is zero. Values are kept (counts per pixel as a density, not
    a sum): a uniform slice stays uniform.
    """
    check_pixel_spacing(pixel_spacing_mm)
    if max(counts.shape[-2:]) > MAX_SIDE:
        raise SlicesError(f"slices must be at most {MAX_SIDE} pixels wide, got {counts.shape[-2]} x {counts.shape[-1]}")
    fitted: Counts = np.empty((len(counts), matrix, matrix), dtype=np.float32)
    step = max(1, _BLOCK_PIXELS // max(counts[0].size, matrix**2))
    for at in range(0, len(counts), step):
        fitted[at : at + step] = _fit_block(counts[at : at + step], pixel_spacing_mm, matrix)
    return fitted


def _fit_block(counts: Counts, pixel_spacing_mm: float, matrix: int) -> Counts:
    rows, columns = counts.shape[-2:]
    if rows == columns and abs(rows * pixel_spacing_mm - FIELD_MM) <= FIELD_TOLERANCE_MM:
        return resample_to_matrix(counts, matrix)
    down = _interpolation(rows, matrix, pixel_spacing_mm)
    across = _interpolation(columns, matrix, pixel_spacing_mm)
    fitted: Counts = np.einsum("ir,nrc,jc->nij", down, counts, across, optimize=True).astype(np.float32)
    return fitted


def _interpolation(pixels: int, matrix: int, pixel_spacing_mm: float) -> NDArray[np.float64]:
    """Weights (matrix, pixels): linear where pixels grow, a triangle as wide as the new pixel where they shrink."""
    new_spacing_mm = FIELD_MM / matrix
    places = (np.arange(matrix) - (matrix - 1) / 2) * new_spacing_mm
    sources = (np.arange(pixels) - (pixels - 1) / 2) * pixel_spacing_mm
    width = max(new_spacing_mm, pixel_spacing_mm)
    weights: NDArray[np.float64] = np.maximum(0, 1 - np.abs(places[:, None] - sources[None]) / width)
    inside = np.abs(places) <= pixels * pixel_spacing_mm / 2
    total = weights.sum(axis=1, keepdims=True)
    np.divide(weights, total, out=weights, where=total > 0)
    weights[~inside] = 0
    return weights
