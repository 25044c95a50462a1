"""The building blocks of both networks: conditional norm, up and down blocks, skip-layer excitation.

Written from Liu et al. 2021 (FastGAN, arXiv 2101.04775). Shapes are (n, channels, rows, columns).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from spect.outline import SIGMA_PER_FWHM
from spect.slices import FIELD_MM
from training.networks.shared_norm import SharedBatchNorm

SLOPE = 0.2  # of every leaky ReLU
TEXTURE_GAIN = 0.2  # at the start: enough to be found, too little to hide the shape
DETAIL_FWHM_MM = 10.0  # width of a point in a reconstructed slice


@dataclass(frozen=True, slots=True)
class Layers:
    """Makes the layers of a network in one normalisation: spectral norm of the weights, or batch norm."""

    normalisation: Literal["spectral", "batch"]

    def conv(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, padding: int = 0) -> nn.Module:
        """Convolution."""
        return self._normalise(nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding))

    def linear(self, inputs: int, outputs: int) -> nn.Module:
        """Linear map."""
        return self._normalise(nn.Linear(inputs, outputs))

    def norm(self, channels: int) -> list[nn.Module]:
        """Return what follows a convolution of the discriminator: a batch norm, or nothing."""
        return [SharedBatchNorm(channels)] if self.normalisation == "batch" else []

    def _normalise(self, layer: nn.Module) -> nn.Module:
        return spectral_norm(layer) if self.normalisation == "spectral" else layer


class ConditionalBatchNorm(nn.Module):
    """Batch norm whose gain and bias come from the embedding (de Vries et al. 2017); both start at no effect."""

    def __init__(self, channels: int, embedding_size: int) -> None:
        super().__init__()
        self.norm = SharedBatchNorm(channels, affine=False)
        self.gain = nn.Linear(embedding_size, channels)
        self.bias = nn.Linear(embedding_size, channels)

    def forward(self, features: Tensor, embedding: Tensor) -> Tensor:
        """Normalise features (n, c, r, c) and scale them by an embedding (n, e)."""
        gain = 1 + self.gain(embedding)
        shifted: Tensor = self.norm(features) * gain[:, :, None, None] + self.bias(embedding)[:, :, None, None]
        return shifted


class UnconditionalBatchNorm(nn.Module):
    """Batch norm that is the same for every condition: for a generator that hears of it from its latents alone."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = SharedBatchNorm(channels)

    def forward(self, features: Tensor, embedding: Tensor) -> Tensor:  # noqa: ARG002 — in place of the conditional one
        """Normalise features (n, c, r, c)."""
        normalised: Tensor = self.norm(features)
        return normalised


class UpBlock(nn.Module):
    """Double the resolution: 3x3 convolution, batch norm, gated linear unit.

    FastGAN repeats pixels; on slices that a camera has blurred that left a visible grid after 16,000 images.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        layers: Layers,
        build_norm: Callable[[int], nn.Module],
        upsampling: Literal["bilinear", "nearest"],
        is_textured: bool,
    ) -> None:
        super().__init__()
        self.upsampling = upsampling
        self.texture = Texture(inputs) if is_textured else None
        self.conv = layers.conv(inputs, 2 * outputs, 3, padding=1)
        self.norm = build_norm(2 * outputs)

    def forward(self, features: Tensor, embedding: Tensor, texture: Tensor | None) -> Tensor:
        """Map (n, inputs, r, c) to (n, outputs, 2r, 2c); `texture` (n, 1, t, t) is one map for all blocks."""
        if self.upsampling == "bilinear":
            doubled = functional.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
        else:
            doubled = functional.interpolate(features, scale_factor=2, mode="nearest")
        if self.texture is not None:
            doubled = self.texture(doubled, texture)
        return functional.glu(self.norm(self.conv(doubled), embedding), dim=1)


class Texture(nn.Module):
    """Add a map of latents to every channel, each with a gain of its own (Karras et al. 2019, section 3.2).

    The noise of a scan has as many degrees of freedom as the brain has cells of a blurred point's size, some hundreds:
    more than the latents of shape can carry, so that without a map the texture of synthetic slices is too smooth. The
    map is an input and not drawn in the graph, so that the seed rule holds.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((channels, 1, 1), TEXTURE_GAIN))

    def forward(self, features: Tensor, texture: Tensor) -> Tensor:
        """Add `texture` (n, 1, t, t), brought to their resolution, to features (n, c, r, r)."""
        texture = resize_texture(texture, features.shape[-1])
        return features + self.gain.to(features.dtype) * texture.to(features.dtype)


def resize_texture(texture: Tensor, resolution: int) -> Tensor:
    """Bring a map (n, 1, t, t) to (n, 1, resolution, resolution), at unit variance where it becomes coarser."""
    ratio = texture.shape[-1] / resolution
    if ratio > 1:
        return functional.avg_pool2d(texture, int(ratio)) * ratio
    if ratio < 1:
        return functional.interpolate(texture, scale_factor=1 / ratio, mode="bilinear", align_corners=False)
    return texture


class SkipLayerExcitation(nn.Module):
    """Gate the channels of a large feature map by a small one (FastGAN, section 3.1)."""

    def __init__(self, small: int, large: int, *, pool: int, layers: Layers) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AvgPool2d(pool) if pool > 1 else nn.Identity(),
            layers.conv(small, large, 4),
            nn.SiLU(),
            layers.conv(large, large, 1),
            nn.Sigmoid(),
        )

    def forward(self, small: Tensor, large: Tensor) -> Tensor:
        """Scale a large map (n, large, r, c) by gates from a small one, 4x4 after pooling."""
        gated: Tensor = large * self.gate(small)
        return gated


class DownBlock(nn.Module):
    """Halve the resolution: a strided path and an averaged path, summed (FastGAN, section 3.2)."""

    def __init__(self, inputs: int, outputs: int, *, layers: Layers) -> None:
        super().__init__()
        self.strided = nn.Sequential(
            layers.conv(inputs, outputs, 4, stride=2, padding=1),
            *layers.norm(outputs),
            nn.LeakyReLU(SLOPE),
            layers.conv(outputs, outputs, 3, padding=1),
            *layers.norm(outputs),
            nn.LeakyReLU(SLOPE),
        )
        self.averaged = nn.Sequential(
            nn.AvgPool2d(2),
            layers.conv(inputs, outputs, 1),
            *layers.norm(outputs),
            nn.LeakyReLU(SLOPE),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map (n, inputs, r, c) to (n, outputs, r/2, c/2)."""
        summed: Tensor = (self.strided(features) + self.averaged(features)) * 0.5**0.5
        return summed


class FineDetail(nn.Module):
    """Append what a blur of 10 mm takes away, magnified: texture is a few per cent of the counts, easily overlooked."""

    kernel: Tensor

    def __init__(self, matrix: int, gain: float) -> None:
        super().__init__()
        self.gain = gain
        sigma = DETAIL_FWHM_MM * SIGMA_PER_FWHM * matrix / FIELD_MM
        self.reach = int(2 * sigma + 0.5)
        offsets = torch.arange(-self.reach, self.reach + 1)
        weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
        self.register_buffer("kernel", weights / weights.sum(), persistent=False)

    def forward(self, model_images: Tensor) -> Tensor:
        """Map (n, 1, m, m) to (n, 2, m, m)."""
        kernel, side = self.kernel.to(model_images.dtype), 2 * self.reach + 1
        padded = functional.pad(model_images, (self.reach,) * 4, mode="replicate")
        blurred = functional.conv2d(functional.conv2d(padded, kernel.view(1, 1, side, 1)), kernel.view(1, 1, 1, side))
        return torch.cat([model_images, self.gain * (model_images - blurred)], dim=1)


class Decoder(nn.Module):
    """Reconstruct a small image from the discriminator's features: two doublings and a bounded output."""

    def __init__(self, inputs: int, width: int, *, layers: Layers) -> None:
        super().__init__()
        doublings: list[nn.Module] = []
        for channels_in, channels_out in ((inputs, 2 * width), (2 * width, width)):
            doublings += [
                nn.Upsample(scale_factor=2, mode="nearest"),
                layers.conv(channels_in, 2 * channels_out, 3, padding=1),
                *layers.norm(2 * channels_out),
                nn.GLU(dim=1),
            ]
        self.layers = nn.Sequential(*doublings, nn.Conv2d(width, 1, 3, padding=1), nn.Tanh())

    def forward(self, features: Tensor) -> Tensor:
        """Map (n, inputs, r, c) to (n, 1, 4r, 4c) in [-1, 1]."""
        image: Tensor = self.layers(features)
        return image


def append_group_deviation(features: Tensor, *, group: int) -> Tensor:
    """Append one channel: the mean standard deviation within groups of neighbours (Karras et al. 2018).

    It lets the discriminator see a lack of variety. The batch (n, c, r, c) must divide by `group`.
    """
    n, _, rows, columns = features.shape
    grouped = features.float().reshape(n // group, group, -1)
    deviation = (grouped.var(dim=1, unbiased=False) + 1e-8).sqrt().mean(dim=1)
    plane = deviation.repeat_interleave(group)[:, None, None, None].expand(n, 1, rows, columns)
    return torch.cat([features, plane.to(features.dtype)], dim=1)
