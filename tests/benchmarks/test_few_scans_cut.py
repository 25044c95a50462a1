"""What a site with a tenth of a cohort has: whole patients, every condition, nobody of the test."""

from dataclasses import replace

import numpy as np
import pytest
from tenth.cut import PARTS, build_tenth, count_smallest_level, cut_tenth, select_site

from cohort.store import Cohort
from spect.conditions import CONDITIONS, Level, Pattern
from spect.errors import CohortError
from tests.support.toy_slices import toy_cohort

PATIENTS = 480
SEEDS = range(4)


def _three_levels(split: np.ndarray | None = None, rare: int = 40) -> Cohort:
    """Patients with a slice of each level their disease shows, of blank counts: a cut looks at labels alone.

    Every eighth is a selection patient. `rare` patients are bilateral: basal ganglia and cortex.
    """
    rows = [
        (level.value, pattern.value, f"patient-{patient}", place)
        for patient in range(PATIENTS)
        for pattern in [_pattern(patient, rare)]
        for place in [("selection" if patient % 8 == 0 else "train") if split is None else split[patient]]
        for level in Level
        if (level, pattern) != (Level.CEREBELLUM, Pattern.BILATERAL)
    ]
    level, pattern, patient, where = map(np.array, zip(*rows, strict=True))
    return Cohort(
        counts=np.ones((len(rows), 2, 2), dtype=np.float32),
        level=level,
        pattern=pattern,
        patient=patient,
        split=where,
        description=toy_cohort(1, seed=1).description,
    )


def _pattern(patient: int, rare: int) -> Pattern:
    if patient < rare:
        return Pattern.BILATERAL
    return Pattern.UNILATERAL if patient % 3 == 0 else Pattern.NORMAL


@pytest.fixture(scope="module")
def site() -> Cohort:
    return select_site(_three_levels())


@pytest.mark.parametrize("seed", SEEDS)
def test_a_tenth_of_each_split_is_left_and_no_patient_is_cut_in_two(site: Cohort, seed: int) -> None:
    cut = cut_tenth(site, seed)

    few, rest = site.take(cut.few), site.take(cut.rest)
    assert not set(few.patient) & set(rest.patient)
    assert len(few) + len(rest) == len(site)
    for split in ("train", "selection"):
        whole, left = (len(np.unique(part.patient[part.split == split])) for part in (site, few))
        assert left == pytest.approx(whole / PARTS, abs=1)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_kind_of_patient_is_cut_alike(site: Cohort, seed: int) -> None:
    train = site.select(split="train")
    few = site.take(cut_tenth(site, seed).few).select(split="train")
    for condition in CONDITIONS:
        whole, left = len(train.select(condition=condition)), len(few.select(condition=condition))
        assert left == pytest.approx(whole / PARTS, abs=1), condition


@pytest.mark.parametrize("seed", SEEDS)
def test_three_training_slices_of_a_rare_condition_are_left(seed: int) -> None:
    site = select_site(_three_levels(rare=6))  # five of them to train on
    few = site.take(cut_tenth(site, seed).few).select(split="train")
    counts = np.bincount(few.condition_index, minlength=len(CONDITIONS))
    assert counts.min() == 3
    assert counts.argmin() in (4, 7)  # the bilateral ones


def test_a_condition_with_two_training_slices_is_refused_by_name() -> None:
    site = select_site(_three_levels(rare=3))
    with pytest.raises(
        CohortError, match="BG/bilateral has 2 training slices in the whole cohort, a tenth of it needs 3"
    ):
        cut_tenth(site, 0)


def test_the_patients_of_a_test_split_are_never_a_site_s() -> None:
    split = np.array(["train", "selection", "test"])[np.arange(PATIENTS) % 3]
    cohort = _three_levels(split)
    site = select_site(cohort)
    cut = cut_tenth(site, 0)
    used = {*site.patient[cut.few].tolist(), *site.patient[cut.rest].tolist()}
    assert not used & set(cohort.patient[cohort.split == "test"].tolist())
    assert len(used) == PATIENTS * 2 / 3


def test_a_seed_cuts_the_same_patients_again_and_another_seed_others(site: Cohort) -> None:
    first, again, other = (cut_tenth(site, seed).few for seed in (4, 4, 5))
    assert np.array_equal(first, again)
    shared = set(site.patient[first]) & set(site.patient[other])
    assert len(shared) < len(set(site.patient[first])) / 2


def test_over_many_seeds_every_patient_has_the_same_chance(site: Cohort) -> None:
    times = np.zeros(PATIENTS)
    for seed in range(200):
        for name in np.unique(site.patient[cut_tenth(site, seed).few]):
            times[int(name.removeprefix("patient-"))] += 1
    assert times.mean() / 200 == pytest.approx(1 / PARTS, rel=0.02)
    assert times.std() == pytest.approx(np.sqrt(200 * 0.1 * 0.9), rel=0.15)  # as of independent draws


def test_a_tenth_says_what_it_is(site: Cohort) -> None:
    cut = cut_tenth(site, 3)
    tenth = build_tenth(site, cut, 3)
    assert tenth.description.name == "a tenth of the patients of test, cut by seed 3"
    assert tenth.description.source == "simulated"
    assert tenth.description.fingerprint != site.description.fingerprint
    assert len(tenth) == len(cut.few)
    assert count_smallest_level(tenth) == min(
        int((tenth.select(split="train").level == level.value).sum()) for level in Level
    )


def test_a_cohort_without_selection_patients_is_refused() -> None:
    cohort = _three_levels()
    with pytest.raises(CohortError, match="the cohort has no selection slices"):
        select_site(replace(cohort, split=np.full(len(cohort), "train")))
