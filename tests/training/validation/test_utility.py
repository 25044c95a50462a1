"""What synthetic slices teach a classifier of pattern, and whether they betray who was trained on."""

from dataclasses import replace

import numpy as np
import pytest

from spect.conditions import CONDITIONS, Pattern
from tests.support.toy_slices import (
    compare,
    honest_comparison,
    honest_sample,
    reference_sample,
    toy_sample,
    training_slices,
)
from training.validation.membership import measure_membership
from training.validation.pattern_classifier import (
    LabelledSlices,
    PatternClassifier,
    compute_balanced_accuracy,
    compute_pattern_auc,
)
from training.validation.utility import GAIN, SYNTHETIC_ALONE, measure_utility


def measured(comparison):
    return {m.metric: m for m in measure_utility(comparison)}


def relabel(share):
    """An honest sample in which a share of the slices shows another pattern than it is labelled with."""
    honest = honest_sample()
    rng = np.random.default_rng(4)
    index = honest.condition_index.copy()
    for level in {c.level for c in CONDITIONS}:
        of_level = np.flatnonzero(np.isin(index, [c.index for c in CONDITIONS if c.level is level]))
        chosen = rng.choice(of_level, size=round(share * len(of_level)), replace=False)
        index[chosen] = rng.permutation(index[chosen])
    return compare(replace(honest, condition_index=index))


def test_a_classifier_taught_by_a_perfect_generator_does_as_well_as_by_real_slices() -> None:
    alone = measured(honest_comparison())[SYNTHETIC_ALONE]
    assert alone.value == pytest.approx(alone.null, abs=0.1)  # real slices of other patients teach as well
    assert alone.low < 1 < alone.high


def test_labels_that_do_not_fit_teach_less_the_more_of_them_there_are() -> None:
    ratios = [measured(relabel(share))[SYNTHETIC_ALONE].value for share in (0.0, 0.5, 1.0)]
    assert ratios[0] > ratios[1] > ratios[2]
    assert ratios[2] < 0.7


def test_honest_slices_added_to_a_few_real_ones_help_and_mislabelled_ones_do_not() -> None:
    fair, wrong = measured(honest_comparison())[GAIN], measured(relabel(1.0))[GAIN]
    assert fair.value > 0
    assert fair.value == pytest.approx(fair.null, abs=0.1)
    assert fair.low <= fair.value <= fair.high
    assert wrong.high < 0
    assert "has the generator" in fair.note


def test_a_reference_too_small_to_deal_is_not_measured_and_says_why() -> None:
    comparison = honest_comparison()
    few = np.concatenate(
        [np.flatnonzero(comparison.reference.condition_index == i)[:6] for i in range(len(CONDITIONS))]
    )
    both = measure_utility(replace(comparison, reference=comparison.reference.take(few)))
    assert [m.value for m in both] == [None, None]
    assert "a third of the patients" in both[0].note


def test_the_classifier_of_pattern_sees_a_defect_on_a_side_it_never_met() -> None:
    reference, honest = reference_sample(), honest_sample()
    one_sided = reference.take(np.flatnonzero(reference.measures["log_left_right_ratio"] <= 0.01))
    predicted = PatternClassifier(LabelledSlices.of(one_sided)).predict(LabelledSlices.of(honest))
    unilateral = np.isin(honest.condition_index, [c.index for c in CONDITIONS if c.pattern is Pattern.UNILATERAL])
    other_side = unilateral & (honest.measures["log_left_right_ratio"] > 0.05)
    assert (predicted[other_side] == list(Pattern).index(Pattern.UNILATERAL)).mean() > 0.8


def test_balanced_accuracy_counts_every_pattern_alike() -> None:
    pattern, predicted = np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0])
    assert compute_balanced_accuracy(predicted, pattern, np.ones((1, 4)))[0] == 0.5


def attack_copies(share):
    honest, training = honest_sample(), training_slices()
    counts = honest.counts.copy()
    rng = np.random.default_rng(8)
    for index in np.unique(honest.condition_index):
        rows = np.flatnonzero(honest.condition_index == index)
        chosen = rows[: round(share * len(rows))]
        counts[chosen] = rng.permutation(training.counts[training.condition_index == index])[: len(chosen)]
    return measure_membership(compare(toy_sample(counts, honest.condition_index)))[0]


def test_membership_cannot_be_inferred_from_a_perfect_generator() -> None:
    fair = measure_membership(honest_comparison())
    assert fair[0].cell == "all"
    assert fair[0].value == pytest.approx(0.5, abs=0.06)
    assert fair[0].low < 0.5 < fair[0].high
    assert "within 0.6" in fair[0].note
    assert {m.cell for m in fair} == {"all", *map(str, CONDITIONS)}


def test_membership_is_inferred_the_better_the_more_slices_are_copied() -> None:
    aucs = [attack_copies(share) for share in (0.1, 0.4, 1.0)]
    assert aucs[0].value < aucs[1].value < aucs[2].value
    assert aucs[2].value > 0.95
    assert "above 0.6" in aucs[2].note


def test_without_the_training_cohort_membership_is_not_measured_and_says_why() -> None:
    (one,) = measure_membership(replace(honest_comparison(), training=None))
    assert one.value is None
    assert "training cohort" in one.note


def test_auc_of_pattern_is_taken_within_a_level_and_averages_conditions() -> None:
    index = np.array([0, 0, 1, 1])  # CER/normal, CER/unilateral
    certain = np.array([[0.9, 0.1, 0], [0.8, 0.2, 0], [0.3, 0.7, 0], [0.1, 0.9, 0]])
    assert compute_pattern_auc(certain, index) == 1
    assert compute_pattern_auc(certain[::-1], index) == 0
    assert compute_pattern_auc(np.full((4, 3), 1 / 3), index) == 0.5
    both = np.concatenate([index, [2, 2, 3, 3]])  # and basal ganglia, told at chance
    assert compute_pattern_auc(np.concatenate([certain, np.full((4, 3), 1 / 3)]), both) == 0.75


def test_chances_of_a_classifier_agree_with_what_it_predicts() -> None:
    honest = LabelledSlices.of(honest_sample())
    classifier = PatternClassifier(LabelledSlices.of(reference_sample()))
    chances = classifier.chances(honest)
    assert np.allclose(chances.sum(axis=1), 1)
    assert np.array_equal(chances.argmax(axis=1), classifier.predict(honest))
    assert compute_pattern_auc(chances, honest.condition_index) > 0.8
