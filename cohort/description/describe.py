"""What a cohort is, in numbers: MC and LR of every condition with intervals, and all else `describe` tells of it."""

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from cohort.checks import TRUE_RATIO
from cohort.description.likeness import CONFIDENCE, LevelPair, Likeness, compute_icc, correlate_levels
from cohort.description.measuring import THRESHOLDS, MeasuredCohort, Values
from cohort.quality import Flag, find_duplicates, find_upside_down, flag_slices
from cohort.store import SPLITS
from spect.conditions import Condition, Pattern
from spect.equivalence import MINIMUM_SAMPLE, compute_moments
from spect.errors import CohortError


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean, its 95 % interval by patient, and the standard deviation over slices."""

    mean: float
    low: float | None  # None: fewer than three patients
    high: float | None
    sd: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """What a condition measures at another threshold of the mirror union, over its measurable slices."""

    threshold: float  # share of the slice's 99.5th percentile
    mean_counts_in_mask: float  # in the mirror union
    left_right_ratio: float  # geometric mean
    asymmetry: float  # geometric mean of the larger side over the smaller


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthError:
    """Measured left/right ratio against the simulator's own, in log."""

    slices: int
    true_asymmetry: float  # geometric mean of the larger true side over the smaller
    measured_asymmetry: float
    bias: float  # mean of log measured less log true; where unilateral, above 0 if the defect reads too small
    sd: float | None  # of the same difference; None: one slice


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionSummary:
    """One condition of a cohort."""

    condition: str
    slices: int
    patients: int
    slices_without_outline: int
    mean_counts: Interval | None  # None: no slice could be measured
    left_right_ratio: Interval | None  # geometric mean
    asymmetry: Interval | None  # geometric mean of the larger side over the smaller: exp of mean |log LR|
    sensitivity: tuple[Sensitivity, ...]
    truth: TruthError | None  # None: an acquired cohort


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortSummary:
    """A whole cohort."""

    name: str
    source: str
    simulator_version: str | None
    seed: int | None
    fingerprint: str
    intensity_unit: str
    intensity_scaling: str
    pixel_spacing_mm: float
    matrix: int
    slices: int
    patients: int
    slices_by_split: dict[str, int]
    patients_by_slices: dict[int, int]  # slices of a patient -> patients with so many
    mean_counts_icc: Likeness | None  # None: too few patients with several slices
    mean_counts_by_level_pair: tuple[LevelPair, ...]
    quality_flags: dict[str, int]  # flag -> slices that carry it
    conditions: tuple[ConditionSummary, ...]


def summarise(measured: MeasuredCohort) -> CohortSummary:
    """Count and average a measured cohort; raise `CohortError` for one without slices."""
    cohort = measured.cohort
    if not len(cohort):
        raise CohortError("the cohort holds no slice; simulate or import it again")
    _, each = np.unique(cohort.patient, return_counts=True)
    sizes, patients = np.unique(each, return_counts=True)
    about = cohort.description
    return CohortSummary(
        name=about.name,
        source=about.source,
        simulator_version=about.simulator_version,
        seed=about.seed,
        fingerprint=about.fingerprint,
        intensity_unit=about.intensity_unit,
        intensity_scaling=about.intensity_scaling,
        pixel_spacing_mm=about.pixel_spacing_mm,
        matrix=cohort.matrix,
        slices=len(cohort),
        patients=len(each),
        slices_by_split={name: int((cohort.split == name).sum()) for name in SPLITS},
        patients_by_slices=dict(zip(sizes.tolist(), patients.tolist(), strict=True)),
        mean_counts_icc=compute_icc(measured),
        mean_counts_by_level_pair=correlate_levels(measured),
        quality_flags=count_flags(measured),
        conditions=tuple(_summarise_condition(measured, condition) for condition in cohort.conditions()),
    )


def count_flags(measured: MeasuredCohort) -> dict[str, int]:
    """Count the slices that carry each quality flag, and those that repeat another of their condition."""
    cohort, spacing = measured.cohort, measured.cohort.description.pixel_spacing_mm
    flagged = Counter(flag for flags in flag_slices(cohort.counts, pixel_spacing_mm=spacing) for flag in flags)
    flagged[Flag.UPSIDE_DOWN] = int(find_upside_down(cohort.counts, cohort.level, pixel_spacing_mm=spacing).sum())
    repeats = find_duplicates(cohort.counts, cohort.condition_index, pixel_spacing_mm=spacing)
    exact = sum(repeat.exact for repeat in repeats)
    copies = {"exact copy of another slice": exact, "near copy of another slice": len(repeats) - exact}
    return {flag.value: flagged[flag] for flag in Flag} | copies


def _summarise_condition(measured: MeasuredCohort, condition: Condition) -> ConditionSummary:
    mean_counts, log_ratio, patient = measured.of(condition)
    everything = measured.cohort.condition_index == condition.index
    return ConditionSummary(
        condition=str(condition),
        slices=int(everything.sum()),
        patients=len(set(measured.cohort.patient[everything].tolist())),
        slices_without_outline=int(everything.sum()) - len(mean_counts),
        mean_counts=_interval(mean_counts, patient),
        left_right_ratio=_exponential(_interval(log_ratio, patient)),
        asymmetry=_exponential(_interval(np.abs(log_ratio), patient)),
        sensitivity=_vary_threshold(measured, condition),
        truth=_compare_with_truth(measured, condition),
    )


def _vary_threshold(measured: MeasuredCohort, condition: Condition) -> tuple[Sensitivity, ...]:
    rows = measured.rows_of(condition)
    if not len(rows):
        return ()
    return tuple(
        Sensitivity(
            threshold=threshold,
            mean_counts_in_mask=float(measured.mean_counts_at[rows, column].mean()),
            left_right_ratio=_geometric_mean(measured.log_ratio_at[rows, column]),
            asymmetry=_geometric_mean(np.abs(measured.log_ratio_at[rows, column])),
        )
        for column, threshold in enumerate(THRESHOLDS)
    )


def _compare_with_truth(measured: MeasuredCohort, condition: Condition) -> TruthError | None:
    """Compare the measured ratio with the true one; where unilateral both are turned to the truly lower side."""
    rows = measured.rows_of(condition)
    if TRUE_RATIO not in measured.cohort.truth or not len(rows):
        return None
    true_ratio = np.log(measured.cohort.truth[TRUE_RATIO][rows].astype(np.float64))
    found = measured.log_left_right_ratio[rows]
    # Sides mix, so an error that shrinks every defect would cancel: count it away from the truly lower side.
    away = np.where(true_ratio < 0, 1.0, -1.0) if condition.pattern is Pattern.UNILATERAL else 1.0
    error = away * (found - true_ratio)
    return TruthError(
        slices=len(rows),
        true_asymmetry=_geometric_mean(np.abs(true_ratio)),
        measured_asymmetry=_geometric_mean(np.abs(found)),
        bias=float(error.mean()),
        sd=float(error.std(ddof=1)) if len(rows) > 1 else None,
    )


def _geometric_mean(logs: Values) -> float:
    return math.exp(float(logs.mean()))


def _interval(values: Values, patient: NDArray[np.str_]) -> Interval | None:
    if not len(values):
        return None
    if len(set(patient.tolist())) < MINIMUM_SAMPLE:
        return Interval(mean=float(values.mean()), low=None, high=None, sd=None)
    moments = compute_moments(values, patients=patient)
    half = float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, moments.units - 1)) * moments.mean_error
    return Interval(mean=moments.mean, low=moments.mean - half, high=moments.mean + half, sd=moments.sd)


def _exponential(interval: Interval | None) -> Interval | None:
    """Bring an interval of logs back to ratios; the SD stays that of the log."""
    if interval is None:
        return None
    low, high = (None if edge is None else math.exp(edge) for edge in (interval.low, interval.high))
    return Interval(mean=math.exp(interval.mean), low=low, high=high, sd=interval.sd)
