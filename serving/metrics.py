"""Every Prometheus series of the service, in one class with closed label sets.

prometheus_client chooses its storage (this process, or files that all workers share) when it is first imported, by
PROMETHEUS_MULTIPROC_DIR. BentoML sets that for its workers: build this class there, never at import.
"""

import itertools
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from serving.drift.window_store import SliceOutcome
from serving.problems import HTTP_REASONS, KINDS
from spect.conditions import CONDITIONS, Condition

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
OTHER_ROUTE = "other"  # every path that is not served: paths are the client's to invent, labels are not

# Routes with the statuses that each is expected to give: touched at start, so that rate() sees the first increment.
_GUARDED = (401, 403, 405, 429, 500, 503)  # of every route that asks who is there and works for the answer
ROUTE_STATUSES: Mapping[str, tuple[int, ...]] = {
    "/v1/slices": (200, 400, 405, 406, 413, 415, 422, 499, 504, *_GUARDED),
    "/v1/quantify": (200, 400, 405, 413, 415, 422, 499, 504, *_GUARDED),
    "/v1/conditions": (200, 405, *_GUARDED),
    "/v1/model": (200, 405, *_GUARDED),
    "/v1/drift": (200, 405, *_GUARDED),
    "/v1/drift/check": (200, 400, 405, 406, 413, 415, 422, 499, 504, *_GUARDED),
    "/": (200, 403, 405),
    "/page": (200, 403, 405),
    "/docs": (200, 403, 405),
    "/openapi.json": (200, 403, 405),
    "/livez": (200, 405),
    "/healthz": (200, 405),
    "/readyz": (200, 405, 503),
    "/metrics": (200, 405, *_GUARDED),
    OTHER_ROUTE: (404,),
}
# By the service itself, by the framework that parses requests, and by clients that went away.
REJECTIONS = (
    "abandoned",
    *sorted({*(kind.name for _, kind in KINDS), *HTTP_REASONS.values()} - {"internal", "invalid_output"}),
)
# Why an answer that had begun was cut off.
INCOMPLETE_REASONS = ("deadline", "invalid_output", "overloaded", "internal")
INVALID_REASONS = ("not_finite", "out_of_range", "constant", "not_measurable")
RELOAD_RESULTS = ("swapped", "refused")
TESTS = ("shift", "distance")
VERDICTS = ("ok", "drift", "not_enough_data", "not_comparable")

_MODEL_LABELS = ("version", "sha256", "provider", "reference_source", "promotion")
_CONDITION_LABELS = ("level", "pattern")
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_BATCH_SLICES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
# The unit of counts is the training cohort's: steps of about 10 % from 1 to 1,000 hold any of them.
_MEAN_COUNTS = tuple(round(10 ** (step / 24), 3) for step in range(73))
_RATIOS = (
    0.5,
    0.6,
    0.7,
    0.8,
    0.85,
    0.9,
    0.94,
    0.96,
    0.98,
    0.99,
    1.01,
    1.02,
    1.04,
    1.06,
    1.1,
    1.15,
    1.25,
    1.4,
    1.7,
    2.0,
)


class ServiceMetrics:
    """Counts, durations and gauges of one worker; `render` tells those of all workers."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._registry = registry or CollectorRegistry()
        self._further: list[Collector] = []
        self._model: tuple[str, ...] | None = None
        self._slices = self._counter("slices_generated", "Slices sent to clients", _CONDITION_LABELS)
        self._requests = self._histogram("request_duration_seconds", "Time of a request", _SECONDS, ("route", "status"))
        self._queue_wait = self._histogram("queue_wait_seconds", "Wait of a request for its first batch", _SECONDS)
        self._inference = self._histogram("inference_duration_seconds", "Time of one run of the generator", _SECONDS)
        self._batch = self._histogram("inference_batch_slices", "Slices of one run of the generator", _BATCH_SLICES)
        self._queue = self._gauge("queue_slices", "Slices that wait for the generator", "livesum")
        self._rejected = self._counter(
            "rejected_requests", "Requests not served, by reason, unknown paths and methods too", ("reason",)
        )
        self._info = self._gauge("model_info", "1 for the model that answers now", "livemax", _MODEL_LABELS)
        self._reloads = self._counter("model_reloads", "Bundles that replaced another, or were refused", ("result",))
        self._incomplete = self._counter(
            "incomplete_answers", "Answers cut off after their first bytes, by reason", ("reason",)
        )
        self._invalid = self._counter("invalid_slices", "Slices that were generated and withheld", ("reason",))
        self._mean_counts = self._histogram(
            "mean_counts", "Mean counts of sampled slices", _MEAN_COUNTS, _CONDITION_LABELS
        )
        self._ratio = self._histogram("left_right_ratio", "Left/right of sampled slices", _RATIOS, _CONDITION_LABELS)
        self._verdicts = self._counter("drift_verdicts", "Verdicts of windows", ("test", "verdict"))
        self._watched = self._counter("drift_slices", "Slices that the watch for drift met", ("outcome",))
        self._touch()

    def _counter(self, name: str, what: str, labels: Iterable[str] = ()) -> Counter:
        return Counter(name, what, tuple(labels), namespace="synspect", registry=self._registry)

    def _histogram(self, name: str, what: str, buckets: Iterable[float], labels: Iterable[str] = ()) -> Histogram:
        bounds = tuple(map(float, buckets))
        return Histogram(name, what, tuple(labels), namespace="synspect", buckets=bounds, registry=self._registry)

    def _gauge(self, name: str, what: str, mode: str, labels: Iterable[str] = ()) -> Gauge:
        return Gauge(
            name,
            what,
            tuple(labels),
            namespace="synspect",
            multiprocess_mode=mode,  # type: ignore[arg-type]
            registry=self._registry,
        )

    def _touch(self) -> None:
        """Make every series of a closed set appear at 0."""
        series: list[tuple[Counter | Histogram, Iterable[tuple[str, ...]]]] = [
            (self._slices, map(_words, CONDITIONS)),
            (self._mean_counts, map(_words, CONDITIONS)),
            (self._ratio, map(_words, CONDITIONS)),
            (self._requests, ((route, str(status)) for route, known in ROUTE_STATUSES.items() for status in known)),
            (self._rejected, zip(REJECTIONS, strict=True)),
            (self._incomplete, zip(INCOMPLETE_REASONS, strict=True)),
            (self._invalid, zip(INVALID_REASONS, strict=True)),
            (self._reloads, zip(RELOAD_RESULTS, strict=True)),
            (self._verdicts, itertools.product(TESTS, VERDICTS)),
            (self._watched, zip(SliceOutcome, strict=True)),
        ]
        for metric, label_sets in series:
            for labels in label_sets:
                metric.labels(*labels)
        self._queue.set(0)

    def count_slices(self, condition: Condition, slices: int) -> None:
        """Count slices that left the service."""
        self._slices.labels(*_words(condition)).inc(slices)

    def observe_request(self, route: str, status: int, seconds: float) -> None:
        """Time a request; a route outside the closed set is "other"."""
        route = route if route in ROUTE_STATUSES else OTHER_ROUTE
        self._requests.labels(route, str(status)).observe(seconds)

    def observe_queue_wait(self, seconds: float) -> None:
        """Time from a request's arrival to its first batch."""
        self._queue_wait.observe(seconds)

    def observe_inference(self, slices: int, seconds: float) -> None:
        """Time and size of one run of the generator."""
        self._inference.observe(seconds)
        self._batch.observe(slices)

    def set_queue_slices(self, slices: int) -> None:
        """Say how many slices wait in this worker."""
        self._queue.set(slices)

    def count_rejection(self, reason: str) -> None:
        """Count a request that was not served; `reason` is a name of the problem table, or "abandoned"."""
        if reason in REJECTIONS:
            self._rejected.labels(reason).inc()

    def count_incomplete_answer(self, reason: str) -> None:
        """Count an answer that was cut off; `reason` is a name of the problem table."""
        self._incomplete.labels(reason if reason in INCOMPLETE_REASONS else "internal").inc()

    def count_invalid_slices(self, reason: str, slices: int) -> None:
        """Count slices that were generated and must not be sent."""
        self._invalid.labels(reason if reason in INVALID_REASONS else INVALID_REASONS[0]).inc(slices)

    def count_reload(self, result: str) -> None:
        """Count a bundle that took another's place ("swapped"), or one that was tried and not taken ("refused")."""
        self._reloads.labels(result).inc()

    def set_model(self, *, version: str, sha256: str, provider: str, reference_source: str, promotion: str) -> None:
        """Say which model answers now; what was told of another one before is left out by `render`."""
        if self._model is not None:
            self._info.labels(*self._model).set(0)
        self._model = (version, sha256, provider, reference_source, promotion)
        self._info.labels(*self._model).set(1)

    def observe_slice(self, condition: Condition, *, mean_counts: float, left_right_ratio: float) -> None:
        """Record what one sampled slice measures."""
        self._mean_counts.labels(*_words(condition)).observe(mean_counts)
        self._ratio.labels(*_words(condition)).observe(left_right_ratio)

    def count_drift_verdict(self, *, test: str, verdict: str) -> None:
        """Count the verdict of one test of a window."""
        self._verdicts.labels(test, verdict).inc()

    def count_drift_slices(self, outcome: SliceOutcome, slices: int) -> None:
        """Count what became of slices that the watch for drift met."""
        self._watched.labels(outcome).inc(slices)

    def attach(self, collector: Collector) -> None:
        """Tell, beside what this class counts, what a collector reads at each scrape."""
        self._further.append(collector)

    def render(self) -> bytes:
        """Return the text that Prometheus scrapes, of all workers of this server."""
        source: Collector = self._registry
        if MULTIPROCESS_VARIABLE in os.environ:
            source = MultiProcessCollector(None)  # type: ignore[no-untyped-call]
        registry = CollectorRegistry()
        registry.register(_WithoutPastModels(source))
        for collector in self._further:
            registry.register(collector)
        return generate_latest(registry)


class _WithoutPastModels(Collector):
    """Leaves out what was told of models that answer no more: shared files cannot forget a series."""

    def __init__(self, source: Collector) -> None:
        self._source = source

    def collect(self) -> Iterable[Metric]:
        for metric in self._source.collect():
            if metric.name == "synspect_model_info":
                metric.samples = [sample for sample in metric.samples if sample.value]
            yield metric


def forget_dead_workers() -> None:
    """Remove the live gauges of workers that were killed, so that sums over live workers are true."""
    directory = os.environ.get(MULTIPROCESS_VARIABLE)
    if not directory:
        return
    for path in Path(directory).glob("gauge_live*_*.db"):
        pid = path.stem.rpartition("_")[2]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            path.unlink(missing_ok=True)  # another worker that starts now may have been faster


def _words(condition: Condition) -> tuple[str, str]:
    return condition.level.value, condition.pattern.value
