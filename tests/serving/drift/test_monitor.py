"""The monitor measures a sample beside the path of a request, and says what it has seen and what it has not."""

import json
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from serving.drift.gauges import DriftGauges
from serving.drift.monitor import DriftMonitor
from serving.drift.sample import MonitorSettings, choose_rows
from serving.metrics import ServiceMetrics
from spect.conditions import CONDITIONS, Condition, Level, Pattern
from spect.errors import BundleError, ConfigurationError
from spect.features import compute_features
from tests.support.drift_samples import SPACING_MM, draw_slices, profile_of
from tests.support.waiting import wait_for

NORMAL = Condition(Level.CORTEX, Pattern.NORMAL)
SHA, NEXT_SHA = "a" * 64, "b" * 64
ALL = MonitorSettings(sample_every=1, window_slices=32, cpu_share=1.0)


class Heard:
    """Metrics that keep what they are told."""

    def __init__(self) -> None:
        self.slices: list[tuple[Condition, float, float]] = []
        self.verdicts: list[tuple[str, str]] = []
        self.outcomes: Counter[str] = Counter()

    def observe_slice(self, condition, *, mean_counts, left_right_ratio) -> None:
        self.slices.append((condition, mean_counts, left_right_ratio))

    def count_drift_verdict(self, *, test, verdict) -> None:
        self.verdicts.append((test, verdict))

    def count_drift_slices(self, outcome, slices) -> None:
        self.outcomes[outcome] += slices


@pytest.fixture(scope="module")
def slices() -> np.ndarray:
    return draw_slices(400, np.random.default_rng(0))


@pytest.fixture(scope="module")
def profile(slices):
    return profile_of(compute_features(slices[:300], pixel_spacing_mm=SPACING_MM))


@pytest.fixture
def make_monitor(tmp_path: Path, profile):
    opened: list[DriftMonitor] = []

    def make(settings: MonitorSettings = ALL, *, path: Path | None = None, start: bool = True):
        heard = Heard()
        monitor = DriftMonitor(store=path or tmp_path / "windows.sqlite", metrics=heard, settings=settings)
        monitor.watch(SHA, profile, pixel_spacing_mm=SPACING_MM)
        if start:
            monitor.start()
        opened.append(monitor)
        return monitor, heard

    yield make
    for monitor in opened:
        monitor.close()


def _offer(monitor: DriftMonitor, counts: np.ndarray, *, seed: int = 7, start: int = 0, sha: str = SHA) -> None:
    monitor.offer(NORMAL, counts, seed=seed, indices=np.arange(start, start + len(counts)), model_sha256=sha)


def _report(monitor: DriftMonitor) -> dict:
    return json.loads(monitor.report().to_json())


def _condition(report: dict) -> dict:
    return next(one for one in report["conditions"] if (one["level"], one["pattern"]) == ("COR", "normal"))


def test_before_any_slice_every_condition_reads_not_enough_data(make_monitor) -> None:
    report = _report(make_monitor()[0])
    assert report["verdict"] == "not_enough_data"
    assert {one["verdict"] for one in report["conditions"]} == {"not_enough_data"}
    assert report["sampled"]["share"] is None
    assert len(report["conditions"]) == len(CONDITIONS)


def test_a_full_window_of_the_models_own_slices_is_judged_ok(make_monitor, slices) -> None:
    monitor, heard = make_monitor()
    _offer(monitor, slices[300:340])
    assert monitor.wait_until_idle()
    report = _report(monitor)
    condition = _condition(report)
    assert (condition["verdict"], condition["gathered"]) == ("ok", 8)
    assert condition["window"]["slices"] == 32
    assert {one["test"] for one in condition["window"]["judgements"]} == {"shift", "distance"}
    assert condition["window"]["statistics"]["mean_counts"]["mean"] == pytest.approx(50, rel=0.3)
    assert report["verdict"] == "not_enough_data"  # the other conditions were not served
    assert heard.verdicts == [("shift", "ok"), ("distance", "ok")]
    assert len(heard.slices) == 40
    assert heard.outcomes == {"offered": 40, "dropped": 0, "measured": 40}


def test_scaled_output_is_a_shift_and_is_told_to_the_metrics(make_monitor, slices) -> None:
    monitor, heard = make_monitor()
    _offer(monitor, slices[300:332] * np.float32(0.7))
    assert monitor.wait_until_idle()
    assert _condition(_report(monitor))["verdict"] == "drift"
    assert _report(monitor)["verdict"] == "drift"
    scores = _told_scores(monitor)
    assert scores["synspect_drift_score"] > scores["synspect_drift_threshold"]
    assert ("shift", "drift") in heard.verdicts


def _told_scores(monitor: DriftMonitor) -> dict[str, float]:
    """What Prometheus is told of the shift of mean counts; empty where that was not judged."""
    of_mean_counts = {"test": "shift", "feature": "mean_counts"}
    return {
        family.name: sample.value
        for family in DriftGauges(monitor.read_states).collect()
        for sample in family.samples
        if of_mean_counts.items() <= sample.labels.items()
    }


def test_a_server_that_starts_again_tells_the_last_windows_of_its_store(make_monitor, slices) -> None:
    monitor, _ = make_monitor()
    _offer(monitor, slices[300:332])
    assert monitor.wait_until_idle()
    told = _told_scores(monitor)
    monitor.close()
    again, heard = make_monitor()
    assert _told_scores(again) == told != {}
    assert heard.verdicts == []  # counted once, by the worker that judged


def test_the_same_slices_again_do_not_fill_a_window(make_monitor, slices) -> None:
    monitor, _ = make_monitor()
    for _ in range(3):
        _offer(monitor, slices[:20])
    assert monitor.wait_until_idle()
    condition = _condition(_report(monitor))
    assert (condition["gathered"], condition["window"]) == (20, None)


def test_offering_returns_at_once_and_what_finds_no_room_is_counted(make_monitor, slices) -> None:
    monitor, _ = make_monitor(MonitorSettings(sample_every=1, queue_slices=10), start=False)
    _offer(monitor, slices)  # nobody measures here: who waited for room would wait for ever
    sampled = _condition(_report(monitor))["sampled"]
    assert (sampled["offered"], sampled["dropped"]) == (400, 390)


def test_a_hot_swap_starts_new_windows_and_the_report_speaks_of_the_new_model(make_monitor, slices, profile) -> None:
    monitor, _ = make_monitor()
    _offer(monitor, slices[:32])
    assert monitor.wait_until_idle()
    monitor.watch(NEXT_SHA, profile, pixel_spacing_mm=SPACING_MM)
    _offer(monitor, slices[32:40])  # a request of the old model that ends late
    _offer(monitor, slices[40:45], sha=NEXT_SHA)
    assert monitor.wait_until_idle()
    report = _report(monitor)
    assert report["model_sha256"] == NEXT_SHA
    assert (_condition(report)["gathered"], _condition(report)["window"]) == (5, None)


def test_slices_of_a_model_that_is_not_watched_are_passed_over(make_monitor, slices) -> None:
    monitor, heard = make_monitor()
    _offer(monitor, slices[:5], sha="f" * 64)
    assert monitor.wait_until_idle()
    assert heard.slices == []


def test_a_slice_without_a_brain_is_counted_and_stops_nothing(make_monitor, slices) -> None:
    monitor, _ = make_monitor()
    blank = np.zeros((1, 64, 64), np.float32)
    _offer(monitor, np.concatenate([blank, slices[:3]]))
    assert monitor.wait_until_idle()
    sampled = _condition(_report(monitor))["sampled"]
    assert (sampled["unmeasurable"], sampled["measured"]) == (1, 3)


def test_a_broken_store_fails_no_request_and_is_said_in_the_report(make_monitor, slices, tmp_path, caplog) -> None:
    path = tmp_path / "broken.sqlite"
    path.write_bytes(b"no database" * 500)
    monitor, _ = make_monitor(path=path)
    _offer(monitor, slices[:4])
    assert monitor.wait_until_idle()
    report = _report(monitor)
    assert report["verdict"] == "not_enough_data"
    assert "broken.sqlite" in report["problem"]
    path.unlink()
    _offer(monitor, slices[4:8])
    assert monitor.wait_until_idle()
    report = _report(monitor)
    sampled = _condition(report)["sampled"]
    assert (sampled["lost"], sampled["measured"], sampled["offered"], report["problem"]) == (4, 4, 8, None)
    assert any("broken.sqlite" in record.message for record in caplog.records)


def test_two_monitors_on_one_store_fill_one_window(make_monitor, slices, tmp_path) -> None:
    first, _ = make_monitor(path=tmp_path / "shared.sqlite")
    second, _ = make_monitor(path=tmp_path / "shared.sqlite")
    _offer(first, slices[:20])
    _offer(second, slices[20:40], start=20)
    assert first.wait_until_idle()
    assert second.wait_until_idle()
    second.report()
    condition = _condition(_report(first))
    assert (condition["window"]["slices"], condition["gathered"], condition["sampled"]["offered"]) == (32, 8, 40)


def test_the_share_of_a_core_is_kept(make_monitor, slices) -> None:
    monitor, heard = make_monitor(MonitorSettings(sample_every=1, cpu_share=0.05))
    _offer(monitor, slices[:200])
    busy, passed = time.process_time(), time.monotonic()
    wait_for("a few slices measured", lambda: len(heard.slices) >= 8)
    assert time.process_time() - busy < 0.5 * (time.monotonic() - passed)
    assert len(heard.slices) < 200


def test_one_slice_in_sixty_four_is_chosen_the_same_everywhere() -> None:
    indices = np.arange(100_000)
    chosen = choose_rows(NORMAL, 7, indices, 64)
    assert len(chosen) == pytest.approx(100_000 / 64, rel=0.1)
    np.testing.assert_array_equal(
        choose_rows(NORMAL, 7, indices[500:600], 64), chosen[(chosen >= 500) & (chosen < 600)] - 500
    )
    assert not np.array_equal(choose_rows(NORMAL, 8, indices, 64), chosen)
    assert not np.array_equal(choose_rows(CONDITIONS[0], 7, indices, 64), chosen)
    assert np.array_equal(choose_rows(NORMAL, 2**53 - 1, indices[:5], 1), np.arange(5))


def test_first_slices_of_many_seeds_are_sampled_too() -> None:
    chosen = sum(len(choose_rows(NORMAL, seed, np.arange(1), 64)) for seed in range(20_000))
    assert chosen == pytest.approx(20_000 / 64, rel=0.2)


def test_a_window_larger_than_the_profile_supports_becomes_the_largest_supported(make_monitor) -> None:
    monitor, _ = make_monitor(MonitorSettings(window_slices=2048))
    assert _report(monitor)["window_slices"] == 32


def test_a_profile_with_unknown_features_is_refused(make_monitor, profile) -> None:
    monitor, _ = make_monitor()
    strange = profile.model_copy(update={"features": (*profile.features, "sparkle")})
    with pytest.raises(BundleError, match="sparkle"):
        monitor.watch(NEXT_SHA, strange, pixel_spacing_mm=SPACING_MM)


def test_a_profile_that_lacks_a_served_condition_is_refused(make_monitor, profile) -> None:
    monitor, _ = make_monitor()
    known = {name: entry for name, entry in profile.conditions.items() if name != str(NORMAL)}
    with pytest.raises(BundleError, match=f"lacks {NORMAL}"):
        monitor.watch(NEXT_SHA, profile.model_copy(update={"conditions": known}), pixel_spacing_mm=SPACING_MM)


def test_an_unexpected_error_loses_its_slice_and_stops_nothing(make_monitor, slices, caplog) -> None:
    monitor, heard = make_monitor()
    understand = heard.observe_slice

    def fail_once(*_args: object, **_labels: object) -> None:
        heard.observe_slice = understand
        raise ZeroDivisionError("nobody foresaw this")

    heard.observe_slice = fail_once
    _offer(monitor, slices[:1])
    assert monitor.wait_until_idle()
    assert "unexpected error" in _report(monitor)["problem"]
    _offer(monitor, slices[1:4])
    assert monitor.wait_until_idle()
    report = _report(monitor)
    sampled = _condition(report)["sampled"]
    assert (sampled["lost"], sampled["measured"], report["problem"]) == (1, 3, None)
    assert "nobody foresaw this" in caplog.text


def test_a_window_of_the_model_before_is_kept_out_of_the_scores(make_monitor, slices, profile) -> None:
    monitor, heard = make_monitor()
    monitor.watch(NEXT_SHA, profile, pixel_spacing_mm=SPACING_MM)
    _offer(monitor, slices[:32])
    assert monitor.wait_until_idle()
    assert _told_scores(monitor) == {}
    assert len(heard.verdicts) == 2


def test_without_a_model_there_is_nothing_to_report(tmp_path) -> None:
    with pytest.raises(ConfigurationError, match="no model"):
        DriftMonitor(store=tmp_path / "windows.sqlite", metrics=Heard()).report()


@pytest.mark.parametrize("change", [{"sample_every": 0}, {"cpu_share": 0.0}, {"cpu_share": 1.5}, {"queue_slices": 0}])
def test_settings_out_of_range_are_refused(change) -> None:
    with pytest.raises(ConfigurationError, match="must be"):
        MonitorSettings(**change)


def test_the_services_own_metrics_are_what_the_monitor_speaks_to(tmp_path, slices, profile) -> None:
    metrics = ServiceMetrics()
    monitor = DriftMonitor(store=tmp_path / "windows.sqlite", metrics=metrics, settings=ALL)
    monitor.watch(SHA, profile, pixel_spacing_mm=SPACING_MM)
    monitor.start()
    _offer(monitor, slices[300:332])
    assert monitor.wait_until_idle()
    metrics.attach(DriftGauges(monitor.read_states))
    text = metrics.render().decode()
    monitor.close()
    assert 'synspect_drift_score{feature="mean_counts",level="COR",pattern="normal",test="shift"}' in text
    assert 'synspect_drift_verdicts_total{test="distance",verdict="ok"} 1.0' in text
