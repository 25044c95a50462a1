import numpy as np
import pytest

from cohort.simulator.anatomy import load_template
from cohort.simulator.imaging import Camera
from cohort.simulator.ischaemia import Side
from cohort.simulator.patients import Preset, plan_patients
from cohort.simulator.study import SimulatedSlice, simulate_patient
from spect.conditions import Pattern
from spect.quantify import quantify


def simulate_one(pattern: Pattern, *, matrix: int = 64) -> list[SimulatedSlice]:
    plans = plan_patients(Preset.PAPER, patients=None, seed=0)
    plan = next(plan for plan in plans if plan.pattern is pattern)
    return simulate_patient(plan, Camera(matrix=matrix), load_template())


@pytest.mark.parametrize("pattern", list(Pattern))
def test_each_slice_keeps_what_the_simulator_knows_of_it(pattern: Pattern) -> None:
    for one in simulate_one(pattern):
        assert (one.side is Side.NONE) == (pattern is Pattern.NORMAL)
        assert bool(one.territory) == (pattern is not Pattern.NORMAL)
        assert one.severity >= 0
        assert 15 < one.mean_flow < 50


@pytest.mark.parametrize("matrix", [64, 128])
def test_the_image_reads_the_flow_it_was_made_of(matrix: int) -> None:
    slices = simulate_one(Pattern.NORMAL, matrix=matrix)
    counts = np.stack([one.counts for one in slices])
    read = quantify(counts, pixel_spacing_mm=256 / matrix).mean_counts
    # The skull and the margin of the contour make each reading lower than the cylinder's, by up to a quarter.
    for value, one in zip(read, slices, strict=True):
        assert 0.65 < value / one.mean_flow < 1.05


def test_a_patient_is_the_same_when_simulated_again() -> None:
    for first, second in zip(simulate_one(Pattern.UNILATERAL), simulate_one(Pattern.UNILATERAL), strict=True):
        np.testing.assert_array_equal(first.counts, second.counts)
