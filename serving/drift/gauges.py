"""How the last complete windows were judged, as gauges that are read from the workers' one store at each scrape.

What GET /v1/drift answers and what Prometheus scrapes is one thing: it outlives a worker and a restart, and speaks of
the model that answers now. A feature that was not judged has no series: no data never reads as no drift.
"""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from serving.drift.window_store import ConditionState

_LABELS = ("test", "feature", "level", "pattern")


class DriftGauges(Collector):
    """Scores, thresholds and the time of the last window of the model that answers now.

    `read` returns how each condition stands; nothing where there is no model or the store is broken.
    """

    def __init__(self, read: Callable[[], Mapping[str, ConditionState]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        """Read the store once."""
        windows = [state.window for state in self._read().values() if state.window is not None]
        score = GaugeMetricFamily("synspect_drift_score", "Score of the last complete window", labels=_LABELS)
        threshold = GaugeMetricFamily("synspect_drift_threshold", "Score above which it is drift", labels=_LABELS)
        last = GaugeMetricFamily(
            "synspect_drift_last_window_timestamp_seconds",
            "When a window of this model was last judged, in Unix time; 0 for never",
            value=max((window.completed_at for window in windows), default=0.0),
        )
        for judgement in (judgement for window in windows for judgement in window.judgements):
            if "score" in judgement:
                labels = [judgement[name] for name in _LABELS]
                score.add_metric(labels, judgement["score"])
                threshold.add_metric(labels, judgement["threshold"])
        return (score, threshold, last)
