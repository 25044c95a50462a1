"""The density recovers the population its slices came from, and never repeats a patient's values."""

import numpy as np
import pytest

from spect.conditions import CONDITIONS, parse_condition
from spect.density import QuantityDensity, Targets
from spect.errors import TrainingError
from training.quantities.density_fit import SMALLEST_COMPONENT, fit_density

UNILATERAL = parse_condition("COR", "unilateral")
NORMAL = parse_condition("COR", "normal")


def _population(per_condition: int, seed: int, scores: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Raw quantities with a known correlation, and unilateral defects of either side, three left to one right."""
    rng = np.random.default_rng(seed)
    raw, condition = [], []
    for served in CONDITIONS:
        shared = rng.standard_normal(per_condition)
        mean_counts = 30 + served.index + 4 * shared
        side = np.where(rng.random(per_condition) < 0.75, -1, 1)
        spread = 0.04 * rng.standard_normal(per_condition) + 0.2 * side
        log_ratio = spread if served.pattern == "unilateral" else 0.02 * rng.standard_normal(per_condition)
        score = rng.standard_normal((per_condition, scores))
        score[:, 0] = 0.8 * shared + 0.6 * score[:, 0]
        raw.append(np.column_stack([mean_counts, log_ratio, score]))
        condition.append(np.full(per_condition, served.index))
    return np.concatenate(raw), np.concatenate(condition)


def _draw(density: QuantityDensity, served, n: int = 4000) -> np.ndarray:
    rng = np.random.default_rng(9)
    mixture = density.mixture(served, Targets())
    return np.array([density.draw(served, mixture, rng) for _ in range(n)]) * density.scale + density.center


def test_means_spreads_and_correlation_are_recovered() -> None:
    drawn = _draw(fit_density(*_population(400, seed=1)), NORMAL)
    assert abs(drawn[:, 0].mean() - (30 + NORMAL.index)) < 0.6
    assert abs(drawn[:, 0].std() - 4) < 0.4
    assert abs(drawn[:, 1].std() - 0.02) < 0.003
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 2])[0, 1] - 0.8) < 0.06


def test_both_sides_of_a_defect_are_drawn_in_their_proportion_and_none_between() -> None:
    drawn = _draw(fit_density(*_population(400, seed=2)), UNILATERAL)
    assert abs((drawn[:, 1] < 0).mean() - 0.75) < 0.06
    assert (np.abs(drawn[:, 1]) < 0.05).mean() < 0.01


def test_few_slices_of_many_quantities_still_give_a_density() -> None:
    drawn = _draw(fit_density(*_population(10, seed=3, scores=24)), NORMAL)
    assert np.isfinite(drawn).all()
    assert 0.4 < drawn[:, 2:].std(axis=0).mean() < 1.6


def test_noise_in_the_means_of_few_slices_is_not_kept() -> None:
    raw, condition = _population(30, seed=4, scores=24)
    mixture = fit_density(raw, condition).mixtures[NORMAL]
    sample_means = raw[condition == NORMAL.index, 3:].mean(axis=0)
    assert np.abs(mixture.means[0, 3:]).mean() < 0.5 * np.abs(sample_means).mean()


def _in_two_clusters(far: int, seed: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """The population, where so many of 60 normal slices lie eight SD off along the third score."""
    raw, condition = _population(60, seed=seed)
    raw[np.flatnonzero(condition == NORMAL.index)[:far], 4] += 8
    return raw, condition


def test_two_separate_clusters_are_fitted_as_two_where_a_mixture_is_asked_for() -> None:
    raw, condition = _in_two_clusters(far=20)
    one, two = (fit_density(raw, condition, components=components) for components in (1, 2))
    assert len(one.mixtures[NORMAL].weights) == 1
    assert sorted(two.mixtures[NORMAL].weights) == pytest.approx([1 / 3, 2 / 3])
    assert sorted(two.mixtures[NORMAL].means[:, 4]) == pytest.approx([0, 8], abs=0.6)
    between = [(np.abs(_draw(density, NORMAL)[:, 4] - 4) < 1).mean() for density in (one, two)]
    assert between[0] > 0.1, "one Gaussian puts slices where there are none"
    assert between[1] < 0.01


def test_a_mixture_keeps_mean_and_spread_of_its_condition() -> None:
    raw, condition = _in_two_clusters(far=20)
    drawn, members = _draw(fit_density(raw, condition, components=2), NORMAL), raw[condition == NORMAL.index]
    spread = members.std(axis=0)
    assert (np.abs(drawn.mean(axis=0) - members.mean(axis=0)) < 0.15 * spread).all()
    assert np.abs(drawn.std(axis=0) / spread - 1).max() < 0.1


def test_what_lies_between_clusters_is_no_correlation_within_one() -> None:
    raw, condition = _in_two_clusters(far=20)
    raw[np.flatnonzero(condition == NORMAL.index)[:20], 5] += 8  # apart along two scores that are independent within
    for factor in fit_density(raw, condition, components=2).mixtures[NORMAL].factors:
        covariance = factor @ factor.T
        assert abs(covariance[4, 5]) < 0.3 * np.sqrt(covariance[4, 4] * covariance[5, 5])


def test_a_cluster_of_fewer_slices_than_a_component_needs_is_not_split_off() -> None:
    raw, condition = _in_two_clusters(far=SMALLEST_COMPONENT - 1)
    assert len(fit_density(raw, condition, components=2).mixtures[NORMAL].weights) == 1
    few, of_few = _population(2 * SMALLEST_COMPONENT - 1, seed=8)
    assert len(fit_density(few, of_few, components=2).mixtures[NORMAL].weights) == 1


def test_each_side_of_a_defect_is_split_by_itself() -> None:
    raw, condition = _population(200, seed=9)
    mixture = fit_density(raw, condition, components=2).mixtures[UNILATERAL]
    left = mixture.means[:, 1] < fit_density(raw, condition).standardise(np.zeros(raw.shape[1]))[1]
    assert left.tolist() == [True, True, False, False]
    assert mixture.weights[left].sum() == pytest.approx((raw[condition == UNILATERAL.index, 1] < 0).mean())


def test_the_support_is_the_fitted_density_s_and_not_the_extremes_of_patients() -> None:
    raw, condition = _population(200, seed=5)
    low, high = fit_density(raw, condition).support[NORMAL]["mean_counts"]
    members = raw[condition == NORMAL.index, 0]
    assert low > 0
    assert abs(low - (members.mean() - 3 * members.std(ddof=1))) < 1e-6 * high
    assert low not in members
    assert high not in members


def test_a_condition_without_enough_slices_is_named() -> None:
    raw, condition = _population(4, seed=6)
    kept = ~((condition == NORMAL.index) & (np.cumsum(condition == NORMAL.index) > 2))
    with pytest.raises(TrainingError, match="COR/normal has 2 training slices"):
        fit_density(raw[kept], condition[kept])
