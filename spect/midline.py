"""Find the midline of a slice: the line about which the soft outline correlates best with its own mirror image.

Positions are in mm from the centre of the field: x grows to image right (the patient's left), y to the bottom
(posterior). The midline is the set of points with x cos(angle) + y sin(angle) = shift.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.ndimage

from spect.edge import SoftOutline, soften
from spect.errors import QuantificationError
from spect.outline import Mask, Outline, Slice, Vector, trace_outline

# SCIENCE.md section 3: the search's range, about the outline's centroid.
MAXIMUM_ANGLE_DEG = 8.0
MAXIMUM_SHIFT_MM = 12.0

# The search's grid: half of either step is well within the 8 mm grey edge, from where Newton steps converge.
COARSE_SPACING_MM = 8.0
COARSE_ANGLES = np.deg2rad([-6.4, -3.2, 0.0, 3.2, 6.4])[:, None, None]

MAXIMUM_REFINEMENTS = 12
# Squared difference that an angle of one radian must gain: a circle has no angle, and is taken to stand upright. A
# brain's outline gains some 5,000; this turns it by less than 0.1 degree.
UPRIGHT = 25.0
CONVERGED = 2e-3  # mm and degrees; LR moves some 0.025 per mm


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


def _search(soft: SoftOutline) -> tuple[float, float]:
    """Return the best angle (radians) and shift (mm) on a grid of 3.2 degrees and 4 mm."""
    rows, columns = (math.ceil(side * soft.spacing_mm / COARSE_SPACING_MM) for side in soft.values.shape)
    across = ((np.arange(columns) - (columns - 1) / 2) * COARSE_SPACING_MM)[None, None, :]
    along = ((np.arange(rows) - (rows - 1) / 2) * COARSE_SPACING_MM)[None, :, None]
    cosine, sine = np.cos(COARSE_ANGLES), np.sin(COARSE_ANGLES)
    points = soft.indices(across * cosine - along * sine, across * sine + along * cosine)
    turned = scipy.ndimage.map_coordinates(soft.values, points, order=1, mode="constant")
    # A row convolved with itself is its correlation with its mirror image, at every half-step of the shift.
    size = scipy.fft.next_fast_len(2 * columns, real=True)
    correlation = scipy.fft.irfft((scipy.fft.rfft(turned, size) ** 2).sum(axis=1), size)
    shifts = across[0, 0, 0] + np.arange(2 * columns - 1) * COARSE_SPACING_MM / 2
    allowed = np.flatnonzero(np.abs(shifts) <= MAXIMUM_SHIFT_MM)
    # Twice the correlation, in working pixels, is what the squared difference falls by.
    gain = 2 * correlation[:, allowed] * (COARSE_SPACING_MM / soft.spacing_mm) ** 2
    best_angle, best_shift = divmod(int((gain - UPRIGHT * COARSE_ANGLES[:, 0] ** 2).argmax()), len(allowed))
    return float(COARSE_ANGLES[best_angle, 0, 0]), float(shifts[allowed[best_shift]])


def _refine(soft: SoftOutline, angle: float, shift: float) -> tuple[float, float]:
    """Minimise the squared difference of the edge and its mirror image by Gauss-Newton steps.

    Where the correlation is highest this difference is least; the difference has a minimum that Newton steps find.
    The slope in the mirror is taken as the mirror image of the slope here, which it is at the minimum.
    """
    edge = _Edge.of(soft)
    limit = math.radians(MAXIMUM_ANGLE_DEG)
    for _ in range(MAXIMUM_REFINEMENTS):
        turn, slide = edge.step(angle, shift)
        moved = min(max(angle + turn, -limit), limit)
        slid = min(max(shift + slide, -MAXIMUM_SHIFT_MM), MAXIMUM_SHIFT_MM)
        converged = abs(moved - angle) < math.radians(CONVERGED) and abs(slid - shift) < CONVERGED
        angle, shift = moved, slid
        if converged:
            break
    return angle, shift


@dataclass(frozen=True, slots=True, kw_only=True)
class _Edge:
    """The grey pixels of a soft outline: place, value and slope of each, (m,)."""

    soft: SoftOutline
    spline: Vector  # (rows, columns), of the whole soft outline
    x: Vector
    y: Vector
    values: Vector
    slope_x: Vector
    slope_y: Vector

    @classmethod
    def of(cls, soft: SoftOutline) -> "_Edge":
        values = soft.values
        rows, columns = np.nonzero((values > 0) & (values < 1))
        return cls(
            soft=soft,
            spline=scipy.ndimage.spline_filter(values, order=3),
            x=soft.first_x_mm + columns.astype(np.float64) * soft.spacing_mm,
            y=soft.first_y_mm + rows.astype(np.float64) * soft.spacing_mm,
            values=values[rows, columns],
            slope_x=(values[rows, columns + 1] - values[rows, columns - 1]) / (2 * soft.spacing_mm),
            slope_y=(values[rows + 1, columns] - values[rows - 1, columns]) / (2 * soft.spacing_mm),
        )

    def step(self, angle: float, shift: float) -> tuple[float, float]:
        """Return the Gauss-Newton step of angle (radians) and shift (mm)."""
        cosine, sine = math.cos(angle), math.sin(angle)
        across, along = self.x * cosine + self.y * sine, self.y * cosine - self.x * sine
        slope_across = self.slope_x * cosine + self.slope_y * sine
        slope_along = self.slope_y * cosine - self.slope_x * sine
        away = 2 * (shift - across)
        points = self.soft.indices(self.x + away * cosine, self.y + away * sine)
        difference = self.values - scipy.ndimage.map_coordinates(self.spline, points, order=3, prefilter=False)
        by_angle, by_shift = away * slope_along + 2 * along * slope_across, -2 * slope_across
        return _solve(by_angle, by_shift, difference, angle)


def _solve(by_angle: Vector, by_shift: Vector, difference: Vector, angle: float) -> tuple[float, float]:
    """Solve difference = by_angle turn + by_shift slide in least squares, held upright; 0, 0 without slope."""
    a, b, c = float(by_angle @ by_angle) + UPRIGHT, float(by_angle @ by_shift), float(by_shift @ by_shift)
    p, q = float(by_angle @ difference) - UPRIGHT * angle, float(by_shift @ difference)
    determinant = a * c - b * b
    if not determinant > 0:
        return 0.0, 0.0
    return (c * p - b * q) / determinant, (a * q - b * p) / determinant
