"""What a cohort is, in numbers: MC and LR of every condition with intervals, and how alike one patient's slices are."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from cohort.store import SPLITS, Cohort
from spect.conditions import CONDITIONS, Condition
from spect.equivalence import (
    MEAN_COUNTS_MARGIN,
    MINIMUM_SAMPLE,
    Estimate,
    compute_moments,
    difference_of_means,
    fold_log_ratio,
    log_ratio_margin,
    ratio_of_means,
)
from spect.errors import CohortError
from spect.quantify import DEFAULT_THRESHOLD, find_regions, measure

CONFIDENCE = 0.95

Values = NDArray[np.float64]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredCohort:
    """A cohort and what was measured of its slices; NaN where no outline was found."""

    cohort: Cohort
    mean_counts: Values  # (n,)
    log_left_right_ratio: Values  # (n,)

    def of(self, condition: Condition) -> tuple[Values, Values, NDArray[np.str_]]:
        """Return mean counts, log ratio and patient of the measurable slices of a condition."""
        kept = (self.cohort.condition_index == condition.index) & np.isfinite(self.mean_counts)
        return self.mean_counts[kept], self.log_left_right_ratio[kept], self.cohort.patient[kept]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean, its 95 % interval by patient, and the standard deviation over slices."""

    mean: float
    low: float | None  # None: fewer than three patients
    high: float | None
    sd: float | None


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


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortSummary:
    """A whole cohort."""

    name: str
    source: str
    fingerprint: str
    intensity_unit: str
    intensity_scaling: str
    pixel_spacing_mm: float
    matrix: int
    slices: int
    patients: int
    slices_by_split: dict[str, int]
    patients_by_slices: dict[int, int]  # slices of a patient -> patients with so many
    mean_counts_icc: float | None  # None: too few patients with several slices
    conditions: tuple[ConditionSummary, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One condition of a cohort against another cohort's, by the margins fixed in advance; 90 % intervals."""

    condition: str
    mean_counts_ratio: Estimate | None  # None: too few patients, or units that cannot be compared
    mean_counts_verdict: str
    log_ratio_difference: Estimate | None  # of |log LR| where unilateral
    log_ratio_verdict: str


def measure_cohort(cohort: Cohort, *, progress: Progress = lambda _done, _total: None) -> MeasuredCohort:
    """Measure every slice; one without an outline becomes NaN and is counted by `summarise`."""
    measured = np.full((2, len(cohort)), np.nan)
    spacing = cohort.description.pixel_spacing_mm
    for row, counts in enumerate(cohort.counts):
        regions = find_regions(counts, spacing, DEFAULT_THRESHOLD)
        if regions is not None:
            found = measure(regions, counts)
            measured[:, row] = found.mean_counts, math.log(found.left_right_ratio)
        progress(row + 1, len(cohort))
    return MeasuredCohort(cohort=cohort, mean_counts=measured[0], log_left_right_ratio=measured[1])


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
        conditions=tuple(_summarise_condition(measured, condition) for condition in cohort.conditions()),
    )


def compare(measured: MeasuredCohort, other: MeasuredCohort) -> tuple[Comparison, ...]:
    """Compare the conditions that both cohorts hold; `other` is the reference of every ratio and difference."""
    here, there = measured.cohort.description, other.cohort.description
    comparable = (here.intensity_unit, here.intensity_scaling) == (there.intensity_unit, there.intensity_scaling)
    shared = set(measured.cohort.conditions()) & set(other.cohort.conditions())
    return tuple(
        _compare_condition(measured, other, condition, comparable=comparable)
        for condition in CONDITIONS
        if condition in shared
    )


def compute_icc(measured: MeasuredCohort) -> float | None:
    """Compute how alike the mean counts of one patient's slices are: ICC(1), condition means taken away.

    One-way random effects with unequal group sizes (Donner 1986, Int Stat Rev 54:67); patients of one slice tell
    nothing and are left out. None with fewer than three patients of several slices.
    """
    values, patient = _centred(measured)
    _, member, sizes = np.unique(patient, return_inverse=True, return_counts=True)
    several = sizes[member] > 1
    values, member = values[several], np.unique(member[several], return_inverse=True)[1]
    if not len(values) or member.max() + 1 < MINIMUM_SAMPLE:
        return None
    sizes = np.bincount(member)
    means = np.bincount(member, values) / sizes
    groups, n = len(sizes), len(values)
    between = float((sizes * (means - values.mean()) ** 2).sum() / (groups - 1))
    within = float(((values - means[member]) ** 2).sum() / (n - groups))
    typical = (n - (sizes**2).sum() / n) / (groups - 1)
    total = between + (typical - 1) * within
    return (between - within) / total if total > 0 else None


def _centred(measured: MeasuredCohort) -> tuple[Values, NDArray[np.str_]]:
    """Return mean counts less their condition's mean, and the patient, of the measurable slices."""
    parts = [measured.of(condition) for condition in measured.cohort.conditions()]
    centred = [mean_counts - mean_counts.mean() for mean_counts, _, _ in parts if len(mean_counts)]
    patients = [patient for mean_counts, _, patient in parts if len(mean_counts)]
    if not centred:
        return np.empty(0), np.empty(0, dtype=np.str_)
    return np.concatenate(centred), np.concatenate(patients)


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
    )


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


def _compare_condition(
    measured: MeasuredCohort, other: MeasuredCohort, condition: Condition, *, comparable: bool
) -> Comparison:
    here, there = measured.of(condition), other.of(condition)
    if min(len(set(here[2].tolist())), len(set(there[2].tolist()))) < MINIMUM_SAMPLE:
        few = "not enough data"
        return Comparison(
            condition=str(condition),
            mean_counts_ratio=None,
            mean_counts_verdict=few,
            log_ratio_difference=None,
            log_ratio_verdict=few,
        )
    ratio = None
    if comparable:
        moments = [compute_moments(values, patients=patient) for values, _, patient in (here, there)]
        ratio = ratio_of_means(*moments)
    folded = [(fold_log_ratio(log_ratio, condition.pattern), patient) for _, log_ratio, patient in (here, there)]
    difference = difference_of_means(*(compute_moments(values, patients=patient) for values, patient in folded))
    return Comparison(
        condition=str(condition),
        mean_counts_ratio=ratio,
        mean_counts_verdict=str(ratio.verdict(MEAN_COUNTS_MARGIN)) if ratio else "not comparable",
        log_ratio_difference=difference,
        log_ratio_verdict=str(difference.verdict(log_ratio_margin(condition.pattern))),
    )
