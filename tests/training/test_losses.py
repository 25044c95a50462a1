"""The losses mean what their papers say."""

import torch

from training import losses


def _noise(seed: int) -> torch.Tensor:
    return torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_the_hinge_is_two_at_chance_and_zero_beyond_the_margin() -> None:
    chance, apart = torch.zeros(4), torch.full((4,), 1.5)
    assert float(losses.hinge_discriminator(chance, chance)) == 2
    assert float(losses.hinge_discriminator(apart, -apart)) == 0
    assert float(losses.hinge_generator(apart)) == -1.5


def test_lecam_pulls_logits_towards_the_other_side() -> None:
    anchors = {"anchor_real": torch.tensor(0.5), "anchor_fake": torch.tensor(-0.5)}
    near = losses.lecam(torch.full((4,), -0.5), torch.full((4,), 0.5), **anchors)
    far = losses.lecam(torch.full((4,), 3.0), torch.full((4,), -3.0), **anchors)
    assert float(near) == 0
    assert float(far) == 2 * 3.5**2


def test_r1_is_half_the_squared_gradient() -> None:
    images = torch.zeros(3, 1, 4, 4, requires_grad=True)
    slope = torch.arange(16.0).reshape(1, 1, 4, 4)
    logits = (images * slope).sum(dim=(1, 2, 3))
    assert torch.isclose(losses.r1_penalty(logits, images), 0.5 * slope.square().sum())


def test_structural_similarity_is_one_for_equal_images_and_falls_with_noise() -> None:
    image = _noise(1)
    similar = [float(losses.structural_similarity(image, image + s * _noise(2))) for s in (0.0, 0.1, 0.5)]
    assert abs(similar[0] - 1) < 1e-5
    assert similar[0] > similar[1] > similar[2]


def test_reconstruction_costs_nothing_only_when_perfect_and_sees_a_blur_that_keeps_the_mean() -> None:
    image = _noise(3)
    blurred = torch.nn.functional.avg_pool2d(image, 3, stride=1, padding=1, count_include_pad=False)
    assert float(losses.reconstruction(image, image)) < 1e-5
    assert float(losses.reconstruction(blurred, image)) > 0.3


def test_quantities_that_cannot_be_measured_cost_nothing() -> None:
    asked, measured = torch.zeros(2, 3), torch.tensor([[1.0, 9.0, 1.0], [1.0, 9.0, 1.0]])
    is_measurable = torch.tensor([[1.0, 0.0, 1.0]]).repeat(2, 1)
    error = losses.quantity_error(asked, measured, torch.ones(2, 3), is_measurable)
    assert float(error) == 0.5


def test_emphasis_makes_a_small_error_count() -> None:
    asked, measured, all_of_it = torch.zeros(1, 2), torch.tensor([[0.1, 0.0]]), torch.ones(1, 2)
    plain = losses.quantity_error(asked, measured, torch.ones(1, 2), all_of_it)
    emphasised = losses.quantity_error(asked, measured, torch.tensor([[4.0, 1.0]]), all_of_it)
    assert torch.isclose(emphasised, 16 * plain)
