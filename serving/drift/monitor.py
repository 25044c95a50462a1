"""Watch what is served: measure a sample of the slices beside the request path, and judge each full window.

Of every condition one slice in 64 is measured, chosen by a hash of its seed and index: no client can see which, and
the same slice is chosen or passed over wherever it is made. One background thread a worker measures at low priority
and rests so long that it stays within its share of a core; what waits is bounded, what finds no room is counted and
dropped. Offer only slices that the model drew by itself: a slice made to an asked quantity is not the model's own.
"""

import contextlib
import logging
import os
import queue
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from serving.drift.answers import DriftAnswer
from serving.drift.report import build_report
from serving.drift.sample import MonitorSettings, choose_rows
from serving.drift.window_store import CompleteWindow, ConditionState, MeasuredSlice, SliceOutcome, WindowStore
from spect.conditions import CONDITIONS, Condition
from spect.drift import judge_window
from spect.errors import BundleError, ConfigurationError, QuantificationError, StoreError
from spect.features import FEATURES, LOG_LEFT_RIGHT_RATIO, MEAN_COUNTS, compute_features
from spect.judgement import DriftTest, DriftVerdict, worst_verdict
from spect.profile import ReferenceProfile
from spect.slices import Counts

_MODELS_WATCHED = 2  # the one that answers and the one whose last requests are ending
_NICENESS = 10
_TALLY_SECONDS = 2.0  # how often counts of slices are written while nothing is measured

logger = logging.getLogger(__name__)


class DriftMetrics(Protocol):
    """What the monitor tells Prometheus; `serving.metrics.ServiceMetrics` in the service, a list in tests."""

    def observe_slice(self, condition: Condition, *, mean_counts: float, left_right_ratio: float) -> None:
        """Record what one sampled slice measures."""

    def count_drift_verdict(self, *, test: str, verdict: str) -> None:
        """Count the verdict of one test of a window."""

    def count_drift_slices(self, outcome: SliceOutcome, slices: int) -> None:
        """Count what became of slices that the watch for drift met."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Watched:
    """A model that slices are offered of."""

    sha256: str
    profile: ReferenceProfile
    pixel_spacing_mm: float
    window_slices: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offer:
    model: _Watched
    condition: Condition
    counts: Counts
    seed: int
    indices: NDArray[np.int64]


class DriftMonitor:
    """One worker's part in watching a server; `offer` never waits and never raises for a store that is broken."""

    def __init__(
        self, *, store: WindowStore | Path, metrics: DriftMetrics, settings: MonitorSettings | None = None
    ) -> None:
        self._store = store if isinstance(store, WindowStore) else WindowStore(store)
        self._metrics = metrics
        self._settings = settings or MonitorSettings()
        self._models: dict[str, _Watched] = {}
        self._offers: queue.Queue[_Offer | None] = queue.Queue()  # None wakes the thread to stop
        self._lock = threading.Lock()  # guards the models, the tallies and the number of waiting slices
        self._tallies: Counter[tuple[str, Condition, SliceOutcome]] = Counter()
        self._waiting = 0
        self._problem: str | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, model_sha256: str, profile: ReferenceProfile, *, pixel_spacing_mm: float) -> None:
        """Take up a model, at start and at every swap: its windows start empty, and `report` speaks of it.

        Raises `BundleError` where the profile asks for features that this version does not measure, or does not know a
        condition that is served.
        """
        unknown = set(profile.features) - set(FEATURES)
        if unknown:
            raise BundleError(
                f"the reference profile has features unknown here: {', '.join(sorted(unknown))}; update synspect"
            )
        missing = [str(condition) for condition in CONDITIONS if str(condition) not in profile.conditions]
        if missing:
            raise BundleError(f"the reference profile lacks {', '.join(missing)}; release the model again")
        size = max((size for size in profile.windows if size <= self._settings.window_slices), default=0)
        watched = _Watched(
            sha256=model_sha256,
            profile=profile,
            pixel_spacing_mm=pixel_spacing_mm,
            window_slices=size or min(profile.windows),
        )
        with self._lock:
            self._models.pop(model_sha256, None)
            self._models[model_sha256] = watched
            while len(self._models) > _MODELS_WATCHED:
                self._models.pop(next(iter(self._models)))

    def start(self) -> None:
        """Start the background thread."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="synspect-drift", daemon=True)
            self._thread.start()

    def close(self, timeout_seconds: float = 5.0) -> None:
        """Stop the thread after the slice it measures, write the counts and let go of the store."""
        self._stop.set()
        self._offers.put_nowait(None)
        if self._thread is not None:
            self._thread.join(timeout_seconds)
        self._write_tallies()
        self._store.close()

    def offer(
        self, condition: Condition, counts: Counts, *, seed: int, indices: NDArray[np.int64], model_sha256: str
    ) -> None:
        """Offer served slices (n, rows, columns) of one condition and seed; keeps copies of the few it measures.

        Slices of a model that is not watched are passed over.
        """
        chosen = choose_rows(condition, seed, indices, self._settings.sample_every)
        with self._lock:
            model = self._models.get(model_sha256)
            if model is None:
                return
            room = max(self._settings.queue_slices - self._waiting, 0)
            kept, dropped = chosen[:room], chosen[room:]
            self._waiting += len(kept)
            self._tallies[model_sha256, condition, SliceOutcome.OFFERED] += len(counts)
            self._tallies[model_sha256, condition, SliceOutcome.DROPPED] += len(dropped)
        self._metrics.count_drift_slices(SliceOutcome.OFFERED, len(counts))
        self._metrics.count_drift_slices(SliceOutcome.DROPPED, len(dropped))
        if len(kept):
            self._offers.put_nowait(
                _Offer(model=model, condition=condition, counts=counts[kept], seed=seed, indices=indices[kept])
            )

    def report(self) -> DriftAnswer:
        """Return the answer of GET /v1/drift for the model taken up last; where the store fails it says so.

        Raises `ConfigurationError` before any model was taken up.
        """
        with self._lock:
            if not self._models:
                raise ConfigurationError("no model is watched; the service has not loaded a bundle yet")
            model = next(reversed(self._models.values()))
        self._write_tallies()
        return build_report(
            model.profile,
            self._read(model),
            model_sha256=model.sha256,
            window_slices=model.window_slices,
            sample_every=self._settings.sample_every,
            problem=self._describe_problem(),
        )

    def read_states(self) -> dict[str, ConditionState]:
        """Return how each condition of the model taken up last stands; nothing without a model or a store."""
        with self._lock:
            model = next(reversed(self._models.values()), None)
        return {} if model is None else self._read(model)

    def _read(self, model: _Watched) -> dict[str, ConditionState]:
        try:
            return self._store.read(model.sha256)
        except StoreError as error:
            self._note_problem(error)
            return {}

    def wait_until_idle(self, timeout_seconds: float = 30.0) -> bool:
        """Wait until everything offered so far was measured; False where that took too long."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            with self._lock:
                if self._waiting == 0:
                    return True
            time.sleep(0.01)
        return False

    def _describe_problem(self) -> str | None:
        if self._thread is not None and not self._thread.is_alive() and not self._stop.is_set():
            return "measuring has stopped in this worker after an unexpected error, see its log; restart the server"
        return self._problem

    def _work(self) -> None:
        _lower_priority()
        while not self._stop.is_set():
            try:
                offer = self._offers.get(timeout=_TALLY_SECONDS)
            except queue.Empty:
                self._write_tallies()
                continue
            if offer is None:
                return
            for row in range(len(offer.counts)):
                started = time.thread_time()
                try:
                    self._measure(offer, row)
                except Exception as error:  # noqa: BLE001 — one slice may not end the watch over all that follow
                    self._lose(offer, error)
                finally:
                    with self._lock:
                        self._waiting -= 1
                spent = time.thread_time() - started
                if self._stop.wait(spent * (1 / self._settings.cpu_share - 1)):
                    return

    def _measure(self, offer: _Offer, row: int) -> None:
        try:
            measured = compute_features(offer.counts[row : row + 1], pixel_spacing_mm=offer.model.pixel_spacing_mm)
        except QuantificationError:
            self._count(offer, SliceOutcome.UNMEASURABLE)
            return
        features = {name: float(values[0]) for name, values in measured.items()}
        if not all(np.isfinite(value) for value in features.values()):
            self._count(offer, SliceOutcome.UNMEASURABLE)
            return
        self._metrics.observe_slice(
            offer.condition,
            mean_counts=features[MEAN_COUNTS],
            left_right_ratio=float(np.exp(features[LOG_LEFT_RIGHT_RATIO])),
        )
        self._keep(offer, MeasuredSlice(seed=offer.seed, index=int(offer.indices[row]), features=features))

    def _keep(self, offer: _Offer, measured: MeasuredSlice) -> None:
        model, condition = offer.model, offer.condition

        def judge(features: Mapping[str, NDArray[np.float64]]) -> list[dict[str, Any]]:
            return [judgement.to_dict() for judgement in judge_window(model.profile, condition, features)]

        try:
            complete = self._store.add(
                model.sha256, condition, [measured], window_slices=model.window_slices, judge=judge
            )
        except StoreError as error:
            self._lose(offer, error)
            return
        self._count(offer, SliceOutcome.MEASURED)
        self._problem = None
        for window in complete:
            self._tell(condition, window)

    def _tell(self, condition: Condition, window: CompleteWindow) -> None:
        for test in DriftTest:
            verdict = worst_verdict(DriftVerdict(one["verdict"]) for one in window.judgements if one["test"] == test)
            self._metrics.count_drift_verdict(test=str(test), verdict=str(verdict))
            if verdict is DriftVerdict.DRIFT:
                logger.warning("drift: %s of %s, window %d of %d slices", test, condition, window.number, window.slices)

    def _count(self, offer: _Offer, outcome: SliceOutcome) -> None:
        self._metrics.count_drift_slices(outcome, 1)
        with self._lock:
            self._tallies[offer.model.sha256, offer.condition, outcome] += 1

    def _write_tallies(self) -> None:
        with self._lock:
            tallies, self._tallies = self._tallies, Counter()
        by_model: dict[str, dict[tuple[Condition, SliceOutcome], int]] = {}
        for (model, condition, outcome), slices in tallies.items():
            if slices:
                by_model.setdefault(model, {})[condition, outcome] = slices
        try:
            for model in list(by_model):
                self._store.tally(model, by_model[model])
                del by_model[model]
        except StoreError as error:
            self._note_problem(error)
            with self._lock:
                for model, counts in by_model.items():
                    for (condition, outcome), slices in counts.items():
                        self._tallies[model, condition, outcome] += slices

    def _lose(self, offer: _Offer, error: Exception) -> None:
        self._note_problem(error)
        self._count(offer, SliceOutcome.LOST)

    def _note_problem(self, error: Exception) -> None:
        is_expected = isinstance(error, StoreError)
        if self._problem is None:  # once, not for every slice
            logger.error("%s", error, exc_info=None if is_expected else error)
        self._problem = str(error) if is_expected else "a slice met an unexpected error; see the log of the worker"


def _lower_priority() -> None:
    """Let requests go first: on Linux a thread has a priority of its own."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a sandbox may forbid it; the share of a core still holds
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
