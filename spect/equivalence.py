"""Show that two samples agree, rather than fail to show that they differ.

Ratios and differences with intervals, the verdict of two one-sided tests (Schuirmann 1987) against margins fixed in
advance, and the probability that a perfect generator would pass. Slices of one patient are not independent: where
patients are named, the interval's width comes from a bootstrap of patients, never of slices.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import scipy.special
from numpy.typing import NDArray

from spect.conditions import Pattern
from spect.errors import SlicesError

Values = NDArray[np.float64]

# Two one-sided tests at 5 % each: the margins must hold the 90 % interval.
CONFIDENCE = 0.90
BOOTSTRAP_REPLICATES = 2000
# Below it an interval says nothing: SciPy's t distribution needs a degree of freedom, and so does a spread.
MINIMUM_SAMPLE = 3


class EquivalenceVerdict(StrEnum):
    """What an interval says about a margin."""

    EQUIVALENT = "equivalent"  # the interval lies inside the margin
    DIFFERENT = "different"  # the interval lies wholly outside it
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """The range of a ratio or a difference that counts as equal, fixed before anything is measured."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


# SCIENCE: fixed in advance, never tuned to a model.
MEAN_COUNTS_MARGIN = Margin(low=0.95, high=1.05)  # ratio synthetic / reference
SPREAD_MARGIN = Margin(low=0.8, high=1.25)  # ratio of standard deviations
_LOG_RATIO_MARGINS = {
    Pattern.NORMAL: Margin(low=-0.02, high=0.02),
    Pattern.UNILATERAL: Margin(low=-0.03, high=0.03),  # of |log ratio|: the sides mix, so signed means hide errors
    Pattern.BILATERAL: Margin(low=-0.02, high=0.02),
}


def log_ratio_margin(pattern: Pattern) -> Margin:
    """Return the margin of the difference in log left/right ratio; of its absolute value where unilateral."""
    return _LOG_RATIO_MARGINS[pattern]


def fold_log_ratio(log_left_right_ratio: Values, pattern: Pattern) -> Values:
    """Return what is averaged for a pattern: |log ratio| where unilateral, the signed log ratio elsewhere."""
    return np.abs(log_left_right_ratio) if pattern is Pattern.UNILATERAL else log_left_right_ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A ratio or difference with its interval; `standard_error` is on the scale the interval was made on."""

    value: float
    low: float
    high: float
    standard_error: float  # of the log for ratios
    degrees_of_freedom: float
    confidence: float

    def verdict(self, margin: Margin) -> EquivalenceVerdict:
        """Judge the interval by a margin."""
        if margin.low <= self.low and self.high <= margin.high:
            return EquivalenceVerdict.EQUIVALENT
        if self.high < margin.low or self.low > margin.high:
            return EquivalenceVerdict.DIFFERENT
        return EquivalenceVerdict.INCONCLUSIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Mean and standard deviation of one sample, with the standard errors of the mean and of the log of the SD."""

    mean: float
    sd: float
    mean_error: float
    log_sd_error: float
    units: int  # independent ones: patients where they are named, else slices


def compute_moments(
    values: Values,
    *,
    patients: NDArray[np.str_] | None = None,
    rng: np.random.Generator | None = None,
    replicates: int = BOOTSTRAP_REPLICATES,
) -> Moments:
    """Compute mean and SD of values (n,) and their errors.

    Where a patient gave several slices the errors are the spread of a bootstrap of patients, drawn with `rng` (seed 0
    when none is given); otherwise they are s / sqrt(n) and Bonett's (2006) error of a log SD, right for any kurtosis.

    Raises
    ------
    SlicesError
        With fewer than three independent values, or any that is not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    clusters = len(np.unique(patients)) if patients is not None else len(values)
    if clusters < MINIMUM_SAMPLE or not np.isfinite(values).all():
        raise SlicesError(f"an interval needs at least {MINIMUM_SAMPLE} finite independent values, got {clusters}")
    mean, sd = float(values.mean()), float(values.std(ddof=1))
    if patients is not None and clusters < len(values):
        means, sds = bootstrap_patients(values[:, None], patients, replicates=replicates, rng=rng)
        positive = sds[:, 0][sds[:, 0] > 0]
        log_sd_error = float(np.log(positive).std(ddof=1)) if len(positive) > 1 else math.inf
        return Moments(mean=mean, sd=sd, mean_error=float(means.std(ddof=1)), log_sd_error=log_sd_error, units=clusters)
    return Moments(
        mean=mean, sd=sd, mean_error=sd / math.sqrt(clusters), log_sd_error=_log_sd_error(values), units=clusters
    )


def _log_sd_error(values: Values) -> float:
    """Return the standard error of log s: sqrt((kurtosis - 1) / (4 n)), with at least the kurtosis 1 + 4/n."""
    n = len(values)
    if values.std() == 0:
        return math.inf
    squares = (values - values.mean()) ** 2
    kurtosis = float((squares**2).mean() / squares.mean() ** 2)
    return math.sqrt(max(kurtosis - 1, 4 / n) / (4 * n))


def bootstrap_patients(
    values: Values,
    patients: NDArray[np.str_],
    *,
    replicates: int = BOOTSTRAP_REPLICATES,
    rng: np.random.Generator | None = None,
) -> tuple[Values, Values]:
    """Draw patients with replacement and return the replicates of each column's mean and SD.

    Parameters
    ----------
    values
        (n, k), a row a slice.
    patients
        (n,), who each slice is from.
    replicates
        How many times the patients are drawn.
    rng
        Where randomness comes from; seed 0 when none is given.

    Returns
    -------
    tuple
        Means and standard deviations, each (replicates, k).
    """
    rng = rng or np.random.default_rng(0)
    _, member = np.unique(patients, return_inverse=True)
    clusters = int(member.max()) + 1
    center = values.mean(axis=0)
    # A mean and an SD need no more of a patient than the count, sum and sum of squares of that patient's slices.
    totals = np.zeros((clusters, 1 + 2 * values.shape[1]))
    np.add.at(totals, member, np.column_stack([np.ones(len(values)), values - center, (values - center) ** 2]))
    drawn = rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=replicates).astype(np.float64)
    sums = drawn @ totals
    n, first, second = sums[:, :1], sums[:, 1 : 1 + values.shape[1]], sums[:, 1 + values.shape[1] :]
    variance = np.maximum(second - first**2 / n, 0) / np.maximum(n - 1, 1)
    return center + first / n, np.sqrt(variance)


def ratio_of_means(sample: Moments, reference: Moments, *, confidence: float = CONFIDENCE) -> Estimate:
    """Estimate mean(sample) / mean(reference), its interval on the log scale; both means must be positive."""
    if not (sample.mean > 0 and reference.mean > 0):
        raise SlicesError(f"a ratio of means needs positive means, got {sample.mean:g} and {reference.mean:g}")
    errors = (sample.mean_error / sample.mean, reference.mean_error / reference.mean)
    return _from_log(math.log(sample.mean / reference.mean), errors, sample, reference, confidence)


def difference_of_means(sample: Moments, reference: Moments, *, confidence: float = CONFIDENCE) -> Estimate:
    """Estimate mean(sample) - mean(reference) with Welch's interval."""
    errors = (sample.mean_error, reference.mean_error)
    half, error, freedom = _half_width(errors, sample, reference, confidence)
    value = sample.mean - reference.mean
    return Estimate(
        value=value,
        low=value - half,
        high=value + half,
        standard_error=error,
        degrees_of_freedom=freedom,
        confidence=confidence,
    )


def ratio_of_spreads(sample: Moments, reference: Moments, *, confidence: float = CONFIDENCE) -> Estimate:
    """Estimate SD(sample) / SD(reference), its interval on the log scale."""
    if not (sample.sd > 0 and reference.sd > 0):
        raise SlicesError(f"a ratio of spreads needs values that vary, got SDs {sample.sd:g} and {reference.sd:g}")
    errors = (sample.log_sd_error, reference.log_sd_error)
    return _from_log(math.log(sample.sd / reference.sd), errors, sample, reference, confidence)


def _from_log(
    log_value: float, errors: tuple[float, float], sample: Moments, reference: Moments, confidence: float
) -> Estimate:
    half, error, freedom = _half_width(errors, sample, reference, confidence)
    return Estimate(
        value=math.exp(log_value),
        low=math.exp(log_value - half),
        high=math.exp(log_value + half),
        standard_error=error,
        degrees_of_freedom=freedom,
        confidence=confidence,
    )


def _half_width(
    errors: tuple[float, float], sample: Moments, reference: Moments, confidence: float
) -> tuple[float, float, float]:
    """Return half the interval, the standard error and Welch's degrees of freedom."""
    error = math.hypot(*errors)
    if error == 0:
        return 0.0, 0.0, math.inf
    shares = ((errors[0] / error) ** 4, (errors[1] / error) ** 4) if math.isfinite(error) else (1.0, 1.0)
    freedom = 1 / (shares[0] / (sample.units - 1) + shares[1] / (reference.units - 1))
    return float(scipy.special.stdtrit(freedom, (1 + confidence) / 2)) * error, error, freedom


def compute_power(standard_error: float, margin: Margin, *, confidence: float = CONFIDENCE) -> float:
    """Return the probability that a perfect generator would be found equivalent.

    Parameters
    ----------
    standard_error
        Of the difference between two samples of one population. `error_of_difference` gives it from n and SD.
    margin
        On the scale of the error, around 0; take `log_margin` for ratios.
    confidence
        Of the interval that the margin must hold.
    """
    if standard_error <= 0:
        return 1.0
    reach = float(scipy.special.ndtri((1 + confidence) / 2))
    upper = scipy.special.ndtr(margin.high / standard_error - reach)
    lower = scipy.special.ndtr(margin.low / standard_error + reach)
    return float(max(upper - lower, 0))


def error_of_difference(sd: float, *, synthetic_slices: int, reference_slices: int) -> float:
    """Return the standard error of a difference of two means of one population with this SD."""
    return sd * math.sqrt(1 / synthetic_slices + 1 / reference_slices)


def log_margin(margin: Margin) -> Margin:
    """Turn a margin of a ratio into one of its log."""
    return Margin(low=math.log(margin.low), high=math.log(margin.high))


def choose_equal_numbers(levels: NDArray[np.str_], rng: np.random.Generator) -> NDArray[np.int64]:
    """Choose rows so that every level present is there equally often; rows come back in order.

    The pooling rule of a pattern: a cohort with twice as many cerebellar slices must not tilt its mean to theirs.
    """
    names, sizes = np.unique(levels, return_counts=True)
    if len(names) == 0:
        return np.empty(0, dtype=np.int64)
    chosen = [rng.choice(np.flatnonzero(levels == name), size=sizes.min(), replace=False) for name in names]
    return np.sort(np.concatenate(chosen)).astype(np.int64)
