"""What Prometheus sees of one worker; two workers are seen in test_server.py."""

import itertools
import sys
import threading
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from serving.drift.gauges import DriftGauges
from serving.drift.window_store import CompleteWindow, ConditionState, SliceOutcome
from serving.metrics import (
    INVALID_REASONS,
    MULTIPROCESS_VARIABLE,
    REJECTIONS,
    ROUTE_STATUSES,
    ServiceMetrics,
    forget_dead_workers,
)
from serving.problems import KINDS
from spect.conditions import CONDITIONS
from spect.judgement import DriftTest, DriftVerdict

NAMES = {
    "slices_generated_total",
    "request_duration_seconds_count",
    "queue_wait_seconds_count",
    "inference_duration_seconds_count",
    "inference_batch_slices_count",
    "queue_slices",
    "rejected_requests_total",
    "model_info",
    "model_reloads_total",
    "mean_counts_count",
    "left_right_ratio_count",
    "drift_slices_total",
    "drift_verdicts_total",
    "invalid_slices_total",
}
ASKED = {"level": "COR", "pattern": "normal", "count": 5, "seed": 1}


def read(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name.removeprefix("synspect_"), frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: dict, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def test_every_series_of_a_closed_set_is_there_before_anything_happened() -> None:
    metrics = ServiceMetrics()
    metrics.set_model(version="1", sha256="ab", provider="cpu", reference_source="simulated", promotion="gates")
    samples = read(metrics.render().decode())
    assert {name for name, _ in samples} >= NAMES
    for condition in CONDITIONS:
        assert value(samples, "slices_generated_total", level=condition.level, pattern=condition.pattern) == 0
    for reason in REJECTIONS:
        assert value(samples, "rejected_requests_total", reason=reason) == 0
    for test, verdict in itertools.product(DriftTest, DriftVerdict):
        assert value(samples, "drift_verdicts_total", test=test, verdict=verdict) == 0
    for outcome in SliceOutcome:
        assert value(samples, "drift_slices_total", outcome=outcome) == 0
    for reason in INVALID_REASONS:
        assert value(samples, "invalid_slices_total", reason=reason) == 0
    for route, statuses in ROUTE_STATUSES.items():
        for status in statuses:
            assert value(samples, "request_duration_seconds_count", route=route, status=str(status)) == 0


def test_what_is_served_and_refused_is_counted(client) -> None:
    assert client.post("/v1/slices", json=ASKED).status_code == 200
    assert client.post("/v1/slices", json={**ASKED, "count": 0}).status_code == 422
    client.get("/nowhere/17")
    client.get("/nowhere/18")
    client.get("/v1/slices")
    broken = client.post("/v1/quantify", content=b"none", headers={"Content-Type": "multipart/form-data"})
    assert broken.status_code == 400
    samples = read(client.get("/metrics").text)
    assert value(samples, "slices_generated_total", level="COR", pattern="normal") == 5
    assert value(samples, "request_duration_seconds_count", route="/v1/slices", status="200") == 1
    assert value(samples, "request_duration_seconds_count", route="/v1/slices", status="422") == 1
    assert value(samples, "rejected_requests_total", reason="request") == 1
    assert value(samples, "rejected_requests_total", reason="not_found") == 2
    assert value(samples, "rejected_requests_total", reason="method_not_allowed") == 1
    assert value(samples, "rejected_requests_total", reason="malformed") == 1
    assert value(samples, "inference_batch_slices_sum") == 5
    assert value(samples, "request_duration_seconds_count", route="other", status="404") == 2
    assert not any("nowhere" in str(labels) for _, labels in samples)


def test_only_the_model_that_answers_is_told() -> None:
    metrics = ServiceMetrics()
    labels = {"provider": "cpu", "reference_source": "simulated", "promotion": "gates"}
    metrics.set_model(version="1", sha256="ab", **labels)
    metrics.set_model(version="2", sha256="cd", **labels)
    told = [dict(names)["version"] for name, names in read(metrics.render().decode()) if name == "model_info"]
    assert told == ["2"]


def test_scores_are_those_of_the_store_and_absent_where_nothing_was_judged() -> None:
    judged = {"test": "shift", "feature": "mean_counts", "level": "COR", "pattern": "normal", "verdict": "ok"}
    unjudged = {**judged, "test": "distance", "verdict": "not_enough_data"}
    window = CompleteWindow(
        number=3,
        completed_at=1e9,
        slices=32,
        statistics={},
        judgements=[{**judged, "score": 4.0, "threshold": 9.5}, unjudged],
    )
    states: dict[str, ConditionState] = {"BG/normal": ConditionState(gathered=3)}
    metrics = ServiceMetrics()
    metrics.attach(DriftGauges(lambda: states))
    before = read(metrics.render().decode())
    assert value(before, "drift_last_window_timestamp_seconds") == 0
    assert not {name for name, _ in before} & {"drift_score", "drift_threshold"}
    states["COR/normal"] = ConditionState(window=window)
    after = read(metrics.render().decode())
    labels = {name: judged[name] for name in ("test", "feature", "level", "pattern")}
    assert value(after, "drift_score", **labels) == 4.0
    assert value(after, "drift_threshold", **labels) == 9.5
    assert value(after, "drift_last_window_timestamp_seconds") == 1e9
    assert sum(name == "drift_score" for name, _ in after) == 1


def test_workers_that_start_together_forget_the_dead_together(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv(MULTIPROCESS_VARIABLE, str(tmp_path))
    for pid in range(2**22 + 1, 2**22 + 301):  # above any process number of Linux
        (tmp_path / f"gauge_livesum_{pid}.db").touch()
    together, failures = threading.Barrier(8), []

    def start() -> None:
        together.wait()
        try:
            forget_dead_workers()
        except OSError as error:
            failures.append(error)

    workers = [threading.Thread(target=start) for _ in range(8)]
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads take turns as often as processes do
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(usual)
    assert failures == []
    assert list(tmp_path.iterdir()) == []


def test_every_refusal_of_the_problem_table_has_a_series() -> None:
    names = {kind.name for _, kind in KINDS}
    assert names - {"internal", "invalid_output"} <= set(REJECTIONS)
