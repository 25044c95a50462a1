"""Find the brain's outline in a slice, as a filled mask and as the grey values of its edge."""

import math
from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

Slice = NDArray[np.float32]
Mask = NDArray[np.bool_]
Vector = NDArray[np.float64]

SIGMA_PER_FWHM = 1 / math.sqrt(8 * math.log(2))

# SCIENCE.md section 3; a blur is given by its full width at half maximum, as the field does.
BLUR_FWHM_MM = 2.0
OUTLINE_SHARE = 0.15
REFERENCE_PERCENTILE = 99.5

# At the cerebellum the threshold may cut off a temporal pole, a quarter of the largest component; noise is far smaller.
PART_SHARE = 0.1

# No brain section that is asked for here is smaller; noise alone makes specks of less.
MINIMUM_AREA_MM2 = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """The filled outline of one slice and what it was found from."""

    mask: Mask  # (rows, columns), the largest component
    parts: Mask  # (rows, columns), with what the threshold cut off from it: a temporal pole beside the cerebellum
    blurred: Slice  # (rows, columns), counts
    reference_counts: float  # the blurred slice's 99.5th percentile
    pixel_spacing_mm: float

    @property
    def area_mm2(self) -> float:
        """Area of the filled outline."""
        return float(np.count_nonzero(self.mask)) * self.pixel_spacing_mm**2


def trace_outline(counts: Slice, pixel_spacing_mm: float) -> Outline | None:
    """Trace the outline of counts (rows, columns); None where there is none.

    There is none in an empty slice, in one that is bright up to all of its border, and in scattered noise.
    """
    blurred = scipy.ndimage.gaussian_filter(
        counts.astype(np.float32, copy=False),
        BLUR_FWHM_MM * SIGMA_PER_FWHM / pixel_spacing_mm,
        mode="constant",
        truncate=3,
    )
    reference = upper_percentile(blurred, REFERENCE_PERCENTILE)
    if not reference > 0:
        return None
    largest, parts = _large_components(blurred > OUTLINE_SHARE * reference)
    mask = _fill_holes(largest)
    outline = Outline(
        mask=mask,
        parts=mask if parts is largest else _fill_holes(parts),
        blurred=blurred,
        reference_counts=reference,
        pixel_spacing_mm=pixel_spacing_mm,
    )
    if outline.area_mm2 < MINIMUM_AREA_MM2 or mask.all():
        return None
    return outline


def upper_percentile(values: Slice, percentile: float) -> float:
    """Compute a percentile with linear interpolation, as `numpy.percentile` does, several times faster."""
    flat = values.ravel()
    position = (flat.size - 1) * percentile / 100
    below = int(position)
    above = min(below + 1, flat.size - 1)
    parted = np.partition(flat, (below, above))
    low, high = float(parted[below]), float(parted[above])
    return low + (high - low) * (position - below)


def _large_components(mask: Mask) -> tuple[Mask, Mask]:
    """Return the largest component, and all that have at least a tenth of its area; one object where they agree."""
    labels, found = scipy.ndimage.label(mask)
    if found <= 1:
        return mask, mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    largest: Mask = labels == sizes.argmax()
    large = sizes >= PART_SHARE * sizes.max()
    return largest, (large[labels] if np.count_nonzero(large) > 1 else largest)


def _fill_holes(mask: Mask) -> Mask:
    """Fill what the border cannot reach; labels the background once, where `binary_fill_holes` dilates many times."""
    background = np.ones((mask.shape[0] + 2, mask.shape[1] + 2), dtype=np.bool_)
    background[1:-1, 1:-1] = ~mask
    labels, _ = scipy.ndimage.label(background)
    filled: Mask = labels[1:-1, 1:-1] != labels[0, 0]
    return filled
