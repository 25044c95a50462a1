"""Two cohorts side by side: equivalence by condition, spreads, features, and what their numbers can show."""

import math
from dataclasses import dataclass

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from cohort.description.measuring import MeasuredCohort, Values
from spect.conditions import CONDITIONS, Condition
from spect.equivalence import (
    CONFIDENCE,
    MEAN_COUNTS_MARGIN,
    MINIMUM_SAMPLE,
    SPREAD_MARGIN,
    Estimate,
    Margin,
    Moments,
    compute_moments,
    compute_power,
    difference_of_means,
    fold_log_ratio,
    log_margin,
    log_ratio_margin,
    ratio_of_means,
    ratio_of_spreads,
)
from spect.features import FEATURES, MEAN_COUNTS

POWER = 0.80  # SCIENCE.md section 3: what can be shown is told at this power
SHUFFLES = 100  # of patients between the cohorts; what a distance comes to by chance
NOT_ENOUGH_DATA = "not enough data"
NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One quantity of the first cohort against the second's: interval, verdict, and what could have been shown."""

    estimate: Estimate | None  # None: too few patients, no variation, or units that cannot be compared
    verdict: str
    margin: Margin
    power: float | None = None  # of being found equivalent if the cohorts were one population
    margin_at_80_percent_power: float | None = None  # half-width; of a ratio, the ratio less one


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureDistance:
    """How far apart one feature's distributions are."""

    feature: str
    wasserstein_in_sd: float | None  # None: units that cannot be compared, or a reference without spread
    wasserstein_by_chance: float | None  # 95th percentile where patients are shuffled between the cohorts
    kolmogorov_smirnov: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One condition of a cohort against another cohort's, by the margins fixed in advance; 90 % intervals."""

    condition: str
    slices: tuple[int, int]
    patients: tuple[int, int]
    mean_counts_ratio: Judged
    log_ratio_difference: Judged  # of |log LR| where unilateral
    mean_counts_sd_ratio: Judged
    log_ratio_sd_ratio: Judged  # of the signed log, which keeps the sides apart
    features: tuple[FeatureDistance, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortComparison:
    """Two cohorts: what they share, what only one has, and how they came about differently."""

    conditions: tuple[Comparison, ...]
    only_in_first: tuple[str, ...]
    only_in_second: tuple[str, ...]
    notes: tuple[str, ...]


def compare(measured: MeasuredCohort, other: MeasuredCohort) -> CohortComparison:
    """Compare the conditions that both cohorts hold; `other` is the reference of every ratio and difference."""
    here, there = set(measured.cohort.conditions()), set(other.cohort.conditions())
    comparable = all(
        getattr(measured.cohort.description, name) == getattr(other.cohort.description, name) for name in _SCALE
    )
    return CohortComparison(
        conditions=tuple(
            _compare_condition(measured, other, condition, comparable=comparable)
            for condition in CONDITIONS
            if condition in here & there
        ),
        only_in_first=tuple(str(condition) for condition in CONDITIONS if condition in here - there),
        only_in_second=tuple(str(condition) for condition in CONDITIONS if condition in there - here),
        notes=describe_differences(measured, other),
    )


_SCALE = ("intensity_unit", "intensity_scaling")
_DIFFERENCES = {
    "intensity_unit": "the units differ ({} against {}), so mean counts are not compared",
    "intensity_scaling": "one is scaled by slice and one as a whole ({} against {}), so mean counts are not compared",
    "pixel_spacing_mm": "the pixels differ ({:g} mm against {:g} mm), which moves noise, high frequencies and edges",
    "source": "the sources differ ({} against {})",
    "simulator_version": "the simulator's versions differ ({} against {}), so differences may be the simulator's",
}


def describe_differences(measured: MeasuredCohort, other: MeasuredCohort) -> tuple[str, ...]:
    """Say in plain words how two cohorts came about differently, and that one cohort is compared with itself."""
    here, there = measured.cohort.description, other.cohort.description
    told = [
        words.format(getattr(here, name), getattr(there, name))
        for name, words in _DIFFERENCES.items()
        if getattr(here, name) != getattr(there, name)
        and not (name == "simulator_version" and here.source != there.source)  # only one has a simulator
    ]
    if here.fingerprint and here.fingerprint == there.fingerprint:
        told.append("both are the same cohort, slice for slice")
    return tuple(told)


def _compare_condition(
    measured: MeasuredCohort, other: MeasuredCohort, condition: Condition, *, comparable: bool
) -> Comparison:
    rows = measured.rows_of(condition), other.rows_of(condition)
    patients = measured.cohort.patient[rows[0]], other.cohort.patient[rows[1]]
    counts = measured.mean_counts[rows[0]], other.mean_counts[rows[1]]
    signed = measured.log_left_right_ratio[rows[0]], other.log_left_right_ratio[rows[1]]
    units = len(set(patients[0].tolist())), len(set(patients[1].tolist()))
    few = min(units) < MINIMUM_SAMPLE
    folded = tuple(fold_log_ratio(values, condition.pattern) for values in signed)
    of_counts, of_folded, of_signed = (
        None
        if few
        else (compute_moments(pair[0], patients=patients[0]), compute_moments(pair[1], patients=patients[1]))
        for pair in (counts, folded, signed)
    )
    features = measured.features[rows[0]], other.features[rows[1]]
    return Comparison(
        condition=str(condition),
        slices=(len(rows[0]), len(rows[1])),
        patients=units,
        mean_counts_ratio=_judge_ratio(of_counts, comparable=comparable),
        log_ratio_difference=_judge_difference(of_folded, log_ratio_margin(condition.pattern)),
        mean_counts_sd_ratio=_judge_spread(of_counts, comparable=comparable),
        log_ratio_sd_ratio=_judge_spread(of_signed, comparable=True),
        features=() if few else tuple(_measure_distances(features, patients, comparable=comparable)),
    )


def _judge_ratio(moments: tuple[Moments, Moments] | None, *, comparable: bool) -> Judged:
    if not comparable:
        return Judged(estimate=None, verdict=NOT_COMPARABLE, margin=MEAN_COUNTS_MARGIN)
    if moments is None:
        return Judged(estimate=None, verdict=NOT_ENOUGH_DATA, margin=MEAN_COUNTS_MARGIN)
    return _judge_log(ratio_of_means(*moments), MEAN_COUNTS_MARGIN)


def _judge_spread(moments: tuple[Moments, Moments] | None, *, comparable: bool) -> Judged:
    if not comparable:
        return Judged(estimate=None, verdict=NOT_COMPARABLE, margin=SPREAD_MARGIN)
    if moments is None or not min(moments[0].sd, moments[1].sd) > 0:
        return Judged(estimate=None, verdict=NOT_ENOUGH_DATA, margin=SPREAD_MARGIN)
    return _judge_log(ratio_of_spreads(*moments), SPREAD_MARGIN)


def _judge_log(estimate: Estimate, margin: Margin) -> Judged:
    return Judged(
        estimate=estimate,
        verdict=str(estimate.verdict(margin)),
        margin=margin,
        power=compute_power(estimate.standard_error, log_margin(margin)),
        margin_at_80_percent_power=_finite(math.expm1(min(_showable(estimate.standard_error), 700.0))),
    )


def _judge_difference(moments: tuple[Moments, Moments] | None, margin: Margin) -> Judged:
    if moments is None:
        return Judged(estimate=None, verdict=NOT_ENOUGH_DATA, margin=margin)
    estimate = difference_of_means(*moments)
    return Judged(
        estimate=estimate,
        verdict=str(estimate.verdict(margin)),
        margin=margin,
        power=compute_power(estimate.standard_error, margin),
        margin_at_80_percent_power=_showable(estimate.standard_error),
    )


def _showable(standard_error: float) -> float:
    """Return the half-width of the smallest margin that two samples of one population pass with 80 % power.

    `compute_power` inverted: Phi(m/e - z) - Phi(z - m/e) = power at m/e = z + Phi^-1((1 + power) / 2).
    """
    reach = scipy.stats.norm.ppf((1 + CONFIDENCE) / 2) + scipy.stats.norm.ppf((1 + POWER) / 2)
    return float(reach) * standard_error


def _finite(value: float) -> float | None:
    return value if value < 1e6 else None


def _measure_distances(
    features: tuple[Values, Values], patients: tuple[NDArray[np.str_], NDArray[np.str_]], *, comparable: bool
) -> list[FeatureDistance]:
    """Measure the distance of every feature, and what chance alone makes of it."""
    shuffled = _shuffle_patients(patients, np.random.default_rng(0))
    found = []
    for column, name in enumerate(FEATURES):
        first, second = features[0][:, column], features[1][:, column]
        sd = float(second.std(ddof=1))
        if not sd > 0 or (name == MEAN_COUNTS and not comparable):
            none = FeatureDistance(
                feature=name, wasserstein_in_sd=None, wasserstein_by_chance=None, kolmogorov_smirnov=None
            )
            found.append(none)
            continue
        pooled = np.concatenate([first, second])
        chance = [scipy.stats.wasserstein_distance(pooled[kept], pooled[~kept]) / sd for kept in shuffled]
        found.append(
            FeatureDistance(
                feature=name,
                wasserstein_in_sd=float(scipy.stats.wasserstein_distance(first, second)) / sd,
                wasserstein_by_chance=float(np.percentile(chance, 95)),
                kolmogorov_smirnov=float(scipy.stats.ks_2samp(first, second, method="asymp").statistic),
            )
        )
    return found


def _shuffle_patients(
    patients: tuple[NDArray[np.str_], NDArray[np.str_]], rng: np.random.Generator
) -> list[NDArray[np.bool_]]:
    """Return masks of the pooled slices that fall to the first cohort when whole patients are dealt out anew."""
    names = [np.unique(one, return_inverse=True) for one in patients]
    first = len(names[0][0])
    everyone = first + len(names[1][0])
    member = np.concatenate([names[0][1], names[1][1] + first])
    return [(rng.permutation(everyone) < first)[member] for _ in range(SHUFFLES)]
