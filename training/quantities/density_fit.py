"""Fit the density of quantities that a condition's synthetic slices are drawn from.

One Gaussian a condition, two for unilateral ones (by the sign of the log ratio: the side of the defect), or where a run
asks for a mixture so many for each of these, fitted to the clusters that k-means finds among their slices. Standard
deviations are the component's own, and so are means as far as they stand out of their standard error: noise in 30
means of 30 slices would by itself tell synthetic from acquired (non-negative garrote, Breiman 1995, towards the level's
mean). Correlations, many for few slices, are shrunk towards those of the whole level with the weight of an
inverse-Wishart prior of d degrees of freedom, and the level's own towards none by the oracle approximating shrinkage of
Chen et al. 2010 (arXiv 0907.4698).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans, vq

from spect.conditions import CONDITIONS, Condition, Pattern
from spect.density import LOG_LEFT_RIGHT_RATIO, MEAN_COUNTS, GaussianMixture, QuantityDensity, Vector
from spect.errors import TrainingError
from training.quantities.principal import level_of_condition

SUPPORT_DEVIATIONS = 3.0  # a user may ask up to this far from a component's mean
SMALLEST_COMPONENT = 8  # slices; with fewer on one side, or in a cluster, slices are not split so
CLUSTER_STARTS = 10  # of k-means, of which the tightest clusters are kept
CLUSTER_SEED = 20_220_612  # fixed: slices have one density
FEWEST_COUNTS = 0.05  # of the cohort's mean: mean counts stay positive however wide the density


def quantity_names(principal_scores: int) -> tuple[str, ...]:
    """Return the names of q, in order."""
    return (MEAN_COUNTS, LOG_LEFT_RIGHT_RATIO, *(f"score_{k + 1}" for k in range(principal_scores)))


def fit_density(raw: Vector, condition: NDArray[np.int64], *, components: int = 1) -> QuantityDensity:
    """Fit the density to raw quantities (n, d) of training slices: mean counts, log ratio, principal scores.

    A condition gets at most so many `components`, a unilateral one on each side.
    """
    size = raw.shape[1]
    center, scale = np.zeros(size), np.ones(size)  # scores are standardised by the basis already
    center[:2], scale[:2] = raw[:, :2].mean(axis=0), raw[:, :2].std(axis=0)
    standardised = (raw - center) / scale
    component = _number_components(standardised, raw[:, 1], condition, most=components)
    # One component a side has always been shrunk towards correlations about the condition's mean, both sides together;
    # clusters lie apart along many quantities, and what lies between them is no correlation within one.
    correlations = _level_correlations(standardised, condition, about=condition if components == 1 else component)
    mixtures = {
        CONDITIONS[index]: _fit_mixture(
            [standardised[component == number] for number in np.unique(component[condition == index])],
            correlations[index],
        )
        for index in np.unique(condition)
    }
    return QuantityDensity(
        names=quantity_names(size - 2),
        center=center,
        scale=scale,
        mixtures=mixtures,
        support={served: _support(mixture, center[:2], scale[:2]) for served, mixture in mixtures.items()},
    )


def _number_components(
    standardised: Vector, log_ratio: Vector, condition: NDArray[np.int64], *, most: int
) -> NDArray[np.int64]:
    """Return the number of each slice's component (n,), over all conditions: sides first, then clusters on a side."""
    component = np.empty(len(condition), dtype=np.int64)
    taken = 0
    for index in np.unique(condition):
        slices = np.flatnonzero(condition == index)
        if len(slices) < 3:
            served = CONDITIONS[index]
            raise TrainingError(f"{served} has {len(slices)} training slices; at least 3 are needed to draw from it")
        for side in _split_by_side(slices, log_ratio[slices], CONDITIONS[index]):
            component[side] = taken + _cluster(standardised[side], most)
            taken = component[side].max() + 1
    return component


def _split_by_side(slices: NDArray[np.int64], log_ratio: Vector, served: Condition) -> list[NDArray[np.int64]]:
    left, right = slices[log_ratio < 0], slices[log_ratio >= 0]
    if served.pattern is Pattern.UNILATERAL and min(len(left), len(right)) >= SMALLEST_COMPONENT:
        return [left, right]
    return [slices]


def _cluster(rows: Vector, most: int) -> NDArray[np.int64]:
    """Return the cluster of each row (n, d): at most so many, each of `SMALLEST_COMPONENT` rows and more."""
    for count in range(min(most, len(rows) // SMALLEST_COMPONENT), 1, -1):
        centres, _ = kmeans(rows, count, iter=CLUSTER_STARTS, rng=CLUSTER_SEED)
        cluster, _ = vq(rows, centres)
        if np.bincount(cluster, minlength=count).min() >= SMALLEST_COMPONENT:
            return np.asarray(cluster, dtype=np.int64)
    return np.zeros(len(rows), dtype=np.int64)


def _fit_mixture(components: Sequence[Vector], level_correlation: Vector) -> GaussianMixture:
    weights, means, factors = [], [], []
    total = sum(map(len, components))
    for members in components:
        n, d = members.shape
        deviation = np.maximum(members.std(axis=0, ddof=1), 1e-6)
        own = _correlation(members, deviation)
        prior = d / (d + n)
        correlation = (1 - prior) * own + prior * level_correlation
        weights.append(n / total)
        means.append(_mean_that_stands_out(members.mean(axis=0), deviation / np.sqrt(n)))
        factors.append(deviation[:, None] * np.linalg.cholesky(correlation + 1e-9 * np.eye(d)))
    return GaussianMixture(weights=np.array(weights), means=np.array(means), factors=np.array(factors))


def _correlation(rows: Vector, deviation: Vector) -> Vector:
    scaled = (rows - rows.mean(axis=0)) / deviation
    correlation: Vector = scaled.T @ scaled / (len(rows) - 1)
    np.fill_diagonal(correlation, 1.0)
    return correlation


def _mean_that_stands_out(mean: Vector, standard_error: Vector) -> Vector:
    """Shrink the means of scores towards 0, their mean over the level; mean counts and log ratio are kept."""
    kept = np.clip(1 - standard_error**2 / np.maximum(mean**2, 1e-12), 0, 1)
    kept[:2] = 1
    shrunk: Vector = mean * kept
    return shrunk


def _level_correlations(
    standardised: Vector, condition: NDArray[np.int64], *, about: NDArray[np.int64]
) -> dict[int, Vector]:
    """Correlations pooled over each level and shrunk, by condition index; `about` (n,) groups slices by their mean."""
    residuals = standardised.copy()
    for group in np.unique(about):
        residuals[about == group] -= residuals[about == group].mean(axis=0)
    level_of = level_of_condition()
    levels = level_of[condition]
    by_level = {level: _shrunk_correlation(residuals[levels == level]) for level in np.unique(levels)}
    return {int(index): by_level[level_of[index]] for index in np.unique(condition)}


def _shrunk_correlation(rows: Vector) -> Vector:
    """Oracle approximating shrinkage of the correlations of rows (n, d) towards the identity."""
    n, d = rows.shape
    deviation = np.maximum(rows.std(axis=0), 1e-12)
    sample = (rows / deviation).T @ (rows / deviation) / n
    trace_of_square, square_of_trace = float((sample**2).sum()), float(np.trace(sample) ** 2)
    denominator = (n + 1 - 2 / d) * (trace_of_square - square_of_trace / d)
    weight = 1.0
    if denominator > 0:
        weight = min(1.0, ((1 - 2 / d) * trace_of_square + square_of_trace) / denominator)
    shrunk: Vector = (1 - weight) * sample + weight * np.eye(d)
    return shrunk


def _support(mixture: GaussianMixture, center: Vector, scale: Vector) -> dict[str, tuple[float, float]]:
    """Ranges a user may ask for: from the fitted density, never from patients' extremes."""
    limits = {}
    for position, name in enumerate((MEAN_COUNTS, LOG_LEFT_RIGHT_RATIO)):
        deviation = np.sqrt((mixture.factors[:, position] ** 2).sum(axis=1))
        low = (mixture.means[:, position] - SUPPORT_DEVIATIONS * deviation).min() * scale[position] + center[position]
        high = (mixture.means[:, position] + SUPPORT_DEVIATIONS * deviation).max() * scale[position] + center[position]
        if name == MEAN_COUNTS:
            low = max(low, FEWEST_COUNTS * center[position])
        limits[name] = (float(low), float(high))
    return limits
