"""How alike the mean counts of one patient's slices are: the intraclass correlation, and level against level."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from cohort.description.measuring import MeasuredCohort, Values
from spect.conditions import Level
from spect.equivalence import MINIMUM_SAMPLE

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """A correlation with its 95 % interval and the patients of several slices it rests on."""

    value: float
    low: float
    high: float
    patients: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelPair:
    """Correlation of the mean counts of two levels over the patients who have both."""

    levels: str  # such as "CER-BG"
    correlation: Likeness


def compute_icc(measured: MeasuredCohort) -> Likeness | None:
    """Compute how alike the mean counts of one patient's slices are: ICC(1), condition means taken away.

    One-way random effects with unequal group sizes (Donner 1986, Int Stat Rev 54:67); patients of one slice tell
    nothing and are left out. The interval inverts the F ratio at the typical group size, exact for equal groups
    (Searle 1971, Linear Models; for unequal ones Donner & Wells 1986, Biometrics 42:401). None with fewer than three
    patients of several slices.
    """
    values, member = _of_several_slices(*_centred(measured)[:2])
    if not len(values) or member.max() + 1 < MINIMUM_SAMPLE:
        return None
    sizes = np.bincount(member)
    means = np.bincount(member, values) / sizes
    groups, n = len(sizes), len(values)
    between = float((sizes * (means - values.mean()) ** 2).sum() / (groups - 1))
    within = float(((values - means[member]) ** 2).sum() / (n - groups))
    typical = (n - (sizes**2).sum() / n) / (groups - 1)
    if not between + within > 0:
        return None
    ratio = between / within if within > 0 else math.inf
    upper, lower = (
        float(scipy.stats.f.ppf(share, groups - 1, n - groups))
        for share in ((1 + CONFIDENCE) / 2, (1 - CONFIDENCE) / 2)
    )
    value, low, high = (_to_correlation(f, typical) for f in (ratio, ratio / upper, ratio / lower))
    return Likeness(value=value, low=low, high=high, patients=groups)


def correlate_levels(measured: MeasuredCohort) -> tuple[LevelPair, ...]:
    """Correlate the mean counts of every two levels over patients, condition means taken away.

    Pearson's correlation with Fisher's interval, which needs five patients who have both; other pairs are left out.
    """
    values, patient, level = _centred(measured)
    means = {one: _average_by_patient(values[level == one], patient[level == one]) for one in Level}
    pairs = []
    for first, second in itertools.combinations(Level, 2):
        both, here, there = np.intersect1d(means[first][0], means[second][0], return_indices=True)
        pair = np.stack([means[first][1][here], means[second][1][there]])
        if len(both) >= 5 and (pair.std(axis=1) > 0).all():
            pairs.append(LevelPair(levels=f"{first}-{second}", correlation=_correlate(*pair)))
    return tuple(pairs)


def _average_by_patient(values: Values, patient: NDArray[np.str_]) -> tuple[NDArray[np.str_], Values]:
    """Return the patients, sorted, and the mean of each one's values."""
    names, member, sizes = np.unique(patient, return_inverse=True, return_counts=True)
    return names, np.bincount(member, values, minlength=len(names)) / sizes


def _correlate(first: Values, second: Values) -> Likeness:
    found = scipy.stats.pearsonr(first, second)
    low, high = found.confidence_interval(CONFIDENCE)
    return Likeness(value=float(found.statistic), low=float(low), high=float(high), patients=len(first))


def _to_correlation(ratio: float, typical: float) -> float:
    """Turn an F ratio into the correlation it stands for."""
    return 1.0 if math.isinf(ratio) else (ratio - 1) / (ratio + typical - 1)


def _of_several_slices(values: Values, patient: NDArray[np.str_]) -> tuple[Values, NDArray[np.int64]]:
    """Keep the patients of several slices; return the values and the number of each one's patient."""
    _, member, sizes = np.unique(patient, return_inverse=True, return_counts=True)
    several = sizes[member] > 1
    return values[several], np.unique(member[several], return_inverse=True)[1]


def _centred(measured: MeasuredCohort) -> tuple[Values, NDArray[np.str_], NDArray[np.str_]]:
    """Return mean counts less their condition's mean, the patient and the level, of the measurable slices."""
    index = measured.cohort.condition_index
    kept = np.isfinite(measured.mean_counts)
    values = measured.mean_counts.copy()
    for condition in set(index[kept].tolist()):
        here = kept & (index == condition)
        values[here] -= values[here].mean()
    return values[kept], measured.cohort.patient[kept], measured.cohort.level[kept]
