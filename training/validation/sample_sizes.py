"""What the numbers of slices can show: the smallest margin in which a perfect generator would be found equivalent."""

import math
from dataclasses import dataclass

import numpy as np
import scipy.stats

from spect.conditions import Condition
from spect.equivalence import CONFIDENCE, MEAN_COUNTS_MARGIN, compute_moments, fold_log_ratio, log_ratio_margin
from training.validation.comparison import Comparison

POWER = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSize:
    """One condition: its slices and patients, and the smallest margins at 80 % power."""

    condition: Condition
    slices_synthetic: int
    slices_reference: int
    patients: int
    mean_counts_margin: float  # share of the mean
    log_ratio_margin: float
    standard_deviations: float  # the margin of mean counts in units of the reference's SD

    @property
    def shows_mean_counts(self) -> bool:
        """Whether equivalence within the margin of mean counts can be shown."""
        return self.mean_counts_margin <= MEAN_COUNTS_MARGIN.high - 1

    @property
    def shows_left_right(self) -> bool:
        """Whether equivalence within the margin of the left/right ratio can be shown."""
        return self.log_ratio_margin <= log_ratio_margin(self.condition.pattern).high


def smallest_margin(standard_error: float) -> float:
    """Return the margin that holds the interval of a perfect generator with 80 % probability.

    Two one-sided tests pass where the estimate lies within the margin less half the interval; of a perfect generator
    it lies on either side of 0 alike.
    """
    half_interval, reach = scipy.stats.norm.ppf([(1 + CONFIDENCE) / 2, (1 + POWER) / 2])
    return float(standard_error * (half_interval + reach))


def describe_sample_sizes(comparison: Comparison) -> list[SampleSize]:
    """Describe every condition that both sides have."""
    return [_describe(comparison, condition) for condition in comparison.conditions]


def _describe(comparison: Comparison, condition: Condition) -> SampleSize:
    reference, synthetic = comparison.reference, comparison.synthetic
    of_condition = reference.condition_index == condition.index
    made = int((synthetic.condition_index == condition.index).sum())
    patients = reference.patient[of_condition]
    # A perfect generator's slices are independent draws from the reference's population.
    wider = math.sqrt(1 + of_condition.sum() / made)
    counts, ratios = (
        compute_moments(values[of_condition], patients=patients, rng=comparison.rng(1))
        for values in (
            reference.measures["mean_counts"],
            fold_log_ratio(reference.measures["log_left_right_ratio"], condition.pattern),
        )
    )
    margin = smallest_margin(counts.mean_error * wider)
    return SampleSize(
        condition=condition,
        slices_synthetic=made,
        slices_reference=int(of_condition.sum()),
        patients=len(np.unique(patients)),
        mean_counts_margin=margin / counts.mean,
        log_ratio_margin=smallest_margin(ratios.mean_error * wider),
        standard_deviations=margin / counts.sd,
    )
