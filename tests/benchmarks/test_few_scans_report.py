"""The gain over seeds, its interval and what is said of it."""

import numpy as np
import pytest
import scipy.stats
from study.plan import Scale
from tenth.report import gain_of, render_report
from tenth.results import SeedResult, TenthRecord

from training.validation.lessons import Lesson, compute_gain

# Student's sleep data (1908), the ten differences; t.test of R gives 0.7001142 to 2.4598858.
SLEEP = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]

RECORD = TenthRecord(
    scale=Scale(matrix=64, width=16, images=8000),
    principal_scores=8,
    slices=500,
    training_fingerprint="a" * 64,
    training_source="simulated",
    training_simulator_version="2",
    test_fingerprint="b" * 64,
)


def _lesson(accuracy: float) -> Lesson:
    return Lesson(balanced_accuracy=accuracy, auc=accuracy + 0.1)


def _result(seed: int, few: float, gain: float, *, reason: str | None = None) -> SeedResult:
    lessons = {
        "few": _lesson(few),
        "few_gaussian": _lesson(few + 0.01),
        "all": _lesson(few + 0.2),
    }
    if reason is None:
        lessons |= {"few_synthetic": _lesson(few + gain), "synthetic": _lesson(few - 0.1)}
    return SeedResult(
        seed=seed,
        outcome="measured" if reason is None else "not measurable",
        reason=reason,
        tenth_fingerprint=f"{seed}" * 64,
        patients=41,
        slices_few=94,
        slices_trained=71,
        slices_rest=844,
        slices_synthetic=4000,
        slices_judged=4000,
        images_seen=8000,
        training_hours=0.25,
        measuring_hours=0.5,
        machine="2 cores of an abacus",
        precision="32-true",
        trained_commit="c" * 40,
        measured_commit=f"{'d' * 40}-dirty",
        changed_settings={},
        finished_at="2026-01-01T00:00:00+00:00",
        lessons=lessons,
    )


def test_the_interval_is_student_s() -> None:
    gain = compute_gain(SLEEP)
    assert gain.mean == pytest.approx(1.58)
    assert (gain.low, gain.high) == pytest.approx((0.7001142, 2.4598858), abs=1e-6)


def test_one_seed_has_no_interval() -> None:
    assert (compute_gain([0.1]).low, compute_gain([0.1]).high) == (None, None)
    text = render_report(RECORD, [_result(0, 0.6, 0.05)])
    assert "+0.050 (95 % interval –) over 1 seed (5 are asked for): one seed has no interval." in text


@pytest.mark.parametrize(
    ("gains", "words"),
    [
        ([0.05, 0.06, 0.04, 0.05, 0.07], "a gain"),
        ([-0.05, -0.06, -0.04, -0.05, -0.07], "a loss"),
        ([0.05, -0.06, 0.04, -0.05, 0.07], "neither a gain nor a loss is shown"),
    ],
)
def test_the_differences_are_taken_within_each_seed(gains: list[float], words: str) -> None:
    results = [_result(seed, 0.5 + 0.1 * seed, gain) for seed, gain in enumerate(gains)]  # seeds far apart

    gain, seeds = gain_of(results, "few_synthetic", "few", lambda lesson: lesson.balanced_accuracy)

    reach = scipy.stats.t.ppf(0.975, 4) * np.std(gains, ddof=1) / np.sqrt(5)
    assert seeds == 5
    assert gain.mean == pytest.approx(np.mean(gains))
    assert (gain.low, gain.high) == pytest.approx((np.mean(gains) - reach, np.mean(gains) + reach))
    text = render_report(RECORD, results)
    shown = f"{gain.mean:+.3f} (95 % interval {gain.low:+.3f} to {gain.high:+.3f})"
    assert f"change balanced accuracy by {shown} over 5 seeds: {words}." in text
    assert text.count(f"| + synthetic, over real 10 % | {shown} | 5 | {words} |") == 2  # of accuracy and of AUC
    assert "| + Gaussian, over real 10 % | +0.010 (95 % interval +0.010 to +0.010) | 5 | a gain |" in text


def test_a_seed_without_synthetic_slices_is_named_and_not_counted() -> None:
    text = render_report(RECORD, [_result(0, 0.6, 0.05), _result(1, 0.6, 0.07), _result(2, 0.6, 0, reason="no brain")])
    assert "over 2 seeds (5 are asked for)" in text
    assert "Not measured with synthetic slices: seed 2: not measurable (no brain)." in text
    assert "| 2 | 0.600 | – | 0.610 | 0.800 | – |" in text
    assert "| + Gaussian, over real 10 % | +0.010 (95 % interval +0.010 to +0.010) | 3 | a gain |" in text


def test_the_report_says_that_the_cohort_is_simulated_with_cohorts_hours_machine_and_commit() -> None:
    text = render_report(RECORD, [_result(0, 0.6, 0.05), _result(1, 0.6, 0.07)])
    assert "**simulated (simulator 2)**: nothing here is evidence about patients" in text
    assert "cohort aaaaaaaaaaaa" in text
    assert "cohort bbbbbbbbbbbb" in text
    assert "| 1 | 41 | 94 (71) | 111111111111 | 8,000 | 0.25 + 0.50 | 2 cores of an abacus, 32-true |" in text
    assert "cccccccccccc, dddddddddddd-dirty" in text
    assert "0.5 hours of training and 1.0 of generating" in text
