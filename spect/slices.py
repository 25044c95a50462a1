"""Stacks of slices as everything here passes them: counts, labels and pixel spacing, checked once.

Counts are float32 (n, rows, columns), >= 0; row 0 is anterior and the patient's left lies on image right.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from spect.errors import SlicesError

Counts = NDArray[np.float32]
DEFAULT_UNIT = "counts per pixel"
# Counts that are noise or ringing rather than head, as a share of the brightest pixel: the outline begins at 15 %.
_FAINT_SHARE = 0.04
_RESAMPLED_AT_ONCE = 8  # slices: resampling holds several copies of them in double precision
FIELD_MM = 256.0  # side of the square field of view of every simulated and generated slice


def check_counts(counts: object) -> Counts:
    """Return a stack of slices as float32 (n, rows, columns); raise `SlicesError` saying what is wrong with it.

    A single slice (rows, columns) becomes a stack of one. Complex, textual, non-finite and negative arrays are refused.
    """
    try:
        array = np.asarray(counts)
    except ValueError:
        raise SlicesError("counts must have shape (n, rows, columns), got rows of different lengths") from None
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or 0 in array.shape:
        raise SlicesError(f"counts must have shape (n, rows, columns), got {array.shape}")
    if array.dtype.kind not in "buif":
        raise SlicesError(f"counts must be real numbers, got dtype {array.dtype}")
    with np.errstate(over="ignore"):  # beyond float32 becomes infinity, which is refused next
        array = array.astype(np.float32, copy=False)
    if not np.isfinite(array).all():
        raise SlicesError("counts must be finite, got NaN or infinity; remove or mend those slices")
    if array.min() < 0:
        raise SlicesError(f"counts must not be negative, got {array.min():g}; rescale or clip them first")
    return array


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticBatch:
    """Synthetic slices with what is needed to make each of them again."""

    counts: Counts  # (n, rows, columns)
    level: NDArray[np.str_]  # (n,)
    pattern: NDArray[np.str_]  # (n,)
    seed: NDArray[np.int64]  # (n,)
    index: NDArray[np.int64]  # (n,)
    pixel_spacing_mm: float
    model_version: str
    model_sha256: str
    intensity_unit: str = DEFAULT_UNIT
    # (n,) each, as mean_counts: of the slices as generated, where a quantity was asked for
    measured: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        arrays = (self.counts, self.level, self.pattern, self.seed, self.index, *self.measured.values())
        sizes = {len(array) for array in arrays}
        if len(sizes) != 1:
            raise SlicesError(f"every array of a batch needs one entry a slice, got lengths {sorted(sizes)}")

    def __len__(self) -> int:
        return len(self.counts)

    @classmethod
    def concatenate(cls, batches: "list[SyntheticBatch]") -> "SyntheticBatch":
        """Join batches of one model, in order."""
        first = batches[0]
        joined: dict[str, Any] = {
            name: np.concatenate([getattr(batch, name) for batch in batches])
            for name in ("counts", "level", "pattern", "seed", "index")
        }
        measured = {name: np.concatenate([batch.measured[name] for batch in batches]) for name in first.measured}
        return replace(first, **joined, measured=measured)


def mirror_left_right(counts: Counts) -> Counts:
    """Swap the hemispheres: reverse the last axis."""
    return counts[..., ::-1]


def resample_to_matrix(counts: Counts, matrix: int) -> Counts:
    """Resample square slices (n, m, m) to (n, matrix, matrix) over the same field, band-limited, mean kept.

    Spectral cropping or padding of the cosine transform: no ringing across the border, because the cosine basis
    continues a slice by its own mirror image. Ringing around the head that falls below zero becomes zero; where pixels
    grow finer the same sum is taken from what is faint, so that a slice keeps its mean and the head its counts.
    """
    rows = counts.shape[-1]
    if counts.shape[-2] != rows:
        raise SlicesError(f"only square slices can be resampled, got {counts.shape[-2]} x {rows}")
    if matrix < 1:
        raise SlicesError(f"a matrix needs at least one pixel, got {matrix}")
    if matrix == rows:
        return counts
    resampled = np.empty((len(counts), matrix, matrix), dtype=np.float32)
    for first in range(0, len(counts), _RESAMPLED_AT_ONCE):
        some = slice(first, first + _RESAMPLED_AT_ONCE)
        resampled[some] = _resample(counts[some], matrix)
    return resampled


def _resample(counts: Counts, matrix: int) -> Counts:
    rows = counts.shape[-1]
    spectrum = scipy.fft.dctn(counts, axes=(-2, -1), norm="forward")
    kept = min(rows, matrix)
    resized = np.zeros((*counts.shape[:-2], matrix, matrix), dtype=spectrum.dtype)
    resized[..., :kept, :kept] = spectrum[..., :kept, :kept]
    resampled = scipy.fft.idctn(resized, axes=(-2, -1), norm="forward")
    if matrix < rows:  # adds 0.3 % at most, and it is how the slices were made from which released models learnt
        reduced: Counts = np.maximum(resampled, 0).astype(np.float32)
        return reduced
    return _without_negative(resampled)


def _without_negative(counts: NDArray[np.floating]) -> Counts:
    """Return slices (n, rows, columns) >= 0 of the same means: what clipping adds is taken from the faint pixels."""
    clipped = np.maximum(counts, 0, dtype=np.float64)
    added = clipped.sum(axis=(-2, -1), keepdims=True) - counts.sum(axis=(-2, -1), keepdims=True, dtype=np.float64)
    faint = _FAINT_SHARE * clipped.max(axis=(-2, -1), keepdims=True)
    ringing = clipped * np.exp(-clipped / np.where(faint > 0, faint, 1))
    total = ringing.sum(axis=(-2, -1), keepdims=True)
    share = np.divide(added, total, out=np.zeros_like(added), where=total > 0)
    kept: Counts = (clipped - np.clip(share, 0, 1) * ringing).astype(np.float32)
    return kept
