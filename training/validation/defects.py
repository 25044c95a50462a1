"""Defects that nobody conditioned on: where they lie, how far they reach and how deep they are.

As in a z-score map against normal scans: in `standard_space` a pixel is hypoperfused where it lies more than two
standard deviations below the mean of the reference's normal slices of its level (Minoshima 1995; Matsuda 2007 takes
extent and severity from such maps).
"""

from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from registry.bundle.panel import Measurement
from spect.conditions import CONDITIONS, Condition, Level, Pattern
from spect.equivalence import Margin
from training.validation.cells import SMALLEST_CONDITION, Cell, condition_cells
from training.validation.comparison import Comparison
from training.validation.contrast import contrast_differences
from training.validation.sample import Sample
from training.validation.standard_space import COLUMNS, ROWS, StandardSlice

PLACE = "defect_place_distance"
EXTENT = "defect_extent_difference"
DEPTH = "defect_depth_difference"

STANDARD_DEVIATIONS = 2.0
SMOOTHING_PIXELS = 0.8  # SD: some 8 mm wide, SPECT's own resolution, so that single noisy pixels are no defect
BRAIN_SHARE = 0.4  # of the spared level: where the normal mean is below it, the border makes the loss
SMALLEST_LOSS = 0.05  # where normals hardly vary, two standard deviations may be nothing to see
# Fixed in advance by analogy with SCIENCE.md section 3: 5 % of the brain, and the margin of |log LR| for the loss.
EXTENT_MARGIN = Margin(low=-0.05, high=0.05)
DEPTH_MARGIN = Margin(low=-0.03, high=0.03)

Vector = NDArray[np.float64]
Places = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class NormalMaps:
    """Mean and SD of the reference's normal slices of every level that has them."""

    mean: dict[Level, Vector]  # (48, 40)
    sd: dict[Level, Vector]
    brain: dict[Level, Places]

    def find_loss(self, sample: Sample) -> Vector:
        """Return the share of the normal mean that is lost (n, 48, 40) in hypoperfused pixels; 0 in all others."""
        lost = np.zeros(sample.standard.shape)
        smooth = smoothed(sample.standard)
        for level, mean in self.mean.items():
            rows = np.isin(sample.condition_index, [c.index for c in CONDITIONS if c.level is level])
            missing = mean - smooth[rows]
            loss = missing / np.maximum(mean, BRAIN_SHARE)
            is_defect = self.brain[level] & (missing > STANDARD_DEVIATIONS * self.sd[level]) & (loss > SMALLEST_LOSS)
            lost[rows] = np.where(is_defect, loss, 0)
        return lost

    def extent(self, sample: Sample) -> Vector:
        """Share of the brain that is hypoperfused, (n,)."""
        sizes = np.array([self.brain[c.level].sum() if c.level in self.brain else 1 for c in CONDITIONS])
        return np.asarray((self.find_loss(sample) > 0).sum(axis=(1, 2)) / sizes[sample.condition_index])

    def depth(self, sample: Sample) -> Vector:
        """Mean share of flow lost in the hypoperfused pixels, (n,); 0 where there is none."""
        loss = self.find_loss(sample)
        return np.asarray(loss.sum(axis=(1, 2)) / np.maximum((loss > 0).sum(axis=(1, 2)), 1))

    def place(self, sample: Sample) -> Vector:
        """How often each place is hypoperfused, (48, 40); unilateral slices turned, the poorer side on image right."""
        is_defect = self.find_loss(sample) > 0
        turned = is_unilateral(sample) & (sample.measures["log_left_right_ratio"] > 0)
        is_defect[turned] = is_defect[turned, :, ::-1]
        return np.asarray(is_defect.mean(axis=0)) if len(sample) else np.zeros((ROWS, COLUMNS))


def is_unilateral(sample: Sample) -> Places:
    """Whether each slice's pattern is unilateral, (n,)."""
    return np.isin(sample.condition_index, [c.index for c in CONDITIONS if c.pattern is Pattern.UNILATERAL])


def smoothed(standard: StandardSlice) -> StandardSlice:
    """Smooth standard slices (n, 48, 40) in the plane."""
    smooth: StandardSlice = scipy.ndimage.gaussian_filter(standard, (0, SMOOTHING_PIXELS, SMOOTHING_PIXELS))
    return smooth


def map_normals(reference: Sample) -> NormalMaps:
    """Average the reference's normal slices, level by level; levels with too few are left out."""
    mean, sd, brain = {}, {}, {}
    for level in Level:
        rows = reference.condition_index == Condition(level, Pattern.NORMAL).index
        if rows.sum() < SMALLEST_CONDITION:
            continue
        normal = smoothed(reference.standard[rows]).astype(np.float64)
        mean[level], sd[level] = normal.mean(axis=0), normal.std(axis=0, ddof=1)
        brain[level] = mean[level] > BRAIN_SHARE
    return NormalMaps(mean=mean, sd=sd, brain=brain)


def diseased_cells(comparison: Comparison, normals: NormalMaps) -> tuple[Cell, ...]:
    """Conditions with disease at levels that have normal slices to compare with."""
    return tuple(
        cell
        for cell in condition_cells(comparison.conditions)
        if cell.conditions[0].pattern is not Pattern.NORMAL and cell.conditions[0].level in normals.mean
    )


def compute_place_distance(first: Vector, second: Vector) -> float:
    """Total variation distance of two maps (48, 40), each made to sum 1: 0 if they agree, 1 if they never meet.

    A map without any defect is 1 away from one with some.
    """
    sums = first.sum(), second.sum()
    if min(sums) == 0:
        return float(max(sums) > 0)
    return float(np.abs(first / sums[0] - second / sums[1]).sum() / 2)


def measure_defects(comparison: Comparison) -> list[Measurement]:
    """Place, extent and depth of every diseased condition, against the same normal slices of the reference."""
    normals = map_normals(comparison.reference)
    cells = diseased_cells(comparison, normals)
    if not cells:
        note = "it needs normal and diseased slices of one level, at least 8 of each"
        return [Measurement(metric=metric, cell="all", value=None, note=note) for metric in (PLACE, EXTENT, DEPTH)]
    extent = contrast_differences(EXTENT, normals.extent, EXTENT_MARGIN)
    depth = contrast_differences(DEPTH, normals.depth, DEPTH_MARGIN)

    def place(first: Sample, second: Sample) -> float:
        return compute_place_distance(normals.place(first), normals.place(second))

    note = "total variation of the hypoperfused places, 0 to 1"
    places = [comparison.measure(PLACE, cell, place, note=note) for cell in cells]
    return places + [contrast.measure(comparison, cell) for contrast in (extent, depth) for cell in cells]
