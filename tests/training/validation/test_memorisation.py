from dataclasses import replace

import numpy as np
import pytest

from tests.support.toy_slices import compare, honest_comparison, honest_sample, toy_sample, training_slices
from training.validation.memorisation import compute_near_share, measure_memorisation


def plant_copies(share: float, noise: float = 0.0):
    honest, training = honest_sample(), training_slices()
    counts = honest.counts.copy()
    rng = np.random.default_rng(8)
    for index in np.unique(honest.condition_index):
        rows = np.flatnonzero(honest.condition_index == index)
        chosen = rng.choice(rows, size=round(share * len(rows)), replace=False)
        copied = rng.choice(np.flatnonzero(training.condition_index == index), size=len(chosen))
        counts[chosen] = np.maximum(training.counts[copied] + rng.normal(0, noise, counts[chosen].shape), 0)
    return compare(toy_sample(counts, honest.condition_index))


def overall(comparison):
    return measure_memorisation(comparison)[0]


def test_honest_samples_lie_near_training_slices_as_often_as_unseen_ones() -> None:
    measured = overall(honest_comparison())
    assert measured.cell == "all"
    assert measured.value == pytest.approx(0.05, abs=0.05)
    assert measured.low <= 0.05


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_ten_percent_of_planted_copies_fail(noise) -> None:
    measured = overall(plant_copies(0.1, noise))
    assert measured.value == pytest.approx(0.15, abs=0.06)
    assert measured.low > 0.05


def test_the_share_ranks_with_the_number_of_copies() -> None:
    shares = [overall(plant_copies(share)).value for share in (0.0, 0.1, 0.3)]
    assert shares == sorted(shares)
    assert shares[2] > 0.3


def test_without_the_training_cohort_it_is_not_measured_and_says_why() -> None:
    (measured,) = measure_memorisation(replace(honest_comparison(), training=None))
    assert measured.value is None
    assert "training cohort" in measured.note


def test_the_near_share_of_new_draws_is_five_percent_on_average() -> None:
    rng = np.random.default_rng(9)
    shares = [compute_near_share(*rng.exponential(size=(2, 500)))[0] for _ in range(200)]
    assert np.mean(shares) == pytest.approx(0.05, abs=0.003)
