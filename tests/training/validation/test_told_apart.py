"""Two-sample tests in what a generator is not asked for: a network, components beyond the asked ones, single bands."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import scipy.ndimage

from spect.conditions import Pattern
from tests.support.toy_slices import compare, corrupt, honest_comparison, honest_sample, reference_sample, toy_sample
from training.validation.beyond_conditioned import METRIC as BEYOND
from training.validation.beyond_conditioned import decide_beyond, measure_beyond_conditioned, take_out
from training.validation.convolutional_classifier import METRIC as NETWORK
from training.validation.convolutional_classifier import decide, measure_convolutional_classifier
from training.validation.frequency_bands import BANDS, bands_of, measure_frequency_bands
from training.validation.projection import fit_projection
from training.validation.separability import judge_decisions, label_first, name_patients, patient_folds
from training.validation.two_sample_classifier import reference_outlines

FEW_IMAGES = 2400
ASKED = 8


def blur(sigma):
    return lambda counts: scipy.ndimage.gaussian_filter(counts, (0, sigma, sigma))


@cache
def masks():
    return reference_outlines(reference_sample())


def network_auc(sample):
    pair = (sample, reference_sample())
    return judge_decisions(pair, decide(pair, masks(), seed=0, images=FEW_IMAGES), seed=0).auc


def beyond_auc(sample, asked=ASKED):
    pair = (sample, reference_sample())
    return judge_decisions(pair, decide_beyond(pair, masks(), asked, seed=0), seed=0).auc


def test_a_small_network_cannot_tell_a_perfect_generator_and_tells_blur_in_order_of_its_width() -> None:
    fair, slight, strong = (network_auc(s) for s in (honest_sample(), corrupt(blur(0.9)), corrupt(blur(1.6))))
    assert 0.38 < fair < 0.62
    assert fair < slight < strong
    assert strong > 0.9


def test_the_network_decides_alike_for_one_seed() -> None:
    pair = (honest_sample(), reference_sample())
    first, second = (decide(pair, masks(), seed=3, images=192) for _ in range(2))
    assert np.array_equal(first, second)


def test_the_network_reports_all_conditions_and_every_pattern_with_null_and_floor() -> None:
    measured = {m.cell: m for m in measure_convolutional_classifier(honest_comparison(), images=192)}
    assert set(measured) == {"all", *Pattern}
    assert all(m.metric == NETWORK and m.null is not None and m.floor is not None for m in measured.values())
    assert all(m.low <= m.value <= m.high for m in measured.values())


def test_the_network_sees_as_many_synthetic_as_reference_slices_of_each_condition() -> None:
    comparison = honest_comparison()
    few = comparison.reference.take(np.flatnonzero(np.arange(len(comparison.reference)) % 40 < 10))
    measured = {m.cell: m for m in measure_convolutional_classifier(replace(comparison, reference=few), images=64)}
    assert measured["all"].slices_synthetic == measured["all"].slices_reference == 80
    assert measured["normal"].slices_synthetic == 30


def test_folds_share_no_patient_and_hold_both_samples() -> None:
    first, second = honest_sample(), reference_sample()
    twice = np.array([f"p{row // 2}" for row in range(len(first))])
    pair = (replace(first, patient=twice), replace(second, patient=twice))
    patients, labels = name_patients(pair), label_first(pair)
    held = []
    for fitted, held_out in patient_folds(pair, seed=1):
        assert not set(patients[fitted]) & set(patients[held_out])
        assert labels[held_out].mean() == pytest.approx(0.5, abs=0.05)
        held.append(held_out)
    assert sorted(np.concatenate(held)) == list(range(len(labels)))


def scale_components(factor, components):
    """An honest sample whose deviations along some of the components of its level are scaled."""

    def change(counts):
        honest = honest_sample()
        changed = counts.reshape(len(counts), -1).copy()
        level = np.array([0, 0, 1, 1, 1, 2, 2, 2])[honest.condition_index]
        for one in range(3):
            rows = level == one
            basis = fit_projection(changed[rows], components.stop)
            scores = basis.scores(changed[rows])[:, components]
            changed[rows] += ((factor - 1) * scores @ basis.components[components]).astype(np.float32)
        return changed.reshape(counts.shape)

    return corrupt(change)


def test_what_is_lost_beyond_the_asked_components_is_seen_and_a_change_among_them_is_not() -> None:
    fair = beyond_auc(honest_sample())
    halved, gone = (beyond_auc(scale_components(kept, slice(ASKED, 60))) for kept in (0.6, 0.2))
    assert fair < 0.62
    assert fair < halved < gone
    assert gone > 0.85
    assert beyond_auc(scale_components(1.5, slice(0, 2))) < 0.65


def test_taking_out_components_leaves_nothing_of_them() -> None:
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.standard_normal((30, 3)))[0].T
    flat = (rng.standard_normal((40, 3)) * 50 @ directions + rng.standard_normal((40, 30))).astype(np.float32)
    rest = take_out(flat, np.zeros(40, dtype=np.int64), 3)
    assert np.abs(rest @ directions.T).std() < 0.3
    assert rest.std() == pytest.approx(1, abs=0.15)


def test_as_many_components_are_taken_out_as_were_asked() -> None:
    asked = tuple(f"score_{k + 1}" for k in range(30))
    measured = measure_beyond_conditioned(replace(honest_comparison(), conditioned=("mean_counts", *asked)))
    assert {m.metric for m in measured} == {BEYOND}
    assert "30 components" in measured[0].note


def by_band(sample):
    return [m.value for m in measure_frequency_bands(compare(sample))]


def test_blur_is_told_in_the_highest_band_and_a_shading_in_the_lowest() -> None:
    fair = measure_frequency_bands(honest_comparison())
    assert [m.metric for m in fair] == [band.metric for band in BANDS if band.high <= 1.25]
    assert all(m.value < 0.66 and m.null < 0.66 for m in fair)
    blurred = by_band(corrupt(blur(0.5)))
    assert blurred[-1] == max(blurred) > 0.95
    assert blurred[0] < 0.7
    ramp = np.linspace(0.9, 1.1, 64)[None, :, None]
    shaded = by_band(corrupt(lambda counts: counts * ramp))
    assert shaded[0] > 0.8
    assert shaded[0] > shaded[-1] + 0.15


def test_finer_pixels_hold_one_band_more() -> None:
    assert len(bands_of(2.0)) == len(bands_of(4.0)) + 1 == len(BANDS)


def test_light_at_the_border_of_the_field_is_told_in_a_band() -> None:
    honest = honest_sample()
    counts = honest.counts.copy()
    counts[:, :6] += 0.5
    assert max(by_band(toy_sample(counts, honest.condition_index))) > 0.9
