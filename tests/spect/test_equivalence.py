"""Equivalence is shown, not assumed; slices of one patient do not count as independent."""

import numpy as np
import pytest

from spect.conditions import Pattern
from spect.equivalence import (
    MEAN_COUNTS_MARGIN,
    EquivalenceVerdict,
    Margin,
    bootstrap_patients,
    choose_equal_numbers,
    compute_moments,
    compute_power,
    difference_of_means,
    error_of_difference,
    fold_log_ratio,
    log_margin,
    log_ratio_margin,
    ratio_of_means,
    ratio_of_spreads,
)
from spect.errors import SlicesError
from tests.support.drift_samples import patients_of


def _lognormal(n: int, rng: np.random.Generator, *, ratio: float = 1.0, spread: float = 0.14) -> np.ndarray:
    return 50 * ratio * np.exp(rng.normal(0, spread, n))


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [(1.0, EquivalenceVerdict.EQUIVALENT), (0.85, EquivalenceVerdict.DIFFERENT)],
)
def test_five_hundred_against_five_hundred_tells_equal_from_different_mean_counts(ratio, expected) -> None:
    rng = np.random.default_rng(1)
    synthetic, reference = _lognormal(500, rng, ratio=ratio), _lognormal(500, rng)
    estimate = ratio_of_means(compute_moments(synthetic), compute_moments(reference))
    assert estimate.verdict(MEAN_COUNTS_MARGIN) is expected
    assert estimate.low < estimate.value < estimate.high


def test_a_small_sample_is_inconclusive_and_not_equivalent() -> None:
    rng = np.random.default_rng(2)
    estimate = ratio_of_means(compute_moments(_lognormal(12, rng)), compute_moments(_lognormal(12, rng)))
    assert estimate.verdict(MEAN_COUNTS_MARGIN) is EquivalenceVerdict.INCONCLUSIVE


def test_a_generator_exactly_on_the_margin_passes_in_at_most_one_of_twenty_trials() -> None:
    passed = 0
    for trial in range(600):
        rng = np.random.default_rng([3, trial])
        synthetic, reference = _lognormal(300, rng, ratio=0.95, spread=0.1), _lognormal(300, rng, spread=0.1)
        estimate = ratio_of_means(compute_moments(synthetic), compute_moments(reference))
        passed += estimate.verdict(MEAN_COUNTS_MARGIN) is EquivalenceVerdict.EQUIVALENT
    assert passed <= 45  # 30 expected; the binomial's 99.5th percentile is 45


@pytest.mark.parametrize("statistic", ["ratio", "difference", "spread"])
def test_a_ninety_per_cent_interval_holds_the_truth_nine_times_in_ten(statistic) -> None:
    compare = {"ratio": ratio_of_means, "difference": difference_of_means, "spread": ratio_of_spreads}[statistic]
    truth = {"ratio": 1.1, "difference": 5.0, "spread": 2.0}[statistic]
    held = 0
    for trial in range(600):
        rng = np.random.default_rng([4, trial])
        estimate = compare(
            compute_moments(55 + 10 * rng.standard_normal(80)), compute_moments(50 + 5 * rng.standard_normal(120))
        )
        held += estimate.low <= truth <= estimate.high
    assert 519 <= held <= 559  # 540 expected, 99 % of the binomial


def test_the_interval_of_a_spread_is_wider_for_heavy_tails() -> None:
    rng = np.random.default_rng(5)
    normal, heavy = rng.standard_normal(400), rng.standard_t(5, 400)
    assert compute_moments(heavy).log_sd_error > 1.2 * compute_moments(normal).log_sd_error


def test_three_slices_a_patient_widen_the_error_of_a_mean() -> None:
    rng = np.random.default_rng(6)
    values = np.repeat(rng.standard_normal(100), 3) + 0.1 * rng.standard_normal(300)
    by_slice = compute_moments(values)
    by_patient = compute_moments(values, patients=patients_of(300, slices_each=3), rng=np.random.default_rng(0))
    assert by_patient.mean_error == pytest.approx(by_slice.mean_error * np.sqrt(3), rel=0.1)
    assert by_patient.units == 100


def test_the_bootstrap_agrees_with_theory_and_repeats_with_its_seed() -> None:
    values = np.random.default_rng(7).normal(1000, 2, (400, 2))
    patients = patients_of(400)
    means, sds = bootstrap_patients(values, patients, replicates=4000, rng=np.random.default_rng(1))
    again, _ = bootstrap_patients(values, patients, replicates=4000, rng=np.random.default_rng(1))
    np.testing.assert_array_equal(means, again)
    np.testing.assert_allclose(means.std(axis=0), values.std(axis=0) / 20, rtol=0.06)
    np.testing.assert_allclose(sds.mean(axis=0), values.std(axis=0), rtol=0.02)


@pytest.mark.parametrize(("reference_slices", "margin_sd"), [(248, 0.23), (129, 0.29), (66, 0.38), (44, 0.46)])
def test_power_is_that_of_the_design_table(reference_slices, margin_sd) -> None:
    error = error_of_difference(1.0, synthetic_slices=500, reference_slices=reference_slices)
    assert compute_power(error, Margin(low=-margin_sd, high=margin_sd)) == pytest.approx(0.8, abs=0.03)


def test_power_falls_to_nothing_where_the_interval_is_wider_than_the_margin() -> None:
    margin = log_margin(MEAN_COUNTS_MARGIN)
    assert compute_power(0.05, margin) == 0
    assert compute_power(1e-6, margin) == pytest.approx(1)


def test_unilateral_ratios_are_compared_without_their_side() -> None:
    signed = np.array([-0.2, 0.2, -0.1])
    np.testing.assert_array_equal(fold_log_ratio(signed, Pattern.UNILATERAL), [0.2, 0.2, 0.1])
    np.testing.assert_array_equal(fold_log_ratio(signed, Pattern.NORMAL), signed)
    assert log_ratio_margin(Pattern.UNILATERAL).high == 0.03
    assert log_ratio_margin(Pattern.NORMAL).high == 0.02


def test_levels_are_pooled_in_equal_numbers() -> None:
    levels = np.array(["CER"] * 60 + ["BG"] * 45 + ["COR"] * 30)
    rows = choose_equal_numbers(levels, np.random.default_rng(0))
    assert dict(zip(*np.unique(levels[rows], return_counts=True), strict=True)) == {"CER": 30, "BG": 30, "COR": 30}
    assert (np.diff(rows) > 0).all()


@pytest.mark.parametrize(
    ("values", "patients"), [([1.0, 2.0], None), ([1.0, np.nan, 2.0], None), ([1.0] * 6, "aaabbb")]
)
def test_too_little_data_raises_instead_of_giving_an_interval(values, patients) -> None:
    with pytest.raises(SlicesError, match="at least 3 finite independent values"):
        compute_moments(np.array(values), patients=None if patients is None else np.array(list(patients)))
