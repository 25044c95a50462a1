"""The fitted density of a condition's quantities: what the generator is asked for when nobody asks.

Quantities are mean counts, log left/right ratio and principal scores. A density is a small Gaussian mixture per
condition over *standardised* quantities, (raw - center) / scale. It holds parameters only, never patients' values.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spect.asked import check_real
from spect.conditions import CONDITIONS, Condition
from spect.errors import ConfigurationError, RequestError

Vector = NDArray[np.float64]

MEAN_COUNTS = "mean_counts"
LOG_LEFT_RIGHT_RATIO = "log_left_right_ratio"


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What a user asks a slice to measure; None leaves it to the density."""

    mean_counts: float | None = None
    left_right_ratio: float | None = None

    def __post_init__(self) -> None:
        for name in ("mean_counts", "left_right_ratio"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, check_real(name, value))

    def as_quantities(self) -> dict[str, float]:
        """Raw quantities by name, asked ones only."""
        asked = {}
        if self.mean_counts is not None:
            asked[MEAN_COUNTS] = self.mean_counts
        if self.left_right_ratio is not None:
            if not self.left_right_ratio > 0:
                raise RequestError(f"left_right_ratio must be positive, got {self.left_right_ratio}; 1 is symmetric")
            asked[LOG_LEFT_RIGHT_RATIO] = float(np.log(self.left_right_ratio))
        return asked


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianMixture:
    """Mixture of k Gaussians over d standardised quantities, each given by its lower Cholesky factor."""

    weights: Vector  # (k,)
    means: Vector  # (k, d)
    factors: Vector  # (k, d, d), lower triangular

    def __post_init__(self) -> None:
        k, d = self.means.shape
        if self.weights.shape != (k,) or self.factors.shape != (k, d, d):
            raise ConfigurationError(
                f"mixture shapes disagree: weights {self.weights.shape}, means {self.means.shape}, "
                f"factors {self.factors.shape}"
            )
        if not np.isclose(self.weights.sum(), 1) or (self.weights < 0).any():
            raise ConfigurationError(f"mixture weights must be non-negative and sum to 1, got {self.weights}")
        if not (np.isfinite(self.means).all() and np.isfinite(self.factors).all()):
            raise ConfigurationError("mixture means and factors must be finite")

    def draw(self, rng: np.random.Generator) -> Vector:
        """Draw one vector (d,)."""
        component = int(np.searchsorted(np.cumsum(self.weights), rng.random(), side="right"))
        component = min(component, len(self.weights) - 1)
        drawn: Vector = self.means[component] + self.factors[component] @ rng.standard_normal(self.means.shape[1])
        return drawn

    def given(self, positions: list[int], values: Vector) -> "GaussianMixture":
        """Condition on some of the quantities: a mixture over all d, exact at the given positions."""
        covariances = self.factors @ self.factors.transpose(0, 2, 1)
        free = [i for i in range(self.means.shape[1]) if i not in positions]
        log_weights, means, factors = [], [], []
        for weight, mean, covariance in zip(self.weights, self.means, covariances, strict=True):
            known = covariance[np.ix_(positions, positions)]
            residual = values - mean[positions]
            gain = np.linalg.solve(known, covariance[np.ix_(positions, free)]).T
            log_weights.append(np.log(weight + 1e-300) - 0.5 * _mahalanobis_and_log_determinant(known, residual))
            conditional_mean = mean.copy()
            conditional_mean[positions] = values
            conditional_mean[free] += gain @ residual
            remaining = covariance[np.ix_(free, free)] - gain @ covariance[np.ix_(positions, free)]
            factor = np.zeros_like(covariance)
            factor[np.ix_(free, free)] = np.linalg.cholesky(remaining + 1e-9 * np.eye(len(free)))
            means.append(conditional_mean)
            factors.append(factor)
        weights = np.exp(np.array(log_weights) - max(log_weights))
        return GaussianMixture(weights=weights / weights.sum(), means=np.array(means), factors=np.array(factors))


def _mahalanobis_and_log_determinant(covariance: Vector, residual: Vector) -> float:
    return float(residual @ np.linalg.solve(covariance, residual) + np.linalg.slogdet(covariance)[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantityDensity:
    """Densities of the conditions a generator was taught, their standardisation and the range a user may ask for."""

    names: tuple[str, ...]  # d names: mean_counts, log_left_right_ratio, score_1, score_2, ...
    center: Vector  # (d,)
    scale: Vector  # (d,)
    mixtures: Mapping[Condition, GaussianMixture]
    support: Mapping[Condition, Mapping[str, tuple[float, float]]]  # raw ranges of the first two names

    def __post_init__(self) -> None:
        if self.names[:2] != (MEAN_COUNTS, LOG_LEFT_RIGHT_RATIO):
            raise ConfigurationError(f"the first two quantities must be mean counts, log ratio, got {self.names[:2]}")
        size = len(self.names)
        shapes = {
            self.center.shape,
            self.scale.shape,
            *((mixture.means.shape[1],) for mixture in self.mixtures.values()),
        }
        if shapes != {(size,)}:
            raise ConfigurationError(f"{size} quantities need centers, scales and mixtures of {size}, got {shapes}")
        for condition, limits in self.support.items():
            if not {MEAN_COUNTS, LOG_LEFT_RIGHT_RATIO} <= set(limits):
                raise ConfigurationError(
                    f"the support of {condition} needs mean counts and log ratio, got {set(limits)}"
                )
        if not (self.scale > 0).all() or not np.isfinite(self.center).all():
            raise ConfigurationError("quantities need a finite center and a positive scale")

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Conditions that it knows, in their fixed order."""
        return tuple(condition for condition in CONDITIONS if condition in self.mixtures)

    def standardise(self, raw: Vector) -> Vector:
        """Raw quantities (..., d) to standardised ones."""
        return (raw - self.center) / self.scale

    def mixture(self, condition: Condition, targets: Targets) -> GaussianMixture:
        """Return the condition's mixture, conditioned on the targets; raise `RequestError` outside the support."""
        mixture = self.mixtures[condition]
        asked = targets.as_quantities()
        if not asked:
            return mixture
        for name, value in asked.items():
            self._check_support(condition, name, value)
        positions = [self.names.index(name) for name in asked]
        raw = np.array(list(asked.values()))
        return mixture.given(positions, (raw - self.center[positions]) / self.scale[positions])

    def draw(self, condition: Condition, mixture: GaussianMixture, rng: np.random.Generator) -> Vector:
        """Draw standardised quantities (d,); mean counts and log ratio stay inside the condition's support."""
        drawn = mixture.draw(rng)
        for position, name in enumerate(self.names[:2]):
            low, high = self.support[condition][name]
            low, high = ((edge - self.center[position]) / self.scale[position] for edge in (low, high))
            drawn[position] = min(max(drawn[position], low), high)
        return drawn

    def _check_support(self, condition: Condition, name: str, value: float) -> None:
        low, high = self.support[condition][name]
        if low <= value <= high:
            return
        if name == LOG_LEFT_RIGHT_RATIO:
            name, value, low, high = "left_right_ratio", np.exp(value), np.exp(low), np.exp(high)
        raise RequestError(
            f"{name} {value:.4g} is outside what the reference supports for {condition}; "
            f"ask between {low:.4g} and {high:.4g}"
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types; the inverse of `from_dict`."""
        return {
            "names": list(self.names),
            "center": self.center.tolist(),
            "scale": self.scale.tolist(),
            "conditions": {
                str(condition): {
                    "weights": mixture.weights.tolist(),
                    "means": mixture.means.tolist(),
                    "factors": mixture.factors.tolist(),
                    "support": {name: list(limits) for name, limits in self.support[condition].items()},
                }
                for condition, mixture in self.mixtures.items()
            },
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "QuantityDensity":
        """Rebuild from `to_dict`; raise `ConfigurationError` where a field is missing or misshapen."""
        try:
            by_name = _by_condition(fields["conditions"])
            return cls(
                names=tuple(fields["names"]),
                center=np.asarray(fields["center"], dtype=np.float64),
                scale=np.asarray(fields["scale"], dtype=np.float64),
                mixtures={
                    condition: GaussianMixture(
                        weights=np.asarray(entry["weights"], dtype=np.float64),
                        means=np.asarray(entry["means"], dtype=np.float64),
                        factors=np.asarray(entry["factors"], dtype=np.float64),
                    )
                    for condition, entry in by_name.items()
                },
                support={
                    condition: {name: (float(low), float(high)) for name, (low, high) in entry["support"].items()}
                    for condition, entry in by_name.items()
                },
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(f"the quantity density cannot be read: {error!r}") from error


def _by_condition(entries: Mapping[str, Any]) -> dict[Condition, Any]:
    known = {str(condition): condition for condition in CONDITIONS}
    if not entries or not set(entries) <= set(known):
        raise ConfigurationError(f"a density needs conditions among {', '.join(known)}, got {sorted(entries)}")
    return {condition: entries[name] for name, condition in known.items() if name in entries}
