"""The profile holds aggregates, says what it supports, and refuses what is not a profile."""

import json

import numpy as np
import pytest

from spect.conditions import CONDITIONS, Condition, Level, Pattern
from spect.errors import BundleError, ConfigurationError
from spect.profile import (
    ABSOLUTE_LOG_RATIO,
    DEFAULT_FALSE_ALARM_RATE,
    DEFAULT_PROFILE_SLICES,
    ReferenceProfile,
    ReferenceSample,
    build_profile,
    summarise_reference,
)
from spect.shift import WINDOW_SIZES, smallest_false_alarm_rate, usable_windows
from tests.support.drift_samples import FEATURES, draw_features, make_profile, patients_of

NORMAL = Condition(Level.CORTEX, Pattern.NORMAL)


def _build(generated_slices: int = 256, **changes) -> ReferenceProfile:
    rng = np.random.default_rng(0)
    fields = {
        "reference": {NORMAL: ReferenceSample(features=draw_features(NORMAL, 60, rng), patients=patients_of(60))},
        "generated": {NORMAL: draw_features(NORMAL, generated_slices, rng)},
        "source": "simulated",
        "intensity_unit": "counts",
        "pixel_spacing_mm": 4.0,
    }
    return build_profile(**(fields | changes))


def test_a_profile_survives_its_file_and_two_builds_are_equal() -> None:
    profile = _build()
    assert ReferenceProfile.from_json(profile.to_json()) == profile
    assert _build().to_json() == profile.to_json()


def test_the_file_of_a_full_release_stays_under_one_and_a_half_megabytes() -> None:
    assert len(make_profile(slices=20_000).to_json()) < 1_500_000


def test_a_release_of_twenty_thousand_slices_supports_the_default_rate_at_every_window() -> None:
    assert usable_windows(DEFAULT_PROFILE_SLICES) == WINDOW_SIZES
    tests = len(FEATURES) * len(CONDITIONS)
    assert smallest_false_alarm_rate(DEFAULT_PROFILE_SLICES, tests) <= DEFAULT_FALSE_ALARM_RATE


def test_a_small_profile_states_the_larger_rate_that_it_supports_and_takes_it() -> None:
    profile = _build(256, false_alarm_rate=1e-6)
    assert profile.profile_slices == 256
    assert profile.windows == (32,)
    assert profile.false_alarm_rate == profile.smallest_false_alarm_rate > 1e-6


def test_no_value_of_a_slice_is_in_the_reference_side() -> None:
    rng = np.random.default_rng(1)
    features = draw_features(NORMAL, 60, rng)
    summary = summarise_reference(ReferenceSample(features=features, patients=patients_of(60)), FEATURES, rng)
    kept = {f"{number:.6g}" for one in summary.features.values() for number in one.quantiles.values()}
    own = {f"{value:.6g}" for values in features.values() for value in values}
    assert kept
    assert not kept & own
    assert "0.05" not in summary.features["mean_counts"].quantiles  # three slices would lie beyond it


def test_smoothed_quantiles_are_close_to_the_plain_ones() -> None:
    rng = np.random.default_rng(2)
    features = draw_features(NORMAL, 2000, rng)
    summary = summarise_reference(ReferenceSample(features=features, patients=patients_of(2000)), FEATURES, rng)
    for probability, quantile in summary.features["mean_counts"].quantiles.items():
        assert quantile == pytest.approx(np.quantile(features["mean_counts"], float(probability)), rel=0.01)


def test_a_reference_of_few_patients_is_counted_and_not_described() -> None:
    sample = ReferenceSample(
        features=draw_features(NORMAL, 12, np.random.default_rng(0)), patients=patients_of(12, slices_each=3)
    )
    profile = _build(reference={NORMAL: sample})
    reference = profile.conditions[str(NORMAL)].reference
    assert (reference.slices, reference.patients, reference.features) == (12, 4, {})
    assert reference.moments("mean_counts") is None
    assert profile.reference_quantiles(NORMAL) == {"mean_counts": {}, "left_right_ratio": {}}


def test_where_the_reference_lies_is_told_in_counts_and_as_a_ratio_as_far_out_as_its_slices_carry() -> None:
    features = (
        _build().conditions[str(NORMAL)].reference.features
    )  # of 60 slices: ten lie beyond a quarter, not a tenth
    told = _build().reference_quantiles(NORMAL)
    assert told["mean_counts"] == features["mean_counts"].quantiles
    assert list(told["left_right_ratio"]) == ["0.25", "0.5", "0.75"]
    for probability, ratio in told["left_right_ratio"].items():
        assert np.log(ratio) == pytest.approx(features["log_left_right_ratio"].quantiles[probability], abs=1e-6)


def test_a_condition_without_reference_has_none() -> None:
    assert _build(reference={}).conditions[str(NORMAL)].reference.slices == 0


def test_replicates_carry_the_error_of_patients_and_not_of_slices() -> None:
    rng = np.random.default_rng(3)
    single = draw_features(NORMAL, 80, rng)
    tripled = {name: np.repeat(values, 3) for name, values in single.items()}
    alone = summarise_reference(ReferenceSample(features=single, patients=patients_of(80)), FEATURES, rng)
    together = summarise_reference(
        ReferenceSample(features=tripled, patients=patients_of(240, slices_each=3)), FEATURES, rng
    )
    for feature in (*FEATURES, ABSOLUTE_LOG_RATIO):
        mine, theirs = alone.moments(feature), together.moments(feature)
        assert mine is not None
        assert theirs is not None
        assert theirs.mean_error == pytest.approx(mine.mean_error, rel=0.25)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_version": 2}, "schema_version"),
        ({"pixel_spacing_mm": -1}, "pixel_spacing_mm"),
        ({"conditions": {}}, "conditions must be"),
        ({"features": ["mean_counts"]}, "features must hold"),
        ({"shift_thresholds": {"33": 9.0}}, "shift_thresholds"),
        ({"secret": "p17"}, "secret"),
    ],
)
def test_what_is_no_profile_is_refused_in_one_line(change, words) -> None:
    broken = json.loads(_build().to_json()) | change
    with pytest.raises(BundleError, match=words) as caught:
        ReferenceProfile.from_json(json.dumps(broken).encode())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{}", b"not json", b"\xff\xfe", b'{"schema_version": NaN}'])
def test_broken_bytes_are_refused(content) -> None:
    with pytest.raises(BundleError, match="reference profile cannot be used"):
        ReferenceProfile.from_json(content)


def test_quantiles_that_descend_are_refused() -> None:
    broken = json.loads(_build().to_json())
    broken["conditions"][str(NORMAL)]["own_output"]["quantiles"]["noise_sd"].reverse()
    with pytest.raises(BundleError, match="must not descend"):
        ReferenceProfile.from_json(json.dumps(broken).encode())


@pytest.mark.parametrize("slices", [31, 255])
def test_too_few_own_slices_are_refused_with_the_number_that_is_needed(slices) -> None:
    with pytest.raises(ConfigurationError, match="at least 256"):
        _build(slices)


def test_own_output_that_is_not_finite_is_refused() -> None:
    generated = draw_features(NORMAL, 256, np.random.default_rng(0))
    generated["noise_sd"][3] = np.nan
    with pytest.raises(ConfigurationError, match="noise_sd"):
        _build(generated={NORMAL: generated})
