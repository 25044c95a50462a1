"""Flags and duplicates: what a person should look at is found, what is sound is left alone."""

from pathlib import Path

import numpy as np
import pytest

from cohort.quality import Duplicate, Flag, find_duplicates, find_upside_down, flag_slices, join_patients
from spect.formats import nifti
from spect.slices import mirror_left_right
from tests.support.phantom import brain_phantom

TEMPLATE = Path(__file__).parents[3] / "shared" / "data" / "SPECT.nii"


def _brains(n: int) -> np.ndarray:
    """Brains whose back is brighter than their front, as the cerebellum makes it."""
    ramp = np.linspace(0.6, 1.4, 64, dtype=np.float32)[:, None]
    return np.stack([brain_phantom(matrix=64, noise=0.1, seed=i).counts * ramp for i in range(n)])


def _flags(counts: np.ndarray) -> tuple[str, ...]:
    return flag_slices(counts[None].astype(np.float32), pixel_spacing_mm=4.0)[0]


def test_a_sound_slice_has_no_flag() -> None:
    assert all(flags == () for flags in flag_slices(_brains(10), pixel_spacing_mm=4.0))


@pytest.mark.skipif(not TEMPLATE.exists(), reason=f"the real template is not there: {TEMPLATE}")
def test_the_real_template_has_no_flag() -> None:
    parsed = nifti.read_slices(TEMPLATE)

    assert flag_slices(parsed.counts, pixel_spacing_mm=2.0) == ((), (), ())


def test_a_speck_and_an_empty_slice_hold_no_brain_and_noise_all_over_is_told() -> None:
    speck = np.zeros((64, 64))
    speck[30:33, 30:33] = 5

    assert Flag.NO_BRAIN in _flags(np.zeros((64, 64)))
    assert Flag.AREA in _flags(np.random.default_rng(0).random((64, 64)))
    assert Flag.NO_BRAIN in _flags(speck)


def test_a_slice_cut_at_nine_tenths_of_its_top_is_clipped() -> None:
    brain = _brains(1)[0]

    assert Flag.CLIPPED in _flags(np.minimum(brain, 0.8 * brain.max()))
    assert Flag.CLIPPED not in _flags(brain)


def test_a_brain_that_meets_the_edge_is_cropped_and_one_of_another_size_is_told() -> None:
    brain = _brains(1)[0]

    assert Flag.CROPPED in _flags(brain[24:])
    assert Flag.AREA in flag_slices(brain[None], pixel_spacing_mm=8.0)[0]


def test_the_turned_slices_of_a_level_are_found_and_mirrored_ones_are_not() -> None:
    counts = _brains(30)
    counts[[3, 17]] = counts[[3, 17], ::-1]
    counts[8] = mirror_left_right(counts[8])

    found = find_upside_down(counts, np.full(30, "CER"), pixel_spacing_mm=4.0)

    assert np.flatnonzero(found).tolist() == [3, 17]


def test_too_few_slices_of_a_level_are_not_judged() -> None:
    counts = _brains(10)
    counts[3] = counts[3, ::-1]

    assert not find_upside_down(counts, np.full(10, "CER"), pixel_spacing_mm=4.0).any()


def test_copies_are_found_exact_ones_in_every_condition_and_different_patients_are_not() -> None:
    counts = _brains(12)
    counts[5] = counts[1]
    rng = np.random.default_rng(0)
    counts[9] = 3 * counts[2] * (1 + 0.03 * rng.standard_normal((64, 64)))
    counts[11] = counts[0]
    condition = np.zeros(12, dtype=np.int64)
    condition[11] = 1

    found = find_duplicates(counts, condition, pixel_spacing_mm=4.0)

    assert found == (
        Duplicate(first=1, second=5, exact=True),
        Duplicate(first=2, second=9, exact=False),
        Duplicate(first=0, second=11, exact=True),
    )


def test_patients_who_share_a_scan_are_joined_through_others_too() -> None:
    patient = np.array(["a", "b", "c", "d", "b"])
    pairs = (Duplicate(first=0, second=1, exact=True), Duplicate(first=4, second=2, exact=False))

    assert join_patients(patient, pairs).tolist() == ["a", "a", "a", "d", "a"]
