"""Plan, tables and figures of the study, from results made by hand."""

import pytest
from study.arms import compute_training_seconds
from study.estimate import estimate_hours
from study.figures import draw_figures
from study.plan import ABLATIONS, Arm, build_plan
from study.report import render_report
from study.results import ArmResult
from study.summary import count_agreement, count_verdicts, finds_difference
from study.tables import tabulate_ablations, tabulate_equivalence, tabulate_p_values

from registry.bundle.panel import Measurement, Panel
from spect.conditions import Pattern
from tests.support.study_results import RECORD, build_arm, build_result
from training.presets import PRESETS
from training.validation.left_right import left_right_metric

SCALE = RECORD.scale


def _panel(measurements: list[Measurement]) -> Panel:
    return Panel(
        onnx_sha256="0" * 64,
        cohort_fingerprint="c",
        cohort_source="simulated",
        training_fingerprint=None,
        git_commit="0" * 40,
        created_at="2026-01-01T00:00:00+00:00",
        quick=False,
        seed=1,
        seconds=1.0,
        measurements=tuple(measurements),
    )


def _p_values(p: float) -> list[Measurement]:
    return [
        Measurement(metric=f"{quantity}_p_value", cell=pattern, value=p, null=0.5, floor=0.25)
        for quantity in ("mean_counts", "log_left_right_ratio")
        for pattern in Pattern
    ]


def _result(arm: Arm, *, p: float = 0.6, ratio: float = 1.0, auc: float = 0.9, **changes: object) -> ArmResult:
    verdict = "equivalent" if abs(ratio - 1) < 0.03 else "different"
    measurements = _p_values(p)
    for pattern in Pattern:
        for metric, value in (("mean_counts_ratio", ratio), (left_right_metric(pattern), ratio - 1)):
            measurements.append(
                Measurement(metric=metric, cell=pattern, value=value, null=1.01, floor=0.97, verdict=verdict)
            )
    measurements.append(
        Measurement(metric="c2st_auc_beyond_conditioned", cell="all", value=auc, low=auc - 0.01, high=auc + 0.01)
    )
    values = {"against_training": tuple(_p_values(p)), "panel": _panel(measurements)}
    return build_result(arm, **(values | changes))


def test_every_ablation_is_one_setting_away_from_ours_and_sees_as_many_images() -> None:
    ours = build_arm().config(SCALE)
    assert ours.collapse_limit is None, "an arm that collapses is measured, not stopped"
    for change in ABLATIONS:
        differences = build_arm(change=change).config(SCALE).differences(ours)
        assert list(differences) == [change.partition("=")[0]], change
    assert ours.images == build_arm(configuration="paper").config(SCALE).images == 16_000


def test_the_authors_configuration_is_scaled_in_nothing_but_its_size() -> None:
    changed = build_arm(configuration="paper").config(SCALE).differences(PRESETS["paper"])
    assert set(changed) == {"matrix", "width", "images", "checkpoint_every"}


def test_a_study_cut_short_has_compared_all_configurations_once_before_it_repeats_any() -> None:
    plan = build_plan(seeds=[3, 4])
    assert [arm.name for arm in plan[:4]] == ["A-paper-seed3", "A-ours-seed3", "B-paper-seed3", "B-ours-seed3"]
    assert all(arm.change for arm in plan[4:-4])
    assert {arm.seed for arm in plan[-4:]} == {4}
    assert len({arm.name for arm in plan}) == len(plan) == 8 + len(ABLATIONS)


def test_p_values_stand_beside_the_abstracts_with_every_seed() -> None:
    results = [
        _result(build_arm("B", "paper", 0), p=0.3),
        _result(build_arm("B", "ours", 0), p=0.02),
        _result(build_arm("B", "ours", 1), p=0.00001),
    ]
    table = tabulate_p_values(results, against="unseen")
    assert "| mean counts, B, normal | < 0.0001 | 0.3 | 0.02; < 0.0001 | 0.5 | 0.25 |" in table
    assert "| left/right ratio, A, unilateral | 0.03 | – | – | – | – |" in table


def test_the_abstract_is_agreed_with_where_a_p_value_falls_on_its_side_of_five_percent() -> None:
    assert [finds_difference(p) for p in ("0.8", ">= 0.08", "0.03", "<= 0.01", "< 0.0001")] == [
        False,
        False,
        True,
        True,
        True,
    ]
    # The abstract finds one difference among the six of dataset A, and five among the six of B.
    results = [_result(build_arm("A"), p=0.6), _result(build_arm("B"), p=0.6)]
    assert count_agreement(results[:1], "ours", against="training") == (5, 6)
    assert count_agreement(results, "ours", against="unseen") == (6, 12)


def test_verdicts_are_counted_and_printed_beside_the_value() -> None:
    results = [_result(build_arm("A"), ratio=1.01), _result(build_arm("A", seed=1), ratio=1.2)]
    assert count_verdicts(results, "ours") == {"equivalent": 6, "inconclusive": 0, "different": 6}
    table = tabulate_equivalence(results)
    assert "| mean counts, A, normal | – | 1.01 equivalent; 1.20 different | 1.01 | 0.97 |" in table


def test_an_arm_that_diverged_is_told_and_not_left_out() -> None:
    diverged = {"outcome": "no generator", "reason": "it diverged", "panel": None, "against_training": ()}
    results = [_result(build_arm()), _result(build_arm(change="lecam_weight=0"), **diverged)]
    assert "| `lecam_weight=0`: no LeCam | no generator |" in tabulate_ablations(results)
    figures = draw_figures(results)
    text = render_report(RECORD, results, figures)
    assert "no generator: it diverged" in text
    assert "**simulated (simulator 2)**: nothing here is evidence about patients" in text
    assert text.count("16,000 images seen by every arm") == 8, "under every table"
    assert set(figures) == {"equivalence.png", "told-apart.png", "ablations.png"}


def test_hours_are_those_of_the_training_and_not_of_the_night_between() -> None:
    night = 8 * 3600.0
    times = [100.0, 110.0, 120.0, 120.0 + night, 130.0 + night]
    lines = [{"images_seen": 320.0 * (i + 1), "unix_time": t, "images_per_second": 32.0} for i, t in enumerate(times)]
    assert compute_training_seconds(lines) == pytest.approx(10 + 10 + 10 + 10 + 10)
    assert compute_training_seconds([]) == 0


def test_hours_are_estimated_by_the_arms_that_are_done() -> None:
    assert estimate_hours(build_arm(), SCALE, [], images_per_second=16_000 / 3600)[0] == pytest.approx(1.0)
    done = [_result(build_arm(seed=1))]
    assert estimate_hours(build_arm(), SCALE, done, images_per_second=1.0) == pytest.approx((0.5, 0.25))
