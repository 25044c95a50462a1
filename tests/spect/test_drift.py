"""The two verdicts: what must be seen is seen in a stated window, what must not alarm does not."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats

from spect.conditions import CONDITIONS, Condition, Level, Pattern
from spect.drift import Comparability, judge_scans, judge_window
from spect.errors import ConditionError, ConfigurationError, SlicesError
from spect.features import compute_features
from spect.judgement import DriftTest, DriftVerdict, Judgement, worst_verdict
from spect.scan_check import ScanSet, check_scans
from spect.shift import compute_ranks, compute_shift_score, shift_threshold, summarise_distribution
from spect.slices import resample_to_matrix
from tests.support.drift_samples import (
    SPACING_MM,
    draw_features,
    draw_slices,
    make_profile,
    patients_of,
    profile_of,
)

NORMAL = Condition(Level.CORTEX, Pattern.NORMAL)
UNILATERAL = Condition(Level.CORTEX, Pattern.UNILATERAL)
SAME = Comparability(intensity_unit="counts", intensity_scaling="whole-cohort", pixel_spacing_mm=SPACING_MM)


def _verdict(judgements: list[Judgement], test: DriftTest, feature: str | None = None) -> DriftVerdict:
    return worst_verdict(one.verdict for one in judgements if one.test is test and feature in {None, one.feature})


@pytest.mark.parametrize(("window", "profile_slices"), [(32, 256), (32, 4096), (256, 4096)])
def test_without_drift_the_shift_score_passes_its_threshold_at_the_stated_rate(window, profile_slices) -> None:
    rounds, alarms = 4000, 0
    threshold = shift_threshold(0.01, tests=1)
    for number in range(rounds // 40):
        rng = np.random.default_rng([5, window, profile_slices, number])
        quantiles = summarise_distribution(rng.gamma(3, size=profile_slices))
        scores = [compute_shift_score(rng.gamma(3, size=window), quantiles, profile_slices) for _ in range(40)]
        alarms += int((np.array(scores) > threshold).sum())
    # 1 % of 4,000; windows that share a profile are not independent, which widens the binomial by a third at most.
    spread = 1.33 * np.sqrt(rounds * 0.01 * 0.99)
    assert abs(alarms - rounds * 0.01) < 2.58 * spread + 0.1 * rounds * 0.01


def test_rounds_of_all_features_and_conditions_alarm_no_more_often_than_stated() -> None:
    rate, rounds, alarms = 0.2, 150, 0
    profile = make_profile(false_alarm_rate=rate)
    assert profile.false_alarm_rate == rate
    for number in range(rounds):
        rng = np.random.default_rng([6, number])
        judgements = [
            one
            for condition in CONDITIONS
            for one in judge_window(profile, condition, draw_features(condition, 64, rng))
        ]
        alarms += _verdict(judgements, DriftTest.SHIFT) is DriftVerdict.DRIFT
    low, high = scipy.stats.binom.interval(0.999, rounds, rate)
    assert low <= alarms <= high


def test_a_sound_model_raises_no_alarm_in_hundreds_of_windows_at_the_default_rate() -> None:
    profile = make_profile()
    for number in range(25):
        rng = np.random.default_rng([7, number])
        for condition in CONDITIONS:
            judgements = judge_window(profile, condition, draw_features(condition, 128, rng))
            assert worst_verdict(one.verdict for one in judgements) is DriftVerdict.OK


def test_a_champion_three_per_cent_low_in_mean_counts_never_alarms() -> None:
    profile = make_profile(ratio=0.97)
    for number in range(8):
        rng = np.random.default_rng([8, number])
        for condition in CONDITIONS:
            judgements = judge_window(profile, condition, draw_features(condition, 512, rng, mean_ratio=0.97))
            assert worst_verdict(one.verdict for one in judgements) is DriftVerdict.OK


@pytest.mark.parametrize(
    ("change", "feature", "window"),
    [({"mean_ratio": 0.95}, "mean_counts", 512), ({"log_ratio_shift": 0.03}, "log_left_right_ratio", 32)],
)
def test_a_small_change_of_the_model_is_a_shift_in_nine_windows_of_ten(change, feature, window) -> None:
    profile = make_profile()
    seen = 0
    for number in range(30):
        rows = draw_features(NORMAL, window, np.random.default_rng([9, number]), **change)
        seen += _verdict(judge_window(profile, NORMAL, rows), DriftTest.SHIFT, feature) is DriftVerdict.DRIFT
    assert seen >= 27


def test_a_lost_side_is_a_shift_although_its_mean_stays() -> None:
    rows = draw_features(UNILATERAL, 128, np.random.default_rng(10))
    rows["log_left_right_ratio"] *= 0.5  # defects of half the depth, both sides as often
    judgements = judge_window(make_profile(), UNILATERAL, rows)
    assert _verdict(judgements, DriftTest.SHIFT, "log_left_right_ratio") is DriftVerdict.DRIFT


@pytest.fixture(scope="module")
def measured_profile():
    own = compute_features(draw_slices(600, np.random.default_rng(11)), pixel_spacing_mm=SPACING_MM)
    return profile_of(own)


@pytest.mark.parametrize(
    ("change", "feature"),
    [
        ({}, None),
        ({"extra_blur_mm": 6.0}, "high_frequency_share"),
        ({"noise": 1.5}, "noise_sd"),
    ],
)
def test_blur_and_noise_are_seen_in_a_window_of_sixty_four_slices(measured_profile, change, feature) -> None:
    slices = draw_slices(64, np.random.default_rng(12), **change)
    judgements = judge_window(measured_profile, NORMAL, compute_features(slices, pixel_spacing_mm=SPACING_MM))
    expected = DriftVerdict.OK if feature is None else DriftVerdict.DRIFT
    assert _verdict(judgements, DriftTest.SHIFT, feature) is expected


@pytest.mark.parametrize(("ratio", "expected"), [(0.97, DriftVerdict.OK), (0.8, DriftVerdict.DRIFT)])
def test_distance_alarms_only_where_the_whole_interval_lies_outside_the_margin(ratio, expected) -> None:
    rows = draw_features(NORMAL, 256, np.random.default_rng(13), mean_ratio=ratio)
    judged = [
        one
        for one in judge_window(make_profile(), NORMAL, rows)
        if (one.test, one.feature) == (DriftTest.DISTANCE, "mean_counts")
    ]
    (distance,) = judged
    assert distance.verdict is expected
    assert distance.effect is not None
    assert distance.effect.value == pytest.approx(ratio, abs=0.04)
    assert (distance.effect.high < 0.95) == (expected is DriftVerdict.DRIFT)


def test_distance_of_unilateral_slices_ignores_which_side_is_ill() -> None:
    rows = draw_features(UNILATERAL, 256, np.random.default_rng(14))
    rows["log_left_right_ratio"] = np.abs(rows["log_left_right_ratio"])  # every defect on one side
    judgements = judge_window(make_profile(), UNILATERAL, rows)
    assert _verdict(judgements, DriftTest.DISTANCE, "log_left_right_ratio") is DriftVerdict.OK
    assert _verdict(judgements, DriftTest.SHIFT, "log_left_right_ratio") is DriftVerdict.DRIFT


def test_thirty_one_slices_are_not_enough_data_for_either_verdict() -> None:
    judgements = judge_window(make_profile(), NORMAL, draw_features(NORMAL, 31, np.random.default_rng(0)))
    assert {one.verdict for one in judgements} == {DriftVerdict.NOT_ENOUGH_DATA}
    assert "at least 32 slices" in judgements[0].note


def test_no_judgement_at_all_reads_as_not_enough_data() -> None:
    assert worst_verdict([]) is DriftVerdict.NOT_ENOUGH_DATA
    assert worst_verdict([DriftVerdict.OK, DriftVerdict.NOT_ENOUGH_DATA]) is DriftVerdict.NOT_ENOUGH_DATA
    assert worst_verdict([DriftVerdict.OK, DriftVerdict.NOT_COMPARABLE]) is DriftVerdict.NOT_COMPARABLE


def test_a_reference_that_is_not_described_gives_no_distance() -> None:
    profile = make_profile(reference_slices=3)
    judgements = judge_window(profile, NORMAL, draw_features(NORMAL, 64, np.random.default_rng(0)))
    assert _verdict(judgements, DriftTest.DISTANCE) is DriftVerdict.NOT_ENOUGH_DATA
    assert _verdict(judgements, DriftTest.SHIFT) is DriftVerdict.OK


@pytest.mark.parametrize(
    ("measured_in", "words"),
    [
        (Comparability(intensity_unit="Bq/ml", intensity_scaling="whole-cohort", pixel_spacing_mm=4.0), "Bq/ml"),
        (Comparability(intensity_unit="counts", intensity_scaling="per-slice", pixel_spacing_mm=4.0), "per-slice"),
    ],
)
def test_mean_counts_of_another_unit_or_scaling_are_not_comparable(measured_in, words) -> None:
    rows = draw_features(NORMAL, 64, np.random.default_rng(0))
    judgements = judge_window(make_profile(), NORMAL, rows, measured_in=measured_in)
    for one in judgements:
        if one.feature == "mean_counts":
            assert one.verdict is DriftVerdict.NOT_COMPARABLE
            assert words in one.note
        else:
            assert one.verdict is DriftVerdict.OK


def test_no_feature_compares_across_pixel_spacings() -> None:
    rows = draw_features(NORMAL, 64, np.random.default_rng(0))
    judgements = judge_window(make_profile(), NORMAL, rows, measured_in=replace(SAME, pixel_spacing_mm=2.0))
    assert {one.verdict for one in judgements} == {DriftVerdict.NOT_COMPARABLE}
    assert "2 mm, the profile's 4 mm" in judgements[0].note


def test_a_condition_the_profile_does_not_know_is_refused() -> None:
    rows = draw_features(NORMAL, 256, np.random.default_rng(0))
    profile = make_profile()
    partial = profile.model_copy(update={"conditions": {str(UNILATERAL): profile.conditions[str(UNILATERAL)]}})
    with pytest.raises(ConditionError, match="COR/normal"):
        judge_window(partial, NORMAL, rows)


def test_new_scans_of_the_same_population_are_like_the_reference() -> None:
    profile = make_profile()
    for number in range(6):
        rng = np.random.default_rng([15, number])
        for condition in CONDITIONS:
            rows = {name: np.repeat(values, 2) for name, values in draw_features(condition, 40, rng).items()}
            judgements = judge_scans(
                profile, condition, rows, patients=patients_of(80, slices_each=2), measured_in=SAME
            )
            assert worst_verdict(one.verdict for one in judgements) is DriftVerdict.OK


def test_repeating_every_slice_of_a_patient_adds_no_evidence() -> None:
    rows = draw_features(NORMAL, 40, np.random.default_rng(16), mean_ratio=1.06)
    copies = {name: np.repeat(values, 25) for name, values in rows.items()}
    once = judge_scans(make_profile(), NORMAL, rows, patients=patients_of(40), measured_in=SAME)
    often = judge_scans(make_profile(), NORMAL, copies, patients=patients_of(1000, slices_each=25), measured_in=SAME)
    assert often[0].score == pytest.approx(once[0].score, rel=0.15)
    assert worst_verdict(one.verdict for one in often) is DriftVerdict.OK


def test_new_scans_with_less_light_and_more_noise_are_judged_by_both_tests() -> None:
    rows = draw_features(NORMAL, 120, np.random.default_rng(17), mean_ratio=0.75)
    rows["noise_sd"] *= 1.3
    judgements = judge_scans(make_profile(), NORMAL, rows, patients=patients_of(120), measured_in=SAME)
    drifted = {(str(one.test), one.feature) for one in judgements if one.verdict is DriftVerdict.DRIFT}
    assert drifted == {("shift", "mean_counts"), ("distance", "mean_counts"), ("shift", "noise_sd")}


def test_a_set_of_scans_is_measured_grouped_and_summed_up(measured_profile) -> None:
    counts = np.concatenate([draw_slices(40, np.random.default_rng(18)), np.zeros((1, 64, 64), np.float32)])
    labels = {"level": np.full(41, "COR"), "pattern": np.full(41, "normal"), "patient": patients_of(41)}
    steps: list[int] = []
    check = check_scans(measured_profile, ScanSet(counts=counts, measured_in=SAME, **labels), progress=steps.append)
    assert (check.verdict, check.slices, check.unmeasurable, sum(steps)) == (DriftVerdict.OK, 41, 1, 41)
    assert {one.condition for one in check.judgements} == {NORMAL}
    dimmer = check_scans(measured_profile, ScanSet(counts=counts * np.float32(0.6), measured_in=SAME, **labels))
    assert dimmer.to_dict()["verdict"] == "drift"


def _scans(counts: np.ndarray, *, pixel_spacing_mm: float, patients: np.ndarray | None = None) -> ScanSet:
    return ScanSet(
        counts=counts,
        level=np.full(len(counts), "COR"),
        pattern=np.full(len(counts), "normal"),
        patient=patients_of(len(counts)) if patients is None else patients,
        measured_in=replace(SAME, pixel_spacing_mm=pixel_spacing_mm),
    )


def test_finer_scans_of_the_same_field_are_compared_at_the_spacing_of_the_profile() -> None:
    fine = draw_slices(600, np.random.default_rng(21), matrix=128)
    own = compute_features(resample_to_matrix(fine, 64), pixel_spacing_mm=SPACING_MM)
    scans = draw_slices(60, np.random.default_rng(22), matrix=128)
    check = check_scans(profile_of(own), _scans(scans, pixel_spacing_mm=2.0))
    assert {one.verdict for one in check.judgements} == {DriftVerdict.OK}
    dimmer = check_scans(profile_of(own), _scans(scans * np.float32(0.6), pixel_spacing_mm=2.0))
    assert dimmer.verdict is DriftVerdict.DRIFT


@pytest.mark.parametrize(("matrix", "pixel_spacing_mm"), [(64, 3.0), (128, 1.5), (32, 8.0)])
def test_scans_of_another_field_or_of_coarser_pixels_are_not_comparable(
    measured_profile, matrix, pixel_spacing_mm
) -> None:
    scans = _scans(draw_slices(40, np.random.default_rng(23), matrix=matrix), pixel_spacing_mm=pixel_spacing_mm)
    check = check_scans(measured_profile, scans)
    assert {one.verdict for one in check.judgements} == {DriftVerdict.NOT_COMPARABLE}


@pytest.mark.parametrize("patients", [1, 2, 4])
def test_many_slices_of_few_patients_are_not_enough_data(measured_profile, patients) -> None:
    counts = draw_slices(40, np.random.default_rng(24))
    names = np.array([f"p{row % patients}" for row in range(40)])
    check = check_scans(measured_profile, _scans(counts, pixel_spacing_mm=SPACING_MM, patients=names))
    assert {one.verdict for one in check.judgements} == {DriftVerdict.NOT_ENOUGH_DATA}
    assert f"at least 5 patients are needed, got {patients}" in check.judgements[0].note


def test_scans_whose_labels_do_not_fit_are_refused() -> None:
    with pytest.raises(SlicesError, match="one entry a slice"):
        ScanSet(
            counts=draw_slices(2, np.random.default_rng(0)),
            level=np.array(["COR"]),
            pattern=np.array(["normal"]),
            patient=np.array(["p"]),
            measured_in=SAME,
        )


def test_values_on_a_step_of_the_distribution_are_spread_over_it() -> None:
    own = np.repeat([0.0, 1.0], [600, 400])
    ranks = compute_ranks(np.repeat([0.0, 1.0], [60, 40]), summarise_distribution(own), len(own))
    assert scipy.stats.kstest(ranks, "uniform").statistic < 0.03
    score = compute_shift_score(np.repeat([0.0, 1.0], [60, 40]), summarise_distribution(own), len(own))
    assert score < shift_threshold(0.5, tests=1)


def test_a_constant_feature_that_stays_constant_is_no_drift() -> None:
    quantiles = summarise_distribution(np.full(400, 3.0))
    assert compute_shift_score(np.full(64, 3.0), quantiles, 400) < 1
    assert compute_shift_score(np.full(64, 3.1), quantiles, 400) > shift_threshold(1e-3, tests=48)


def test_the_score_without_ties_is_the_anderson_darling_statistic_of_scipy() -> None:
    rng = np.random.default_rng(19)
    own, window = rng.standard_normal(200_000), rng.standard_normal(100) * 1.3
    expected = scipy.stats.goodness_of_fit(
        scipy.stats.norm,
        window,
        known_params={"loc": 0, "scale": 1},
        statistic="ad",
        n_mc_samples=1,
        rng=np.random.default_rng(0),
    ).statistic
    score = compute_shift_score(window, summarise_distribution(own), len(own))
    assert score == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(("rate", "tests"), [(0.0, 48), (1.0, 48), (0.5, 0)])
def test_a_threshold_needs_a_rate_and_tests(rate, tests) -> None:
    with pytest.raises(ConfigurationError, match="false_alarm_rate"):
        shift_threshold(rate, tests)


def test_extra_blur_of_the_fixture_is_what_it_says() -> None:
    sharp = draw_slices(1, np.random.default_rng(20))[0]
    blurred = draw_slices(1, np.random.default_rng(20), extra_blur_mm=6.0)[0]
    np.testing.assert_allclose(blurred, scipy.ndimage.gaussian_filter(sharp, 6 / 2.355 / SPACING_MM), atol=1e-3)
