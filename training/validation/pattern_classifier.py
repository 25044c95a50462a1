"""A classifier of pattern: one logistic regression a level, on the regional pattern and the asymmetry of slices.

It sees the principal components of a slice in `standard_space` made symmetric, and of its absolute left-right
difference, so that a defect counts the same on either side; neither mean counts nor the left/right ratio enter.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from spect.conditions import CONDITIONS, Level, Pattern
from training.auc import compute_auc
from training.validation.projection import Projection, fit_projection
from training.validation.sample import Sample
from training.validation.standard_space import COLUMNS, StandardSlice

COMPONENTS = 20  # of each view
SMOOTHING_PIXELS = 1.5  # SD, before sides are compared: noise has no side
REGULARISATION = 0.3  # scikit-learn's C
MAX_ITERATIONS = 2000

Vector = NDArray[np.float64]
Labels = NDArray[np.int64]
_PATTERN_OF = np.array([list(Pattern).index(condition.pattern) for condition in CONDITIONS])
_LEVEL_OF = np.array([list(Level).index(condition.level) for condition in CONDITIONS])


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSlices:
    """Slices in standard space with their conditions: what a classifier learns from or is tried on."""

    standard: StandardSlice  # (n, 48, 40)
    condition_index: Labels  # (n,)

    @classmethod
    def of(cls, sample: Sample) -> "LabelledSlices":
        """Take them from a measured sample."""
        return cls(standard=sample.standard, condition_index=sample.condition_index)

    @property
    def pattern(self) -> Labels:
        """Position in `Pattern`, (n,)."""
        return np.asarray(_PATTERN_OF[self.condition_index])

    def take(self, rows: NDArray[np.intp]) -> "LabelledSlices":
        """Return the slices at these positions."""
        return LabelledSlices(standard=self.standard[rows], condition_index=self.condition_index[rows])

    def __add__(self, other: "LabelledSlices") -> "LabelledSlices":
        return LabelledSlices(
            standard=np.concatenate([self.standard, other.standard]),
            condition_index=np.concatenate([self.condition_index, other.condition_index]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _LevelClassifier:
    symmetric: Projection
    asymmetric: Projection
    model: Pipeline | None  # None where all slices of the level have one pattern
    only: int

    def predict(self, standard: StandardSlice) -> Labels:
        if self.model is None:
            return np.full(len(standard), self.only, dtype=np.int64)
        return np.asarray(self.model.predict(self._scores(standard)))

    def chances(self, standard: StandardSlice) -> Vector:
        """Chance of each pattern (n, patterns); 0 for one it never saw."""
        chances = np.zeros((len(standard), len(Pattern)))
        if self.model is None:
            chances[:, self.only] = 1
        else:
            chances[:, self.model.classes_] = self.model.predict_proba(self._scores(standard))
        return chances

    def _scores(self, standard: StandardSlice) -> Vector:
        views = _views(standard)
        return np.hstack([self.symmetric.scores(views[0]), self.asymmetric.scores(views[1])])


class PatternClassifier:
    """Fitted on labelled slices; predicts patterns of others."""

    def __init__(self, slices: LabelledSlices) -> None:
        level = _LEVEL_OF[slices.condition_index]
        self._levels: Mapping[int, _LevelClassifier] = {
            int(one): _fit_level(slices.take(np.flatnonzero(level == one))) for one in np.unique(level)
        }

    def predict(self, slices: LabelledSlices) -> Labels:
        """Return positions in `Pattern`, (n,); -1 at a level it never saw."""
        predicted = np.full(len(slices.condition_index), -1, dtype=np.int64)
        level = _LEVEL_OF[slices.condition_index]
        for one, classifier in self._levels.items():
            rows = level == one
            if rows.any():
                predicted[rows] = classifier.predict(slices.standard[rows])
        return predicted

    def chances(self, slices: LabelledSlices) -> Vector:
        """Return the chance of each pattern, (n, patterns); 0 at a level it never saw."""
        chances = np.zeros((len(slices.condition_index), len(Pattern)))
        level = _LEVEL_OF[slices.condition_index]
        for one, classifier in self._levels.items():
            rows = level == one
            if rows.any():
                chances[rows] = classifier.chances(slices.standard[rows])
        return chances


def _fit_level(slices: LabelledSlices) -> _LevelClassifier:
    views = _views(slices.standard)
    size = min(COMPONENTS, max(1, len(slices.standard) // 3))
    symmetric, asymmetric = (fit_projection(view, size) for view in views)
    patterns = np.unique(slices.pattern)
    model = None
    if len(patterns) > 1:
        model = make_pipeline(
            StandardScaler(),
            LogisticRegression(C=REGULARISATION, class_weight="balanced", max_iter=MAX_ITERATIONS),
        )
        model.fit(np.hstack([symmetric.scores(views[0]), asymmetric.scores(views[1])]), slices.pattern)
    return _LevelClassifier(symmetric=symmetric, asymmetric=asymmetric, model=model, only=int(patterns[0]))


def _views(standard: StandardSlice) -> tuple[StandardSlice, StandardSlice]:
    mirrored = standard[:, :, ::-1]
    difference = scipy.ndimage.gaussian_filter(standard - mirrored, (0, SMOOTHING_PIXELS, SMOOTHING_PIXELS))
    half = slice(COLUMNS // 2, None)
    symmetric: StandardSlice = ((standard + mirrored)[:, :, half] / 2).astype(np.float32)
    asymmetric: StandardSlice = np.abs(difference)[:, :, half].astype(np.float32)
    return symmetric, asymmetric


def compute_balanced_accuracy(predicted: Labels, pattern: Labels, weights: Vector) -> Vector:
    """Mean over patterns of the share found, for each row of weights (replicates, n)."""
    shares = []
    for one in np.unique(pattern):
        of_pattern = weights[:, pattern == one]
        found = (of_pattern * (predicted[pattern == one] == one)).sum(axis=1)
        shares.append(found / np.maximum(of_pattern.sum(axis=1), np.finfo(float).tiny))
    return np.asarray(np.mean(shares, axis=0))


def compute_pattern_auc(chances: Vector, condition_index: Labels) -> float:
    """Mean AUC of one pattern against the others of its level, over the conditions.

    Parameters
    ----------
    chances
        Chance of each pattern, (n, patterns).
    condition_index
        What the slices are, (n,).
    """
    level, pattern = _LEVEL_OF[condition_index], _PATTERN_OF[condition_index]
    aucs = []
    for index in np.unique(condition_index):
        of_level = level == _LEVEL_OF[index]
        others = of_level & (pattern != _PATTERN_OF[index])
        if others.any():
            chance = chances[:, _PATTERN_OF[index]]
            aucs.append(compute_auc(chance[condition_index == index], chance[others]))
    return float(np.mean(aucs)) if aucs else float("nan")
