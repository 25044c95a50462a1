"""What is asked for, what is drawn and what is measured speak of the same numbers."""

import numpy as np
import torch

from spect.conditions import CONDITIONS
from spect.intensity import IntensityScale
from tests.support.tiny_training import tiny_prepared
from training.quantities.differentiable import DifferentiableQuantifier, draw_quantities, emphasis_by_condition
from training.quantities.principal import fit_basis, level_of_condition

PIXEL_SPACING_MM = 4.0


def _quantifier() -> DifferentiableQuantifier:
    prepared = tiny_prepared()
    return DifferentiableQuantifier(
        scale=prepared.scale, density=prepared.density, basis=prepared.basis, pixel_spacing_mm=PIXEL_SPACING_MM
    )


def test_the_differentiable_measure_equals_the_quantifier() -> None:
    prepared = tiny_prepared()
    measured = _quantifier()(prepared.slices.model_images, torch.from_numpy(prepared.slices.condition))
    assert bool((measured.is_measurable == 1).all())
    # In float32, with counts mapped to [-1, 1] and back.
    np.testing.assert_allclose(measured.quantities.numpy(), prepared.slices.quantities, atol=2e-3)


def test_gradients_push_the_asked_quantities_where_they_were_asked_to_go() -> None:
    prepared = tiny_prepared()
    images = prepared.slices.model_images[:4].clone().requires_grad_()
    condition = torch.from_numpy(prepared.slices.condition[:4])
    quantifier = _quantifier()
    before = quantifier(images, condition).quantities
    before[:, 1].sum().backward()  # raise the log left/right ratio
    with torch.no_grad():
        after = quantifier(images + 0.5 * images.grad, condition).quantities
    assert bool((after[:, 1] > before[:, 1]).all())


def test_what_shows_no_brain_is_not_measured_but_its_scores_are() -> None:
    empty = torch.full((2, 1, 64, 64), -1.0, requires_grad=True)
    measured = _quantifier()(empty, torch.tensor([0, 5]))
    assert measured.is_measurable[:, :2].sum() == 0
    assert measured.is_measurable[:, 2:].min() == 1
    assert bool(torch.isfinite(measured.quantities).all())
    measured.quantities.sum().backward()
    assert bool(torch.isfinite(empty.grad).all())


def test_scores_of_training_slices_have_unit_spread_in_their_own_level() -> None:
    prepared = tiny_prepared()
    level = level_of_condition()[prepared.slices.condition]
    for position in range(3):
        scores = prepared.raw[level == position, 2:]
        np.testing.assert_allclose(scores.mean(axis=0), 0, atol=1e-4)
        np.testing.assert_allclose(scores.std(axis=0, ddof=1), 1, atol=1e-3)


def test_a_small_level_keeps_fewer_components() -> None:
    counts = tiny_prepared().train.counts[:6]
    basis = fit_basis(counts, np.zeros(6, dtype=np.int64), size=8)
    used = np.abs(basis.components).sum(axis=1) > 0
    assert used.sum(axis=1).tolist() == [3, 0, 0]


def test_each_row_is_drawn_from_its_own_condition() -> None:
    density = tiny_prepared().density
    condition = np.repeat([c.index for c in CONDITIONS], 200)
    drawn = draw_quantities(density, condition, np.random.default_rng(0))
    normal, unilateral = (drawn[condition == i, 1].std() for i in (2, 3))
    assert drawn.dtype == np.float32
    assert unilateral > 3 * normal


def test_tight_quantities_count_for_more_up_to_a_bound() -> None:
    emphasis = emphasis_by_condition(tiny_prepared().density)
    assert emphasis.shape == (8, 6)
    assert emphasis[2, 1] > emphasis[3, 1]  # BG: a normal ratio is tighter than a unilateral one
    assert emphasis.min() >= 1
    assert emphasis.max() <= 4


def test_a_slice_brighter_than_the_scale_knows_is_never_in_the_training_set() -> None:
    prepared = tiny_prepared()
    assert isinstance(prepared.scale, IntensityScale)
    assert float(prepared.slices.model_images.max()) < 0.9
    assert float(prepared.slices.model_images.min()) >= -1
