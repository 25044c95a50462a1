"""The default false-alarm rate, one round in 1,000 over all features and conditions, held by simulation."""

from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from spect.conditions import CONDITIONS
from spect.drift import judge_window
from spect.judgement import DriftTest, DriftVerdict
from spect.profile import DEFAULT_FALSE_ALARM_RATE, ReferenceProfile
from spect.shift import compute_shift_score, profile_probabilities

PROFILE = Path(__file__).parents[2] / "models" / "reference" / "reference_profile.json"
WINDOW = 32


@pytest.fixture(scope="module")
def profile() -> ReferenceProfile:
    """The released reference model's own."""
    return ReferenceProfile.from_json(PROFILE.read_bytes())


def draw_window(profile: ReferenceProfile, condition: str, size: int, rng: np.random.Generator) -> dict:
    """Draw each feature from what the model itself made, by its quantiles; independent features alarm most often."""
    own = profile.conditions[condition].own_output
    probabilities = profile_probabilities(own.slices)
    return {name: np.interp(rng.uniform(size=size), probabilities, own.quantiles[name]) for name in profile.features}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_without_drift_one_round_in_a_thousand_alarms(profile: ReferenceProfile) -> None:
    assert profile.false_alarm_rate == DEFAULT_FALSE_ALARM_RATE
    rounds, alarms = 6000, 0
    threshold = profile.shift_thresholds[WINDOW]
    for number in range(rounds):
        rng = np.random.default_rng([31, number])
        scores = [
            compute_shift_score(values, np.asarray(known.own_output.quantiles[name]), known.own_output.slices)
            for condition, known in profile.conditions.items()
            for name, values in draw_window(profile, condition, WINDOW, rng).items()
        ]
        alarms += max(scores) > threshold
    low, high = scipy.stats.binom.interval(0.99, rounds, DEFAULT_FALSE_ALARM_RATE)
    assert low <= alarms <= high


def test_the_released_champion_at_a_ratio_of_097_never_alarms_for_distance(profile: ReferenceProfile) -> None:
    ratios = []
    for number in range(12):
        for condition in CONDITIONS:
            window = draw_window(profile, str(condition), 512, np.random.default_rng([32, number, condition.index]))
            distances = [one for one in judge_window(profile, condition, window) if one.test is DriftTest.DISTANCE]
            assert {one.verdict for one in distances} == {DriftVerdict.OK}
            ratios += [one.effect.value for one in distances if one.effect and one.feature == "mean_counts"]
    assert min(ratios) < 0.975  # the model is as low as it may be, in some condition
