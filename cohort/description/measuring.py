"""Measure every slice of a cohort: features, sensitivity to the threshold and midline; on all cores where that pays."""

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohort.store import Cohort
from spect.conditions import Condition
from spect.cores import count_cores
from spect.errors import QuantificationError
from spect.features import FEATURES, LOG_LEFT_RIGHT_RATIO, MEAN_COUNTS, compute_features
from spect.quantify import DEFAULT_THRESHOLD, quantify

THRESHOLDS = (0.3, DEFAULT_THRESHOLD, 0.5)  # SCIENCE.md section 3: the sensitivity that is reported
COLUMNS = len(FEATURES) + 2 * len(THRESHOLDS) + 2
# Below it, starting the processes takes longer than they save.
SLICES_THAT_PAY_FOR_PROCESSES = 1000
_CHUNK = 128

Values = NDArray[np.float64]
Progress = Callable[[int, int], None]  # slices done, slices in all


def _ignore(_done: int, _total: int) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredCohort:
    """A cohort and what was measured of its slices, a row each; NaN where no outline was found."""

    cohort: Cohort
    features: Values  # (n, 6), in the order of `spect.features.FEATURES`
    log_ratio_at: Values  # (n, 3), log left/right ratio at each of `THRESHOLDS`
    mean_counts_at: Values  # (n, 3), mean counts in the mirror union at each of `THRESHOLDS`
    midline: Values  # (n, 2), angle in degrees and shift in mm, as `spect.midline` has them

    @property
    def mean_counts(self) -> Values:
        """Mean counts in the filled outline, (n,)."""
        return self.features[:, FEATURES.index(MEAN_COUNTS)]

    @property
    def log_left_right_ratio(self) -> Values:
        """Log of left over right, (n,)."""
        return self.features[:, FEATURES.index(LOG_LEFT_RIGHT_RATIO)]

    def rows_of(self, condition: Condition) -> NDArray[np.int64]:
        """Rows of the measurable slices of a condition."""
        return np.flatnonzero((self.cohort.condition_index == condition.index) & np.isfinite(self.mean_counts))

    def of(self, condition: Condition) -> tuple[Values, Values, NDArray[np.str_]]:
        """Return mean counts, log ratio and patient of the measurable slices of a condition."""
        rows = self.rows_of(condition)
        return self.mean_counts[rows], self.log_left_right_ratio[rows], self.cohort.patient[rows]


def measure_cohort(cohort: Cohort, *, workers: int | None = None, progress: Progress = _ignore) -> MeasuredCohort:
    """Measure every slice; the same for any number of workers.

    Parameters
    ----------
    workers
        Processes; where None, all cores for a large cohort and this one alone for others.
    progress
        Called with the slices done and the slices in all.
    """
    chosen = workers or (1 if len(cohort) <= SLICES_THAT_PAY_FOR_PROCESSES else count_cores())
    rows: list[Values] = []
    for part in _measure_all(cohort, chosen):
        rows.append(part)
        progress(sum(map(len, rows)), len(cohort))
    table = np.concatenate(rows) if rows else np.empty((0, COLUMNS))
    edges = np.cumsum([len(FEATURES), len(THRESHOLDS), len(THRESHOLDS)])
    features, log_ratio_at, mean_counts_at, midline = np.split(table, edges, axis=1)
    return MeasuredCohort(
        cohort=cohort, features=features, log_ratio_at=log_ratio_at, mean_counts_at=mean_counts_at, midline=midline
    )


def _measure_all(cohort: Cohort, workers: int) -> Iterator[Values]:
    step = _CHUNK if workers > 1 else 8  # small steps keep the bar moving
    spacing = cohort.description.pixel_spacing_mm
    parts = [(cohort.counts[start : start + step], spacing) for start in range(0, len(cohort), step)]
    if workers == 1:
        yield from map(_measure_part, parts)
        return
    # spawn: forking a process whose libraries run threads can hang.
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    try:
        yield from executor.map(_measure_part, parts)
    finally:
        executor.shutdown(cancel_futures=True)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle


def _measure_part(part: tuple[NDArray[np.float32], float]) -> Values:
    counts, pixel_spacing_mm = part
    return np.array([_measure_slice(one[None], pixel_spacing_mm) for one in counts])


def _measure_slice(counts: NDArray[np.float32], pixel_spacing_mm: float) -> Values:
    """Return the row of one slice (1, rows, columns): features, log ratios, mean counts in the union, midline."""
    try:
        features = compute_features(counts, pixel_spacing_mm=pixel_spacing_mm)
        found = [quantify(counts, pixel_spacing_mm=pixel_spacing_mm, threshold=threshold) for threshold in THRESHOLDS]
    except QuantificationError:
        return np.full(COLUMNS, np.nan)
    return np.concatenate(
        [
            *(features[name] for name in FEATURES),
            *(np.log(one.left_right_ratio) for one in found),
            *(one.mean_counts_in_mask for one in found),
            found[0].midline_angle_deg,
            found[0].midline_shift_mm,
        ]
    )
