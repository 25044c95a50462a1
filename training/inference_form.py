"""The generator as it is released: the same function, written so that ONNX Runtime has less to do.

A bilinear doubling U and a 3x3 convolution are both linear, and the rows and columns of the doubling do not meet:
conv(U x U^T) = sum over kernel rows d of A_d (K_d * (x U^T)), where K_d is a 1x3 convolution along the columns and
A_d = S_d U doubles the rows and shifts them by one, with zeros from outside. So columns are doubled first, one 1x3
convolution makes all three kernel rows on half as many pixels, and one fixed matrix [A_0 A_1 A_2] joins them: half the
multiplications, borders included. The batch norm and the texture, linear too, move into the kernels.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrize import is_parametrized

from training.networks.blocks import ConditionalBatchNorm, UpBlock, resize_texture
from training.networks.generator import Generator

PATCH = 4  # side of the patch of pixels that the last convolution makes at once
KERNEL = 3


def to_inference_form(network: nn.Module) -> nn.Module:
    """Return a copy in eval mode whose every generator computes the same with fewer multiplications.

    Spectral norms must have been written into the weights.
    """
    rewritten = copy.deepcopy(network).eval()
    for module in rewritten.modules():
        if isinstance(module, Generator):
            _rewrite(module)
    return rewritten


def _rewrite(generator: Generator) -> None:
    rows = 4
    for index, block in enumerate(generator.blocks):
        if (
            isinstance(block, UpBlock)
            and can_be_separated(block)
            and is_worth_it(_weights(block.conv)[0].shape[1], rows)
        ):
            generator.blocks[index] = SeparatedUpBlock(block, rows)
        rows *= 2
    generator.to_image = PatchConvolution(generator.to_image)


def can_be_separated(block: UpBlock) -> bool:
    """Whether a block is that of our recipe: bilinear, its norm conditional; others are exported as they are."""
    return block.upsampling == "bilinear" and isinstance(block.norm, ConditionalBatchNorm)


def is_worth_it(channels: int, rows: int) -> bool:
    """Whether the multiplications saved, 18 a channel and pixel, are three times those of the matrix, 12 a row."""
    return 18 * channels >= 3 * 12 * rows


class SeparatedUpBlock(nn.Module):
    """An up block that doubles columns and rows one after the other, the rows after its convolution."""

    columns: Tensor
    rows: Tensor
    kernels: Tensor
    offset: Tensor
    texture_kernels: Tensor

    def __init__(self, block: UpBlock, small: int) -> None:
        super().__init__()
        self.gain, self.bias = _conditional(block.norm).gain, _conditional(block.norm).bias
        self.is_textured = block.texture is not None
        doubling = doubling_matrix(small)
        kernels, offset = _fold_norm(block)
        outputs, inputs = kernels.shape[:2]
        self.shape = (outputs, KERNEL * small, 2 * small)
        self.register_buffer("columns", doubling.T.contiguous().float())
        self.register_buffer("rows", torch.cat(_shifted(doubling), dim=1).float())
        by_row = kernels.permute(0, 2, 1, 3).reshape(outputs * KERNEL, inputs, 1, KERNEL)
        self.register_buffer("kernels", by_row.float())
        self.register_buffer("offset", offset.float())
        if block.texture is not None:
            gain = block.texture.gain.detach().double()
            self.register_buffer("texture_kernels", (kernels * gain).sum(dim=1, keepdim=True).float())

    def forward(self, features: Tensor, embedding: Tensor, texture: Tensor | None) -> Tensor:
        """Map (n, inputs, r, c) to (n, outputs, 2r, 2c), as the block it was made of."""
        widened = functional.conv2d(features @ self.columns, self.kernels, padding=(0, 1))
        doubled = self.rows @ widened.reshape(-1, *self.shape)
        if texture is not None and self.is_textured:
            resized = resize_texture(texture, self.shape[-1])
            doubled = doubled + functional.conv2d(resized, self.texture_kernels, padding=1)
        gain = 1 + self.gain(embedding)
        bias = self.bias(embedding) + gain * self.offset
        return functional.glu(doubled * gain[:, :, None, None] + bias[:, :, None, None], dim=1)


class PatchConvolution(nn.Module):
    """A 3x3 convolution to one channel that makes a patch of pixels at once, each as a channel, and lays them out.

    ONNX Runtime computes channels in blocks of 16 on a CPU, of which one output channel would waste 15.
    """

    kernels: Tensor
    bias: Tensor

    def __init__(self, convolution: nn.Module) -> None:
        super().__init__()
        weight, bias = _weights(convolution)
        side = PATCH + KERNEL - 1
        kernels = torch.zeros(PATCH * PATCH, weight.shape[1], side, side, dtype=weight.dtype)
        for row in range(PATCH):
            for column in range(PATCH):
                kernels[row * PATCH + column, :, row : row + KERNEL, column : column + KERNEL] = weight[0]
        self.register_buffer("kernels", kernels.float())
        self.register_buffer("bias", bias.float().repeat(PATCH * PATCH))

    def forward(self, features: Tensor) -> Tensor:
        """Map (n, channels, r, c) to (n, 1, r, c)."""
        patches = functional.conv2d(features, self.kernels, self.bias, stride=PATCH, padding=1)
        return functional.pixel_shuffle(patches, PATCH)


def doubling_matrix(rows: int) -> Tensor:
    """Return U (2 * rows, rows), float64: bilinear doubling of a column, as `interpolate` does it."""
    unit = torch.eye(rows, dtype=torch.float64)[None, None]
    return functional.interpolate(unit, size=(2 * rows, rows), mode="bilinear", align_corners=False)[0, 0]


def _shifted(doubling: Tensor) -> list[Tensor]:
    """Return A_0, A_1, A_2: what the rows above, at and below each row are, zeros outside."""
    outside = torch.zeros_like(doubling[:1])
    return [torch.cat([outside, doubling[:-1]]), doubling, torch.cat([doubling[1:], outside])]


def _fold_norm(block: UpBlock) -> tuple[Tensor, Tensor]:
    """Return kernels (o, i, 3, 3) and offset (o,), float64, of the convolution with its batch norm."""
    norm = _conditional(block.norm).norm
    mean, variance = (norm.get_buffer(name).double() for name in ("running_mean", "running_var"))
    scale = torch.rsqrt(variance + norm.eps)
    weight, bias = _weights(block.conv)
    return weight * scale[:, None, None, None], (bias - mean) * scale


def _conditional(norm: nn.Module) -> ConditionalBatchNorm:
    if not isinstance(norm, ConditionalBatchNorm):
        raise TypeError(f"a conditional batch norm is needed, got {norm}")
    return norm


def _weights(convolution: nn.Module) -> tuple[Tensor, Tensor]:
    """Return weight and bias, float64, of a convolution without parametrisation."""
    if not isinstance(convolution, nn.Conv2d) or convolution.bias is None or is_parametrized(convolution):
        raise TypeError(f"a plain convolution with a bias is needed, got {convolution}")
    return convolution.weight.detach().double(), convolution.bias.detach().double()
