import numpy as np
import pytest

from spect.conditions import CONDITIONS, Pattern
from tests.support.toy_slices import compare, corrupt, honest_comparison, honest_sample, toy_sample
from training.validation.left_right import measure_left_right
from training.validation.mean_counts import measure_mean_counts
from training.validation.p_values import measure_p_values
from training.validation.side_balance import measure_side_balance
from training.validation.spreads import measure_spreads
from training.validation.thresholds import left_right_metric_at, mean_counts_metric_at, measure_thresholds


def by_cell(measurements, metric=None):
    return {m.cell: m for m in measurements if metric in {None, m.metric}}


def brighten_left(share):
    def change(counts):
        counts[:, :, counts.shape[2] // 2 :] *= 1 + share  # the patient's left lies on image right
        return counts

    return change


def test_a_perfect_generator_has_equal_mean_counts_and_is_said_to() -> None:
    measured = by_cell(measure_mean_counts(honest_comparison()))
    for pattern in Pattern:
        assert measured[pattern].value == pytest.approx(1, abs=0.05)
        assert measured[pattern].low < 1 < measured[pattern].high or measured[pattern].verdict == "equivalent"
    assert measured["normal"].verdict == "equivalent"
    assert set(measured) == {*Pattern, *map(str, CONDITIONS)}


def test_counts_raised_by_2_5_and_10_percent_rank_in_order() -> None:
    honest = by_cell(measure_mean_counts(honest_comparison()))["normal"].value
    ratios = [
        by_cell(measure_mean_counts(compare(corrupt(lambda counts, s=s: counts * (1 + s)))))["normal"]
        for s in (0.02, 0.05, 0.1)
    ]
    for ratio, share in zip(ratios, (0.02, 0.05, 0.1), strict=True):
        assert ratio.value == pytest.approx(honest * (1 + share), rel=0.003)
    assert ratios[-1].verdict == "different"


def test_the_left_raised_by_1_2_and_5_percent_ranks_in_order() -> None:
    honest = by_cell(measure_left_right(honest_comparison()))["normal"].value
    raised = [by_cell(measure_left_right(compare(corrupt(brighten_left(s)))))["normal"] for s in (0.01, 0.02, 0.05)]
    for measured, share in zip(raised, (0.01, 0.02, 0.05), strict=True):
        assert measured.value - honest == pytest.approx(np.log1p(share), abs=0.004)
    assert raised[-1].verdict == "different"


def test_unilateral_cells_compare_the_size_of_the_asymmetry_and_others_its_sign() -> None:
    metrics = {m.cell: m.metric for m in measure_left_right(honest_comparison())}
    assert metrics["unilateral"] == metrics["COR/unilateral"] == "absolute_log_left_right_ratio_difference"
    assert metrics["normal"] == metrics["COR/bilateral"] == "left_right_ratio_difference"


def test_a_generator_that_makes_one_mean_patient_loses_its_spread() -> None:
    honest = honest_sample()
    collapsed = honest.counts.copy()
    for index in np.unique(honest.condition_index):
        rows = honest.condition_index == index
        collapsed[rows] = 0.3 * collapsed[rows] + 0.7 * collapsed[rows].mean(axis=0)
    comparison = compare(toy_sample(collapsed, honest.condition_index))
    fair, lost = measure_spreads(honest_comparison()), measure_spreads(comparison)
    for metric in ("mean_counts_sd_ratio", "log_left_right_ratio_sd_ratio"):
        assert 0.7 < by_cell(fair, metric)["unilateral"].value < 1.4
        assert by_cell(lost, metric)["unilateral"].value < 0.5


def test_a_lost_side_is_seen_by_the_signed_distance_alone() -> None:
    honest = honest_sample()
    ratios = honest.measures["log_left_right_ratio"]
    one_sided = np.where((ratios > 0)[:, None, None], honest.counts[:, :, ::-1], honest.counts)
    comparison = compare(toy_sample(np.ascontiguousarray(one_sided), honest.condition_index))
    before, after = by_cell(measure_side_balance(honest_comparison())), by_cell(measure_side_balance(comparison))
    for cell in before:
        assert after[cell].value > 2 * max(before[cell].value, before[cell].null)
    absolute = by_cell(measure_left_right(comparison))["unilateral"]
    assert abs(absolute.value - by_cell(measure_left_right(honest_comparison()))["unilateral"].value) < 0.005


def test_p_values_fall_with_the_size_of_the_shift() -> None:
    p = [
        by_cell(measure_p_values(compare(corrupt(lambda counts, s=s: counts * (1 + s)))), "mean_counts_p_value")[
            "normal"
        ].value
        for s in (0.0, 0.05, 0.1)
    ]
    assert p[0] > p[1] > p[2]
    assert p[2] < 1e-4


def test_power_rises_with_the_number_of_reference_slices() -> None:
    measured = by_cell(measure_mean_counts(honest_comparison()))
    assert measured["normal"].power > measured["COR/normal"].power


def test_the_left_raised_by_1_2_and_5_percent_ranks_in_order_at_every_threshold() -> None:
    by_share = [
        {m.metric: m.value for m in measure_thresholds(compare(corrupt(brighten_left(s)))) if m.cell == "normal"}
        for s in (0.0, 0.01, 0.02, 0.05)
    ]
    for threshold in (0.3, 0.5):
        metric = left_right_metric_at(Pattern.NORMAL, threshold)
        raised = [values[metric] - by_share[0][metric] for values in by_share[1:]]
        assert raised == pytest.approx(np.log1p([0.01, 0.02, 0.05]), abs=0.006)


def test_counts_in_the_mask_follow_counts_at_every_threshold() -> None:
    honest, raised = (
        {(m.metric, m.cell): m for m in measure_thresholds(comparison)}
        for comparison in (honest_comparison(), compare(corrupt(lambda counts: counts * 1.1)))
    )
    for threshold in (0.3, 0.4, 0.5):
        for pattern in Pattern:
            key = (mean_counts_metric_at(threshold), pattern)
            assert raised[key].value == pytest.approx(1.1 * honest[key].value, rel=0.004)
            assert 0 <= honest[key].power <= 1
    assert len(honest) == 3 * 5
