"""What is released computes what was trained, in another order."""

from dataclasses import replace

import pytest
import torch

from tests.support.tiny_training import TINY
from training.export import MODEL_RANGE
from training.inference_form import (
    PatchConvolution,
    SeparatedUpBlock,
    doubling_matrix,
    is_worth_it,
    to_inference_form,
)
from training.networks.blocks import ConditionalBatchNorm, Layers, UpBlock
from training.networks.generator import Generator


def _generator(**changes: int) -> Generator:
    """A generator with weights and statistics of no symmetry, as after a training."""
    torch.manual_seed(0)
    generator = Generator(replace(TINY, **changes))
    for module in generator.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.2, 1.5)
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if "gain" in name or "bias" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return generator.eval().requires_grad_(requires_grad=False).remove_parametrizations()


def _inputs(generator: Generator, n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.randn(n, generator.input_latents), torch.arange(n) % 8, torch.randn(n, generator.quantity_size)


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 2},
        {"width": 16},
        {"width": 16, "texture_matrix": 32},
        {"width": 32, "matrix": 128, "texture_matrix": 128},
    ],
)
def test_the_inference_form_computes_the_same_image(changes: dict[str, int]) -> None:
    generator = _generator(**changes)
    inputs = _inputs(generator, 3)

    difference = (to_inference_form(generator)(*inputs) - generator(*inputs)).abs().max()

    assert generator(*inputs).std() > 0.05  # there is something to differ in
    assert float(difference) / MODEL_RANGE < 2e-6


def test_blocks_are_rewritten_where_it_pays_and_the_network_that_was_given_stays() -> None:
    generator = _generator(width=16)

    rewritten = to_inference_form(generator)

    kinds = [type(block) for block in rewritten.blocks]
    assert kinds == [SeparatedUpBlock, SeparatedUpBlock, SeparatedUpBlock, UpBlock]
    assert isinstance(rewritten.to_image, PatchConvolution)
    assert all(isinstance(block, UpBlock) for block in generator.blocks)
    assert is_worth_it(64, 32)
    assert not is_worth_it(32, 32)


def test_the_borders_are_those_of_a_padded_convolution() -> None:
    """Zeros around the doubled map, the edge repeated before it is doubled: corners show it if either is wrong."""
    torch.manual_seed(1)
    block = (
        UpBlock(
            8,
            4,
            layers=Layers("spectral"),
            build_norm=lambda channels: ConditionalBatchNorm(channels, 4),
            upsampling="bilinear",
            is_textured=False,
        )
        .eval()
        .requires_grad_(requires_grad=False)
    )
    torch.nn.utils.parametrize.remove_parametrizations(block.conv, "weight")
    features, embedding, texture = torch.randn(2, 8, 4, 4), torch.randn(2, 4), torch.randn(2, 1, 64, 64)

    expected = block(features, embedding, texture)
    made = SeparatedUpBlock(block, 4)(features, embedding, texture)

    for place in ((0, 0), (0, -1), (-1, 0), (-1, -1), (0, 3), (4, 0)):
        torch.testing.assert_close(made[..., *place], expected[..., *place], atol=1e-6, rtol=0)


def test_doubling_is_torchs_bilinear_doubling() -> None:
    column = torch.randn(1, 1, 8, 1, dtype=torch.float64)
    doubled = torch.nn.functional.interpolate(column, size=(16, 1), mode="bilinear", align_corners=False)

    torch.testing.assert_close(doubling_matrix(8) @ column[0, 0], doubled[0, 0])


def test_a_convolution_that_is_still_normalised_is_refused() -> None:
    with pytest.raises(TypeError, match="a plain convolution with a bias is needed"):
        to_inference_form(Generator(TINY))
