from functools import cache

import numpy as np
import pytest
import scipy.ndimage

from spect.conditions import Pattern
from tests.support.toy_slices import (
    compare,
    corrupt,
    honest_comparison,
    honest_sample,
    reference_sample,
    toy_sample,
)
from training.auc import compute_auc, compute_weighted_auc
from training.validation.diversity import compute_pairwise_similarity
from training.validation.kernel_discrepancy import compute_mmd_squared
from training.validation.neighbourhoods import compute_neighbourhoods
from training.validation.pixel_histogram import compute_histogram_distance
from training.validation.principal_components import measure_principal_components
from training.validation.shape import measure_shape
from training.validation.sliced_wasserstein import compute_sliced_wasserstein
from training.validation.spectrum import compute_spectrum_distance
from training.validation.two_sample_classifier import (
    INSIDE_OUTLINE,
    WHOLE_FIELD,
    classify,
    describe_most_telling,
    measure_two_sample_classifier,
    pixels_everywhere,
    pixels_inside,
    reference_outlines,
)


def blur(sigma):
    return lambda counts: scipy.ndimage.gaussian_filter(counts, (0, sigma, sigma))


@cache
def fair_aucs():
    return {(m.metric, m.cell): m for m in measure_two_sample_classifier(honest_comparison())}


def auc_inside(sample):
    masks = reference_outlines(reference_sample())
    return classify((sample, reference_sample()), lambda s: pixels_inside(s, masks), seed=0).auc


def test_a_classifier_cannot_tell_a_perfect_generator_and_tells_blur_in_order_of_its_width() -> None:
    fair = fair_aucs()[INSIDE_OUTLINE, "all"]
    blurred = [auc_inside(corrupt(blur(sigma))) for sigma in (0.45, 0.6, 0.9)]
    assert fair.value < 0.6
    assert fair.null < 0.65
    assert fair.low < 0.55
    assert fair.value < blurred[0] < blurred[1] <= blurred[2]
    assert blurred[2] > 0.95


def test_light_outside_the_head_is_told_over_the_whole_field_only() -> None:
    outside = ~reference_sample().outlines.any(axis=0)

    def leak(counts):
        counts[:, outside] += 0.6
        return counts

    leaking = corrupt(leak)
    everywhere = classify((leaking, reference_sample()), pixels_everywhere, seed=0).auc
    assert everywhere > 0.95
    assert everywhere > auc_inside(leaking) + 0.1


def test_the_classifier_reports_every_pattern_and_its_floor_is_worse_than_its_null() -> None:
    measured = fair_aucs()
    assert {cell for metric, cell in measured if metric == INSIDE_OUTLINE} == {*Pattern, "all"}
    assert {cell for metric, cell in measured if metric == WHOLE_FIELD} == {*Pattern, "all"}
    assert measured[INSIDE_OUTLINE, "all"].floor > measured[INSIDE_OUTLINE, "all"].null


def test_the_feature_that_gives_a_generator_away_is_named() -> None:
    assert "feature mean_counts, alone 1.00" in describe_most_telling(
        (corrupt(lambda counts: counts * 2), reference_sample())
    )
    assert "feature mean_counts" not in describe_most_telling((corrupt(blur(0.9)), reference_sample()))


def test_auc_counts_ties_a_half_and_follows_weights() -> None:
    decisions, labels = np.array([0.0, 1.0, 1.0, 2.0]), np.array([0, 1, 0, 1])
    weights = np.array([[1.0, 1, 1, 1], [1, 0, 1, 1], [1, 1, 1, 0]])
    assert compute_weighted_auc(decisions, labels, weights) == pytest.approx([3.5 / 4, 1.0, 0.75])
    assert compute_auc(decisions[labels == 1], decisions[labels == 0]) == pytest.approx(3.5 / 4)


def test_variety_along_principal_components_falls_as_slices_move_to_their_mean() -> None:
    honest = honest_sample()
    means = np.stack([honest.counts[honest.condition_index == i].mean(axis=0) for i in range(8)])
    ratios = []
    for kept in (1.0, 0.7, 0.4):
        counts = kept * honest.counts + (1 - kept) * means[honest.condition_index]
        (measured,) = measure_principal_components(compare(toy_sample(counts, honest.condition_index)))
        ratios.append(measured.value)
    assert ratios[0] == pytest.approx(1, abs=0.12)
    assert ratios[1] == pytest.approx(0.7 * ratios[0], rel=0.02)
    assert ratios[2] == pytest.approx(0.4 * ratios[0], rel=0.02)


def test_spectrum_distance_ranks_blur() -> None:
    reference = reference_sample()
    distances = [compute_spectrum_distance(corrupt(blur(s)), reference) for s in (0.3, 0.5, 0.8, 1.2)]
    assert compute_spectrum_distance(honest_sample(), reference) < distances[1]
    assert distances == sorted(distances)


def test_histogram_distance_is_the_share_by_which_counts_are_raised() -> None:
    reference = reference_sample()
    raised = [compute_histogram_distance(corrupt(lambda c, s=s: c * (1 + s)), honest_sample()) for s in (0.02, 0.1)]
    assert raised == pytest.approx([0.02, 0.1], abs=0.004)
    assert compute_histogram_distance(honest_sample(), reference) < 0.05


def test_outline_area_follows_a_larger_head() -> None:
    def grow(counts):
        return np.stack([scipy.ndimage.zoom(one, 1.1, order=1)[3:67, 3:67] for one in counts])

    measured = [m for m in measure_shape(compare(corrupt(grow))) if m.metric == "outline_area_ratio"]
    assert np.mean([m.value for m in measured]) == pytest.approx(1.21, abs=0.05)
    assert all(m.verdict == "different" for m in measured)


def test_copies_of_one_slice_are_alike_and_different_patients_are_not() -> None:
    honest = honest_sample()
    rng = np.random.default_rng(0)
    of_one = np.flatnonzero(honest.condition_index == 0)
    different = compute_pairwise_similarity(honest.take(of_one), rng)
    same = compute_pairwise_similarity(honest.take(np.repeat(of_one[:1], 20)), rng)
    assert same == pytest.approx(1, abs=1e-4)
    assert different < 0.97


def test_a_dropped_mode_lowers_recall_and_coverage_and_implausible_slices_lower_precision() -> None:
    rng = np.random.default_rng(5)
    sides = np.where(np.arange(300) % 2, 4.0, -4.0)
    reference = rng.standard_normal((300, 6)) + sides[:, None]
    honest = rng.standard_normal((300, 6)) + sides[:, None]
    one_side = rng.standard_normal((300, 6)) + 4.0
    far = honest + np.array([12.0, 0, 0, 0, 0, 0])
    fair, dropped, odd = (compute_neighbourhoods(s, reference) for s in (honest, one_side, far))
    assert min(fair.values()) > 0.85
    assert dropped["recall"] < 0.6
    assert dropped["coverage"] < 0.6
    assert dropped["precision"] > 0.85
    assert odd["precision"] < 0.1
    assert odd["density"] < 0.1


def test_kernel_discrepancy_is_unbiased_and_ranks_shifts() -> None:
    rng = np.random.default_rng(6)
    draws = [rng.standard_normal((2, 80, 5)) for _ in range(60)]
    honest = [compute_mmd_squared(first, second) for first, second in draws]
    assert abs(np.mean(honest)) < 3 * np.std(honest) / np.sqrt(len(honest))
    first, second = draws[0]
    shifted = [compute_mmd_squared(first + s, second) for s in (0.0, 0.2, 0.5)]
    assert shifted == sorted(shifted)


def test_sliced_wasserstein_ranks_shifts() -> None:
    rng = np.random.default_rng(7)
    first, second = rng.standard_normal((2, 200, 5))
    distances = [compute_sliced_wasserstein(first + s, second, np.random.default_rng(0)) for s in (0.0, 0.3, 0.6)]
    assert distances == sorted(distances)
    assert distances[0] < 0.15
