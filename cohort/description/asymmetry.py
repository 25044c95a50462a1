"""Mean slice and left-right asymmetry map of a condition: slices brought to their own midline, averaged by patient."""

from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from cohort.description.measuring import MeasuredCohort, Values
from spect.conditions import Condition, Pattern
from spect.edge import pixel_positions_mm
from spect.midline import Midline
from spect.outline import trace_outline

MAPPED_SLICES = 500  # of a condition: the mean of more looks the same, and each takes a millisecond
# A pair of pixels is shown where at least this share of the patients has brain at it.
SHOWN_SHARE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionMaps:
    """Averages over the patients of one condition, each slice recentred on its own midline."""

    condition: Condition
    slices: int  # that were averaged
    mean_counts: Values  # (rows, columns)
    # Of each pixel and its mirror image, (here - there) / (here + there) in percent; NaN outside the brain. Where
    # unilateral every slice is turned so that its lower hemisphere is on image right.
    asymmetry_percent: Values


def map_cohort(measured: MeasuredCohort) -> dict[Condition, ConditionMaps]:
    """Map every condition that has a measurable slice."""
    found = {condition: map_condition(measured, condition) for condition in measured.cohort.conditions()}
    return {condition: maps for condition, maps in found.items() if maps is not None}


def map_condition(measured: MeasuredCohort, condition: Condition) -> ConditionMaps | None:
    """Average the measurable slices of a condition, at most 500 evenly spaced ones; None where there is none."""
    rows = measured.rows_of(condition)
    if not len(rows):
        return None
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), MAPPED_SLICES)).astype(int)]
    spacing = measured.cohort.description.pixel_spacing_mm
    shape = measured.cohort.counts.shape[1:]
    mean, asymmetry, brain = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for row, weight in zip(rows.tolist(), _weigh_by_patient(measured.cohort.patient[rows]).tolist(), strict=True):
        angle, shift = measured.midline[row]
        turned = recentre(measured.cohort.counts[row], spacing, Midline(angle_deg=angle, shift_mm=shift))
        mean += weight * turned
        if condition.pattern is Pattern.UNILATERAL and measured.log_left_right_ratio[row] > 0:
            turned = turned[:, ::-1]
        inside = _find_brain(turned, spacing)
        asymmetry += weight * np.where(inside, compute_asymmetry(turned), 0)
        brain += weight * inside
    shown = np.where(brain >= SHOWN_SHARE, asymmetry / np.maximum(brain, SHOWN_SHARE), np.nan)
    return ConditionMaps(condition=condition, slices=len(rows), mean_counts=mean, asymmetry_percent=100 * shown)


def recentre(counts: NDArray[np.float32], pixel_spacing_mm: float, midline: Midline) -> Values:
    """Turn and shift counts (rows, columns) so that the midline becomes the middle column; linear interpolation."""
    x_mm, y_mm = pixel_positions_mm(counts.shape, pixel_spacing_mm)
    across_x, across_y = midline.normal
    from_x = (x_mm + midline.shift_mm) * across_x - y_mm * across_y
    from_y = (x_mm + midline.shift_mm) * across_y + y_mm * across_x
    places = [(from_y - y_mm[0, 0]) / pixel_spacing_mm, (from_x - x_mm[0, 0]) / pixel_spacing_mm]
    turned: Values = scipy.ndimage.map_coordinates(counts.astype(np.float64), places, order=1, mode="constant")
    return turned


def compute_asymmetry(turned: Values) -> Values:
    """Compute (here - there) / (here + there) of every pixel and its mirror image; 0 without counts."""
    mirrored = turned[:, ::-1]
    total = turned + mirrored
    return np.divide(turned - mirrored, total, out=np.zeros_like(total), where=total > 0)


def _find_brain(turned: Values, pixel_spacing_mm: float) -> NDArray[np.bool_]:
    """Find the outline and its mirror image: a defect that leaves the outline on one side is kept by the other."""
    outline = trace_outline(turned.astype(np.float32), pixel_spacing_mm)
    if outline is None:
        return np.zeros(turned.shape, dtype=np.bool_)
    both: NDArray[np.bool_] = outline.parts | outline.parts[:, ::-1]
    return both


def _weigh_by_patient(patient: NDArray[np.str_]) -> Values:
    """Give every patient the same weight, shared among that patient's slices; all weights sum to 1."""
    _, member, sizes = np.unique(patient, return_inverse=True, return_counts=True)
    weights: Values = 1 / (sizes[member] * len(sizes))
    return weights
