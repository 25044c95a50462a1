"""What slices teach a classifier of pattern when they are added to few real ones, and the gain over several seeds.

Used by the panel (`utility`: a site that has the generator) and by `benchmarks/few_scans.py` (a site that trained it).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from training.validation.gaussian_floor import draw_gaussian_slices
from training.validation.pattern_classifier import (
    LabelledSlices,
    PatternClassifier,
    compute_balanced_accuracy,
    compute_pattern_auc,
)

Name = TypeVar("Name", bound=str)  # of a set of slices

FEWEST = 3  # slices a condition below which nothing is learned or judged
CONFIDENCE = 0.95
FEWEST_SEEDS = 2  # below it there is no spread, and no interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """How well a taught classifier does on slices it never met."""

    balanced_accuracy: float
    auc: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """Mean of differences, one a seed, with its 95 % t interval; no interval from a single seed."""

    mean: float
    low: float | None
    high: float | None


def teach(taught: LabelledSlices, judged: LabelledSlices) -> Lesson:
    """Teach a classifier with some slices and try it on others."""
    classifier = PatternClassifier(taught)
    weights = np.ones((1, len(judged.condition_index)))
    return Lesson(
        balanced_accuracy=float(compute_balanced_accuracy(classifier.predict(judged), judged.pattern, weights)[0]),
        auc=compute_pattern_auc(classifier.chances(judged), judged.condition_index),
    )


def teach_with_added(
    few: LabelledSlices, added: Mapping[Name, LabelledSlices], judged: LabelledSlices
) -> tuple[Lesson, dict[Name, Lesson]]:
    """Return what few slices teach alone, and what they teach together with each of the sets added."""
    return teach(few, judged), {name: teach(few + slices, judged) for name, slices in added.items()}


def draw_gaussian(
    known: LabelledSlices, condition_index: NDArray[np.int64], rng: np.random.Generator
) -> LabelledSlices:
    """Draw the floor: slices of these conditions (n,) from each condition's own Gaussian, fitted on known slices."""
    drawn = draw_gaussian_slices(known.standard, known.condition_index, condition_index, rng)
    return LabelledSlices(standard=drawn, condition_index=condition_index)


def compute_gain(differences: Sequence[float]) -> Gain:
    """Average differences, one a seed; seeds are the units of the interval."""
    mean = float(np.mean(differences))
    if len(differences) < FEWEST_SEEDS:
        return Gain(mean=mean, low=None, high=None)
    freedom = len(differences) - 1
    reach = float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, freedom) * scipy.stats.sem(differences))
    return Gain(mean=mean, low=mean - reach, high=mean + reach)
