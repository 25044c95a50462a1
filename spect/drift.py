"""Judge slices twice: has the model shifted from itself, and is it far from the reference scans.

*Shift* compares with the released model's own output, feature by feature. *Distance* compares mean counts and the
left/right ratio with the reference scans by the margins of equivalence, and alarms only when the whole interval lies
outside them: a champion is allowed a mean-counts ratio of 0.97 and must not alarm for ever.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import scipy.special
from numpy.typing import NDArray

from spect.conditions import Condition, Pattern
from spect.density import LOG_LEFT_RIGHT_RATIO, MEAN_COUNTS
from spect.equivalence import (
    MEAN_COUNTS_MARGIN,
    Estimate,
    Margin,
    Moments,
    compute_moments,
    difference_of_means,
    fold_log_ratio,
    log_margin,
    log_ratio_margin,
    ratio_of_means,
    ratio_of_spreads,
)
from spect.errors import ConditionError
from spect.judgement import DriftTest, DriftVerdict, Effect, Judgement
from spect.profile import ABSOLUTE_LOG_RATIO, MINIMUM_REFERENCE_PATIENTS, ConditionProfile, ReferenceProfile
from spect.shift import WINDOW_SIZES, compute_shift_score

Values = NDArray[np.float64]

MINIMUM_SLICES = WINDOW_SIZES[0]  # of a window, and of a set of new scans
MINIMUM_PATIENTS = MINIMUM_REFERENCE_PATIENTS  # of a set of new scans: both sides need as many for a bootstrap
DISTANCE_FEATURES = (MEAN_COUNTS, LOG_LEFT_RIGHT_RATIO)  # those that have a margin
_SPACING_TOLERANCE_MM = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparability:
    """What slices were measured in: no feature compares across spacings, mean counts only in one unit and scaling."""

    intensity_unit: str
    intensity_scaling: str
    pixel_spacing_mm: float

    def has_spacing_of(self, profile: ReferenceProfile) -> bool:
        """Whether the pixel spacing is the profile's."""
        return abs(self.pixel_spacing_mm - profile.pixel_spacing_mm) <= _SPACING_TOLERANCE_MM

    def obstacle_to(self, profile: ReferenceProfile, feature: str) -> str:
        """Say what keeps a feature from being compared; empty where nothing does."""
        differences = [] if feature != MEAN_COUNTS else self._differences_of_counts(profile)
        if not self.has_spacing_of(profile):
            differences.append(
                f"the pixel spacing is {self.pixel_spacing_mm:g} mm, the profile's {profile.pixel_spacing_mm:g} mm"
            )
        return "; ".join(differences)

    def _differences_of_counts(self, profile: ReferenceProfile) -> list[str]:
        differences = []
        if self.intensity_unit != profile.intensity_unit:
            differences.append(f"the intensity unit is {self.intensity_unit}, the profile's {profile.intensity_unit}")
        if self.intensity_scaling != profile.intensity_scaling:
            differences.append(f"the scaling is {self.intensity_scaling}, the profile's {profile.intensity_scaling}")
        return differences


def judge_window(
    profile: ReferenceProfile,
    condition: Condition,
    features: Mapping[str, Values],
    *,
    measured_in: Comparability | None = None,
) -> list[Judgement]:
    """Judge generated slices of one condition, drawn with no quantity asked for.

    Parameters
    ----------
    profile
        Of the model that generated them.
    condition
        Theirs.
    features
        Each feature's values, (n,); fewer than 32 are not judged.
    measured_in
        What the counts were measured in; the profile's own when left out.

    Returns
    -------
    list
        One judgement of shift for every feature and one of distance for every feature that has a margin.

    Raises
    ------
    ConditionError
        Where the profile does not know the condition.
    """
    questions = _ask(profile, condition, features, measured_in, patients=None)
    return [_judge_shift(questions[feature]) for feature in profile.features] + [
        _judge_distance(questions[feature]) for feature in DISTANCE_FEATURES
    ]


def judge_scans(
    profile: ReferenceProfile,
    condition: Condition,
    features: Mapping[str, Values],
    *,
    patients: NDArray[np.str_],
    measured_in: Comparability,
) -> list[Judgement]:
    """Judge new scans of one condition against the reference scans, patients drawn with replacement on both sides.

    Shift asks whether any feature's mean or spread differs at all, distance whether mean counts and left/right ratio
    differ by more than their margins. The new scans' bootstrap is drawn here; the reference's was drawn at release
    and lies in the profile. Arguments, returns and errors are those of `judge_window`; `patients` is (n,).
    """
    questions = _ask(profile, condition, features, measured_in, patients=patients)
    return [_judge_change(questions[feature]) for feature in profile.features] + [
        _judge_distance(questions[feature]) for feature in DISTANCE_FEATURES
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """One feature of one condition, and all that a test needs to answer it."""

    profile: ReferenceProfile
    known: ConditionProfile
    condition: Condition
    feature: str
    values: Values
    patients: NDArray[np.str_] | None
    obstacle: str

    def answer(
        self,
        test: DriftTest,
        verdict: DriftVerdict,
        *,
        score: float | None = None,
        threshold: float | None = None,
        effect: Effect | None = None,
        note: str = "",
    ) -> Judgement:
        return Judgement(
            test=test,
            condition=self.condition,
            feature=self.feature,
            verdict=verdict,
            slices=len(self.values),
            score=score,
            threshold=threshold,
            effect=effect,
            note=note,
        )

    def refuse(self, test: DriftTest) -> Judgement | None:
        """Answer what cannot be judged: another unit or spacing, too few slices, or slices of too few patients."""
        if self.obstacle:
            return self.answer(test, DriftVerdict.NOT_COMPARABLE, note=self.obstacle)
        if len(self.values) < MINIMUM_SLICES:
            note = f"at least {MINIMUM_SLICES} slices are needed, got {len(self.values)}"
            return self.answer(test, DriftVerdict.NOT_ENOUGH_DATA, note=note)
        if self.patients is not None and (patients := len(np.unique(self.patients))) < MINIMUM_PATIENTS:
            note = f"at least {MINIMUM_PATIENTS} patients are needed, got {patients}"
            return self.answer(test, DriftVerdict.NOT_ENOUGH_DATA, note=note)
        return None

    def without_reference(self, test: DriftTest) -> Judgement:
        reference = self.known.reference
        note = f"the profile describes no reference here: {reference.slices} slices of {reference.patients} patients"
        return self.answer(test, DriftVerdict.NOT_ENOUGH_DATA, note=note)

    def moments(self, values: Values) -> Moments:
        # The bootstrap of new scans is seeded by the condition: asking twice gives one answer.
        return compute_moments(values, patients=self.patients, rng=np.random.default_rng(self.condition.index))


def _ask(
    profile: ReferenceProfile,
    condition: Condition,
    features: Mapping[str, Values],
    measured_in: Comparability | None,
    *,
    patients: NDArray[np.str_] | None,
) -> dict[str, _Question]:
    known = profile.conditions.get(str(condition))
    if known is None:
        raise ConditionError(
            f"the reference profile does not know {condition}; it knows {', '.join(profile.conditions)}"
        )
    return {
        feature: _Question(
            profile=profile,
            known=known,
            condition=condition,
            feature=feature,
            values=np.asarray(features[feature], dtype=np.float64),
            patients=patients,
            obstacle=measured_in.obstacle_to(profile, feature) if measured_in else "",
        )
        for feature in profile.features
    }


def _judge_shift(question: _Question) -> Judgement:
    """Compare a window with the model's own output."""
    if refusal := question.refuse(DriftTest.SHIFT):
        return refusal
    profile, own = question.profile, question.known.own_output
    threshold = profile.shift_thresholds[max(size for size in profile.windows if size <= len(question.values))]
    score = compute_shift_score(question.values, np.asarray(own.quantiles[question.feature]), own.slices)
    verdict = DriftVerdict.DRIFT if score > threshold else DriftVerdict.OK
    return question.answer(DriftTest.SHIFT, verdict, score=score, threshold=threshold)


def _judge_change(question: _Question) -> Judgement:
    """Compare new scans with the reference scans: the larger of the changes in mean and in spread, in its errors."""
    if refusal := question.refuse(DriftTest.SHIFT):
        return refusal
    reference = question.known.reference.moments(question.feature)
    if reference is None:
        return question.without_reference(DriftTest.SHIFT)
    sample = _with_error_of_one_population(question.moments(question.values), reference)
    confidence = 1 - question.profile.false_alarm_rate / (2 * question.profile.tests)  # two statistics a feature
    changes = [_change(difference_of_means(sample, reference, confidence=confidence), sample.mean - reference.mean)]
    if sample.sd > 0 and reference.sd > 0:
        spreads = ratio_of_spreads(sample, reference, confidence=confidence)
        changes.append(_change(spreads, math.log(spreads.value)))
    score, threshold = max(changes, key=lambda change: change[0] / change[1])
    verdict = DriftVerdict.DRIFT if score > threshold else DriftVerdict.OK
    return question.answer(DriftTest.SHIFT, verdict, score=score, threshold=threshold)


def _with_error_of_one_population(sample: Moments, reference: Moments) -> Moments:
    """Return the sample with no smaller a relative error of its SD than the reference's would be at its size.

    The question is whether both are one population. A few scans that happen to lie close together have a small SD and
    a small bootstrap error of it at once, which would raise false alarms.
    """
    expected = reference.log_sd_error * math.sqrt(reference.units / sample.units)
    return replace(sample, log_sd_error=max(sample.log_sd_error, expected))


def _change(estimate: Estimate, difference: float) -> tuple[float, float]:
    """Return a difference in standard errors and how many chance allows."""
    allowed = float(scipy.special.stdtrit(estimate.degrees_of_freedom, (1 + estimate.confidence) / 2))
    if estimate.standard_error == 0:
        return (0.0 if difference == 0 else 2 * allowed, allowed)
    return abs(difference) / estimate.standard_error, allowed


def _judge_distance(question: _Question) -> Judgement:
    """Compare mean counts or left/right ratio with the reference scans by their margin.

    Score and threshold are in margins: the score is the effect, the threshold one margin and half the interval. The
    interval's level is such that a model which stands exactly on a margin alarms at the profile's rate.
    """
    if refusal := question.refuse(DriftTest.DISTANCE):
        return refusal
    is_ratio = question.feature == MEAN_COUNTS
    pattern = question.condition.pattern
    statistic = ABSOLUTE_LOG_RATIO if not is_ratio and pattern is Pattern.UNILATERAL else question.feature
    reference = question.known.reference.moments(statistic)
    if reference is None:
        return question.without_reference(DriftTest.DISTANCE)
    sample = question.moments(question.values if is_ratio else fold_log_ratio(question.values, pattern))
    tests = len(DISTANCE_FEATURES) * len(question.profile.conditions)
    confidence = 1 - 2 * question.profile.false_alarm_rate / tests
    compare = ratio_of_means if is_ratio else difference_of_means
    estimate = compare(sample, reference, confidence=confidence)
    margin = MEAN_COUNTS_MARGIN if is_ratio else log_ratio_margin(pattern)
    score, threshold = _in_margins(estimate, margin, is_ratio=is_ratio)
    effect = Effect(
        value=estimate.value, low=estimate.low, high=estimate.high, margin_low=margin.low, margin_high=margin.high
    )
    verdict = DriftVerdict.DRIFT if score > threshold else DriftVerdict.OK
    return question.answer(DriftTest.DISTANCE, verdict, score=score, threshold=threshold, effect=effect)


def _in_margins(estimate: Estimate, margin: Margin, *, is_ratio: bool) -> tuple[float, float]:
    """Return the effect in margins of its own side, and one margin plus half the interval."""
    value, high = estimate.value, estimate.high
    if is_ratio:
        value, high, margin = math.log(value), math.log(high), log_margin(margin)
    reach = margin.high if value >= 0 else -margin.low
    return abs(value) / reach, 1 + (high - value) / reach
