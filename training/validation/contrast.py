"""Set one summary of a measured quantity against the reference's: estimate, interval, verdict, power, null, floor."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from registry.bundle.panel import Measurement
from spect.conditions import Pattern
from spect.equivalence import (
    MEAN_COUNTS_MARGIN,
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
from training.validation.cells import Cell
from training.validation.comparison import Comparison, Pair
from training.validation.sample import Sample

Vector = NDArray[np.float64]
Quantity = Callable[[Sample], Vector]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """How a quantity is summarised, compared and judged; the margin was fixed before anything was measured."""

    metric: str
    quantity: Quantity
    estimate: Callable[[Moments, Moments], Estimate]
    error: Callable[[Moments], float]  # of one sample's summary, on the scale of `power_margin`
    margin: Margin
    power_margin: Margin  # the margin on the scale the interval is made on: the log for ratios

    def measure(self, comparison: Comparison, cell: Cell) -> Measurement:
        """Measure one cell."""
        judged, halves, floor = comparison.pairs(cell)
        synthetic, reference = self._moments(comparison, judged)
        estimate = self.estimate(synthetic, reference)
        return Measurement(
            metric=self.metric,
            cell=cell.name,
            value=estimate.value,
            low=_finite(estimate.low),
            high=_finite(estimate.high),
            null=self.estimate(*self._moments(comparison, halves)).value,
            floor=self.estimate(*self._moments(comparison, floor)).value,
            power=self._power(reference, slices_synthetic=len(judged[0]), slices_reference=len(judged[1])),
            slices_synthetic=len(judged[0]),
            slices_reference=len(judged[1]),
            verdict=estimate.verdict(self.margin).value,
            note=f"90 % interval, margin {self.margin.low:g} to {self.margin.high:g}",
        )

    def _moments(self, comparison: Comparison, pair: Pair) -> tuple[Moments, Moments]:
        first, second = (
            compute_moments(self.quantity(sample), patients=sample.patient, rng=comparison.rng(1)) for sample in pair
        )
        return first, second

    def _power(self, reference: Moments, *, slices_synthetic: int, slices_reference: int) -> float:
        # A perfect generator's slices are independent draws from the reference's population.
        error = self.error(reference) * math.sqrt(1 + slices_reference / slices_synthetic)
        return compute_power(error, self.power_margin) if math.isfinite(error) else 0.0


def contrast_means(metric: str, quantity: Quantity, margin: Margin = MEAN_COUNTS_MARGIN) -> Contrast:
    """Compare means by their ratio."""
    return Contrast(
        metric=metric,
        quantity=quantity,
        estimate=ratio_of_means,
        error=lambda moments: moments.mean_error / moments.mean,
        margin=margin,
        power_margin=log_margin(margin),
    )


def contrast_differences(metric: str, quantity: Quantity, margin: Margin) -> Contrast:
    """Compare means by their difference."""
    return Contrast(
        metric=metric,
        quantity=quantity,
        estimate=difference_of_means,
        error=lambda moments: moments.mean_error,
        margin=margin,
        power_margin=margin,
    )


def contrast_log_ratios(metric: str, quantity: Quantity, pattern: Pattern) -> Contrast:
    """Compare log left/right ratios of a pattern: of a unilateral one their size, for the sides mix."""
    return contrast_differences(
        metric, lambda sample: np.asarray(fold_log_ratio(quantity(sample), pattern)), log_ratio_margin(pattern)
    )


def contrast_spreads(metric: str, quantity: Quantity) -> Contrast:
    """Compare standard deviations by their ratio."""
    return Contrast(
        metric=metric,
        quantity=quantity,
        estimate=ratio_of_spreads,
        error=lambda moments: moments.log_sd_error,
        margin=SPREAD_MARGIN,
        power_margin=log_margin(SPREAD_MARGIN),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
