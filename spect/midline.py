"""Find the midline of a slice: the line about which the soft outline correlates best with its own mirror image.

Positions are in mm from the centre of the field: x grows to image right (the patient's left), y to the bottom
(posterior). The midline is the set of points with x cos(angle) + y sin(angle) = shift.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.ndimage
from numpy.typing import NDArray

from spect.errors import QuantificationError
from spect.outline import OUTLINE_SHARE, Mask, Outline, Slice, Vector, trace_outline

# SCIENCE.md section 3: the search's range, about the outline's centroid.
MAXIMUM_ANGLE_DEG = 8.0
MAXIMUM_SHIFT_MM = 12.0

# The edge is resolved on pixels of about this size: SPECT's own blur (8 to 12 mm) needs no finer.
WORKING_SPACING_MM = 4.0
# The outline falls from 1 to 0 over this width: two working pixels, so that interpolation between them is exact enough.
EDGE_WIDTH_MM = 8.0

COARSE_SPACING_MM = 8.0
COARSE_ANGLES_DEG = np.arange(-MAXIMUM_ANGLE_DEG, MAXIMUM_ANGLE_DEG + 1, 2.0)

MAXIMUM_REFINEMENTS = 12
CONVERGED = 1e-3  # mm and degrees: a thousandth of what moves LR by 0.025


@dataclass(frozen=True, slots=True, kw_only=True)
class Midline:
    """Where the hemispheres meet; a positive angle tilts the anterior end towards image right."""

    angle_deg: float
    shift_mm: float

    @property
    def normal(self) -> tuple[float, float]:
        """Unit vector (x, y) across the midline, towards the patient's left."""
        angle = np.deg2rad(self.angle_deg)
        return float(np.cos(angle)), float(np.sin(angle))

    def distance_mm(self, x_mm: Vector, y_mm: Vector) -> Vector:
        """Signed distance of points from the midline, positive on the patient's left."""
        across_x, across_y = self.normal
        return x_mm * across_x + y_mm * across_y - self.shift_mm

    def mirror(self, x_mm: Vector, y_mm: Vector) -> tuple[Vector, Vector]:
        """Points on the other side of the midline."""
        across_x, across_y = self.normal
        step = -2 * self.distance_mm(x_mm, y_mm)
        return x_mm + step * across_x, y_mm + step * across_y


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftOutline:
    """The outline with a grey edge, on working pixels, cropped; positions are relative to its centroid."""

    values: Vector  # (rows, columns) in [0, 1]
    spacing_mm: float
    first_x_mm: float  # centre of column 0
    first_y_mm: float  # centre of row 0
    centroid_x_mm: float  # in the field
    centroid_y_mm: float

    def indices(self, x_mm: Vector, y_mm: Vector) -> Vector:
        """Fractional indices (2, ...) of points, as `map_coordinates` takes them."""
        return np.stack([(y_mm - self.first_y_mm) / self.spacing_mm, (x_mm - self.first_x_mm) / self.spacing_mm])


def pixel_positions_mm(shape: tuple[int, ...], pixel_spacing_mm: float) -> tuple[Vector, Vector]:
    """Positions of pixel centres in the field: x (1, columns) and y (rows, 1)."""
    rows, columns = shape[-2:]
    x_mm: Vector = (np.arange(columns, dtype=np.float64) - (columns - 1) / 2) * pixel_spacing_mm
    y_mm: Vector = (np.arange(rows, dtype=np.float64) - (rows - 1) / 2) * pixel_spacing_mm
    return x_mm[None, :], y_mm[:, None]


def find_outline(counts: Slice, pixel_spacing_mm: float) -> Mask:
    """Find the filled outline of counts (rows, columns); raise `QuantificationError` where there is none."""
    return _traced(counts, pixel_spacing_mm).mask


def find_midline(counts: Slice, pixel_spacing_mm: float) -> Midline:
    """Find the midline of counts (rows, columns); raise `QuantificationError` where there is no outline."""
    return locate_midline(_traced(counts, pixel_spacing_mm))


def _traced(counts: Slice, pixel_spacing_mm: float) -> Outline:
    outline = trace_outline(counts, pixel_spacing_mm)
    if outline is None:
        raise QuantificationError("no brain outline in this slice; it is empty, noise or bright up to its border")
    return outline


def locate_midline(outline: Outline) -> Midline:
    """Locate the midline of an outline: a coarse search over the whole range, then least squares to 0.001 mm."""
    soft = soften(outline)
    angle, shift = _refine(soft, *_search(soft))
    midline = Midline(angle_deg=float(np.rad2deg(angle)), shift_mm=0.0)
    across_x, across_y = midline.normal
    return Midline(
        angle_deg=midline.angle_deg,
        shift_mm=shift + soft.centroid_x_mm * across_x + soft.centroid_y_mm * across_y,
    )


def soften(outline: Outline) -> SoftOutline:
    """Give the outline a grey edge: (counts - threshold) / slope is the distance to the edge, in parts of a pixel."""
    spacing = outline.pixel_spacing_mm
    rows, columns = (_margin(np.any(outline.mask, axis=axis), round(2 * EDGE_WIDTH_MM / spacing)) for axis in (1, 0))
    blurred, mask = outline.blurred[rows, columns], outline.mask[rows, columns]
    slope_y, slope_x = np.gradient(blurred, spacing)
    threshold = OUTLINE_SHARE * outline.reference_counts
    distance = (blurred - threshold) / (np.hypot(slope_x, slope_y) + 1e-6 * outline.reference_counts)
    edge = np.clip(0.5 + distance / EDGE_WIDTH_MM, 0, 1)
    inside = scipy.ndimage.distance_transform_edt(mask) * spacing > EDGE_WIDTH_MM
    near = scipy.ndimage.distance_transform_edt(~mask) * spacing < EDGE_WIDTH_MM
    edge = np.where(inside, 1.0, np.where(near, edge, 0.0))
    factor = max(1, round(WORKING_SPACING_MM / spacing))
    values = _block_mean(edge, factor)
    all_x, all_y = pixel_positions_mm(outline.mask.shape, spacing)
    half_block = (factor - 1) / 2 * spacing
    x_mm = all_x[0, columns.start] + half_block + np.arange(values.shape[1]) * factor * spacing
    y_mm = all_y[rows.start, 0] + half_block + np.arange(values.shape[0]) * factor * spacing
    total = values.sum()
    centroid_x, centroid_y = float(values.sum(0) @ x_mm / total), float(values.sum(1) @ y_mm / total)
    return SoftOutline(
        values=values,
        spacing_mm=factor * spacing,
        first_x_mm=float(x_mm[0]) - centroid_x,
        first_y_mm=float(y_mm[0]) - centroid_y,
        centroid_x_mm=centroid_x,
        centroid_y_mm=centroid_y,
    )


def _margin(occupied: NDArray[np.bool_], margin: int) -> slice:
    indices = np.flatnonzero(occupied)
    return slice(max(0, int(indices[0]) - margin), min(len(occupied), int(indices[-1]) + margin + 1))


def _block_mean(values: Vector, factor: int) -> Vector:
    if factor == 1:
        return values
    rows, columns = (-(-side // factor) * factor for side in values.shape)
    padded = np.zeros((rows, columns))
    padded[: values.shape[0], : values.shape[1]] = values
    blocks: Vector = padded.reshape(rows // factor, factor, columns // factor, factor).mean(axis=(1, 3))
    return blocks


def _search(soft: SoftOutline) -> tuple[float, float]:
    """Return the best angle (radians) and shift (mm) on a grid of 2 degrees and 4 mm."""
    rows, columns = soft.values.shape
    reach_x, reach_y = columns * soft.spacing_mm / 2, rows * soft.spacing_mm / 2
    x = np.arange(-reach_x, reach_x, COARSE_SPACING_MM)
    y = np.arange(-reach_y, reach_y, COARSE_SPACING_MM)
    angles = np.deg2rad(COARSE_ANGLES_DEG)[:, None, None]
    across, along = x[None, None, :], y[None, :, None]
    points = soft.indices(
        across * np.cos(angles) - along * np.sin(angles), across * np.sin(angles) + along * np.cos(angles)
    )
    turned = scipy.ndimage.map_coordinates(soft.values, points, order=1, mode="constant")
    # A row convolved with itself is its correlation with its mirror image, at every half-step of the shift.
    size = scipy.fft.next_fast_len(2 * len(x), real=True)
    correlation = scipy.fft.irfft((scipy.fft.rfft(turned, size) ** 2).sum(axis=1), size)
    shifts = x[0] + np.arange(2 * len(x) - 1) * COARSE_SPACING_MM / 2
    allowed = np.flatnonzero(np.abs(shifts) <= MAXIMUM_SHIFT_MM)
    best_angle, best_shift = np.unravel_index(correlation[:, allowed].argmax(), (len(angles), len(allowed)))
    return float(angles[best_angle, 0, 0]), float(shifts[allowed[best_shift]])


def _refine(soft: SoftOutline, angle: float, shift: float) -> tuple[float, float]:
    """Minimise the squared difference of the edge and its mirror image by Gauss-Newton steps."""
    edge_rows, edge_columns = np.nonzero((soft.values > 0) & (soft.values < 1))
    x = soft.first_x_mm + edge_columns * soft.spacing_mm
    y = soft.first_y_mm + edge_rows * soft.spacing_mm
    here = soft.values[edge_rows, edge_columns]
    spline = scipy.ndimage.spline_filter(soft.values, order=3)
    slope_y, slope_x = np.gradient(soft.values, soft.spacing_mm)
    limit = np.deg2rad(MAXIMUM_ANGLE_DEG)
    for _ in range(MAXIMUM_REFINEMENTS):
        cosine, sine = np.cos(angle), np.sin(angle)
        across, along = x * cosine + y * sine, y * cosine - x * sine
        step = 2 * (shift - across)
        points = soft.indices(x + step * cosine, y + step * sine)
        there = scipy.ndimage.map_coordinates(spline, points, order=3, prefilter=False)
        there_x = scipy.ndimage.map_coordinates(slope_x, points, order=1)
        there_y = scipy.ndimage.map_coordinates(slope_y, points, order=1)
        slope_across, slope_along = there_x * cosine + there_y * sine, there_y * cosine - there_x * sine
        jacobian = np.stack([step * slope_along - 2 * along * slope_across, 2 * slope_across])
        change = np.linalg.solve(jacobian @ jacobian.T + 1e-9 * np.eye(2), jacobian @ (here - there))
        moved = (
            float(np.clip(angle + change[0], -limit, limit)),
            float(np.clip(shift + change[1], -MAXIMUM_SHIFT_MM, MAXIMUM_SHIFT_MM)),
        )
        converged = abs(moved[0] - angle) < np.deg2rad(CONVERGED) and abs(moved[1] - shift) < CONVERGED
        angle, shift = moved
        if converged:
            break
    return angle, shift
