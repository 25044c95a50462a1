"""The shift test: where a window's values fall among the released model's own, and when that is no chance.

The score is Anderson and Darling's (1952) squared distance between the window's ranks in the model's own output and
even ranks. It sees a moved centre, a changed spread and new tails alike, and needs no bins.

Its distribution without drift is the same for every feature, whatever that feature's own distribution, so one
threshold serves all and nothing has to be resampled. The profile's own output is a sample too, and its error is paid
for: with n window slices against N profile slices the score is multiplied by N / (N + n), after which it follows the
limit of the one-sample statistic (Pettitt 1976).
"""

import math

import numpy as np
import scipy.special
from numpy.typing import NDArray

from spect.errors import ConfigurationError

Values = NDArray[np.float64]

WINDOW_SIZES = (32, 64, 128, 256, 512, 1024, 2048)
# A window may be an eighth of the profile at most: beyond, the profile's own error rules the realised alarm rate.
PROFILE_SLICES_PER_WINDOW_SLICE = 8
MINIMUM_PROFILE_SLICES = WINDOW_SIZES[0] * PROFILE_SLICES_PER_WINDOW_SLICE
# A profile is drawn once and judged by for ever. A rate is "supported" while a profile that is as far off as one in
# twenty is (1.96 SD along the statistic's leading direction) makes one test's realised rate at most three times it.
_PROFILE_ERROR_SD = 1.96
_TOLERATED_EXCESS = 3.0

QUANTILES_KEPT = 257


def profile_probabilities(slices: int) -> Values:
    """Return the probabilities (257,) whose quantiles stand for a feature's distribution, denser in the tails.

    Evenly spaced in the logit from 0.5/N to 1 - 0.5/N: the score weighs tails by 1 / (p (1 - p)).
    """
    edge = float(scipy.special.logit(0.5 / slices))
    probabilities: Values = scipy.special.expit(np.linspace(edge, -edge, QUANTILES_KEPT))
    return probabilities


def summarise_distribution(values: Values) -> Values:
    """Return the quantiles (257,) of values (n,) at `profile_probabilities(n)`."""
    # Hazen's rule: the k-th of n ordered values stands at (k - 0.5) / n, so the edges are the smallest and largest.
    return np.quantile(values, profile_probabilities(len(values)), method="hazen")


def compute_ranks(values: Values, quantiles: Values, slices: int) -> Values:
    """Place values (n,) in a distribution of `slices` values given by its quantiles; ascending, in (0, 1).

    Equal values that fall on a step of the distribution are spread evenly over the step, as chance would on average.
    """
    probabilities = profile_probabilities(slices)
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    upper = np.interp(ordered, quantiles, probabilities)
    lower = 1 - np.interp(-ordered, -quantiles[::-1], (1 - probabilities)[::-1])
    _, first, member, sizes = np.unique(ordered, return_index=True, return_inverse=True, return_counts=True)
    share = (np.arange(len(ordered)) - first[member] + 0.5) / sizes[member]
    ranks: Values = np.clip(lower + (upper - lower) * share, 0.5 / slices, 1 - 0.5 / slices)
    return np.sort(ranks)


def compute_shift_score(values: Values, quantiles: Values, slices: int) -> float:
    """Score a window: values (n,) against a feature's own output of `slices` values, given by its quantiles."""
    ranks = compute_ranks(values, quantiles, slices)
    n = len(ranks)
    weights = 2 * np.arange(1, n + 1) - 1
    squared_distance = -n - float((weights * (np.log(ranks) + np.log1p(-ranks[::-1]))).sum()) / n
    return squared_distance * slices / (slices + n)


def shift_threshold(false_alarm_rate: float, tests: int) -> float:
    """Return the score that chance passes in at most `false_alarm_rate` of the rounds of `tests` tests.

    The statistic is a sum of chi-square terms weighted by 1/(j (j + 1)), so its tail is that of the first term times
    the product over the others, sqrt(3): P(score > t) = sqrt(3) erfc(sqrt(t)), within a tenth below 1 %
    (Zolotarev 1961; measured in benchmarks/drift_detection.py). The rate is shared evenly among the tests.
    """
    if not (0 < false_alarm_rate < 1 and tests > 0):
        raise ConfigurationError(
            f"false_alarm_rate must lie between 0 and 1 and there must be tests, got {false_alarm_rate} and {tests}"
        )
    level = false_alarm_rate / tests
    return float(scipy.special.erfcinv(level / math.sqrt(3)) ** 2)


def usable_windows(slices: int) -> tuple[int, ...]:
    """Return the window sizes that a profile of `slices` slices supports."""
    return tuple(size for size in WINDOW_SIZES if size * PROFILE_SLICES_PER_WINDOW_SLICE <= slices)


def smallest_false_alarm_rate(slices: int, tests: int) -> float:
    """Return the smallest rate over a round of tests that a profile of `slices` slices supports at all its windows."""
    return max(min(_smallest_level(size / slices) * tests, 1.0) for size in usable_windows(slices))


def _smallest_level(share: float) -> float:
    """Return the smallest level of one test whose realised rate stays within the tolerated excess.

    `share` is n/N. Along the leading direction the window's error is Z and the profile's sqrt(n/N) Z'; the threshold
    allows for both together, while in use Z' is what it is.
    """
    offset = _PROFILE_ERROR_SD * math.sqrt(share)

    def excess(deviate: float) -> float:
        allowed = deviate * math.sqrt(1 + share)
        realised = scipy.special.ndtr(offset - allowed) + scipy.special.ndtr(-offset - allowed)
        return float(realised / (2 * scipy.special.ndtr(-deviate))) - _TOLERATED_EXCESS

    # The excess rises from 1 with the deviate, peaks where the wider threshold overtakes the offset, and falls again.
    deviates = np.linspace(0.0, 8.0, 161)
    beyond = np.flatnonzero(np.array([excess(deviate) for deviate in deviates]) > 0)
    if len(beyond) == 0:
        return 0.0
    from scipy.optimize import brentq  # noqa: PLC0415 — profiles are made rarely, and read by every worker

    return float(2 * scipy.special.ndtr(-brentq(excess, deviates[beyond[0] - 1], deviates[beyond[0]])))
