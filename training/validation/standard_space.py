"""Bring slices into one space, so that a place means the same in all: the midline upright, the outline to one size.

Places are in units of the outline's half-axes (twice the standard deviation of its pixels), and counts are shares of
the slice's own upper level: what is left is the regional pattern, neither flow nor size nor pose.
"""

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from spect.edge import pixel_positions_mm
from spect.outline import Slice
from spect.quantify import Regions

ROWS, COLUMNS = 48, 40  # some 4 mm a pixel: a third of what SPECT resolves
REACH = 1.15  # half-axes from the middle to the border of the grid
ACROSS = np.linspace(-REACH, REACH, COLUMNS)[None, :]  # positive to the patient's left
ALONG = np.linspace(-REACH, REACH, ROWS)[:, None]  # positive to posterior
# The upper level of a slice: what disease spares, but not the noisy maximum.
SPARED_PERCENTILE = 90

StandardSlice = NDArray[np.float32]


def to_standard_space(counts: Slice, regions: Regions) -> StandardSlice:
    """Resample counts (rows, columns) to (48, 40), as shares of the slice's 90th percentile inside the outline."""
    spacing_mm = regions.outline.pixel_spacing_mm
    middle, half_across, half_along = _measure_outline(regions, spacing_mm)
    across_x, across_y = regions.midline.normal
    across, along = ACROSS * half_across + regions.midline.shift_mm, ALONG * half_along + middle
    first_x, first_y = (float(axis.flat[0]) for axis in pixel_positions_mm(counts.shape, spacing_mm))
    places = [
        (across * across_y + along * across_x - first_y) / spacing_mm,
        (across * across_x - along * across_y - first_x) / spacing_mm,
    ]
    resampled = scipy.ndimage.map_coordinates(counts, places, order=1, mode="constant", prefilter=False)
    spared = np.percentile(counts[regions.outline.mask], SPARED_PERCENTILE)
    relative: StandardSlice = (resampled / max(float(spared), np.finfo(np.float32).tiny)).astype(np.float32)
    return relative


def _measure_outline(regions: Regions, spacing_mm: float) -> tuple[float, float, float]:
    """Return the middle along the midline, and the half-axes across and along it, in mm."""
    x_mm, y_mm = pixel_positions_mm(regions.outline.parts.shape, spacing_mm)
    across_x, across_y = regions.midline.normal
    across = regions.midline.distance_mm(x_mm, y_mm)[regions.outline.parts]
    along = (y_mm * across_x - x_mm * across_y)[regions.outline.parts]
    return measure_half_axes(across, along)


def measure_half_axes(across: NDArray[np.float64], along: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the middle along, and the half-axes across and along, of the places (n,) of a section's pixels.

    Of an ellipse they are its own; moments are steadier than extremes, which one noisy pixel moves.
    """
    return float(along.mean()), 2 * float(np.sqrt((across**2).mean())), 2 * float(along.std())
