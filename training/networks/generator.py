"""The generator: a conditional FastGAN with quantity conditioning (SCIENCE.md section 5)."""

from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from spect.conditions import CONDITIONS
from training.config import TrainingConfig
from training.networks.blocks import (
    ConditionalBatchNorm,
    Layers,
    SkipLayerExcitation,
    UnconditionalBatchNorm,
    UpBlock,
)
from training.networks.embedding import build_embedding
from training.networks.output_correction import OutputCorrection

# Channels at each resolution, in units of the width (SCIENCE.md section 5).
CHANNELS = {4: 8, 8: 8, 16: 4, 32: 2, 64: 2, 128: 1}
# Resolution of the first block that sees the texture map: its pixels of 8 mm are nearly as wide as a blurred point.
TEXTURED_FROM = 32
INPUT_NAMES = ("latents", "condition", "quantities")
OUTPUT_NAME = "model_images"


class Generator(nn.Module):
    """Latents, a condition and quantities to one model image.

    In eval mode an image depends on its own row only, batch norms using their stored statistics, and is corrected.
    """

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__()
        width = config.width
        self.input_latents = config.input_latents
        self.latent_size = config.latent_size
        self.texture_matrix = config.texture_matrix
        self.quantity_size = config.quantity_size
        self.matrix = config.matrix
        layers = Layers(config.normalisation)
        self.embedding = build_embedding(config)
        self.start_channels = CHANNELS[4] * width
        self.mix, start_size = self._build_mix(config, layers)
        self.start = layers.linear(start_size, 2 * self.start_channels * 16)
        self.start_norm = _norm(config, 2 * self.start_channels)
        resolutions = [r for r in CHANNELS if r <= config.matrix]
        self.blocks = nn.ModuleList(
            self._build_block(config, layers, small, large) for small, large in pairwise(resolutions)
        )
        excitations = {64: 4, 128: 8}
        self.excitations = nn.ModuleDict(
            {
                str(large): SkipLayerExcitation(
                    CHANNELS[small] * width, CHANNELS[large] * width, pool=small // 4, layers=layers
                )
                for large, small in excitations.items()
                if large <= config.matrix
            }
        )
        self.to_image = layers.conv(CHANNELS[config.matrix] * width, 1, 3, padding=1)
        self.correction = OutputCorrection(config.matrix)

    def _build_mix(self, config: TrainingConfig, layers: Layers) -> tuple[nn.Module, int]:
        """Return what latents and condition go through before the first map, and how many numbers come out."""
        if config.conditioning == "one-hot":  # the author's "Dense 256"
            return layers.linear(config.latent_size + len(CONDITIONS), config.latent_size), config.latent_size
        return nn.Identity(), config.latent_size + config.embedding_size

    def _build_block(self, config: TrainingConfig, layers: Layers, small: int, large: int) -> UpBlock:
        return UpBlock(
            CHANNELS[small] * config.width,
            CHANNELS[large] * config.width,
            layers=layers,
            build_norm=partial(_norm, config),
            upsampling=config.upsampling,
            is_textured=config.texture_matrix is not None and large >= TEXTURED_FROM,
        )

    def forward(self, latents: Tensor, condition: Tensor, quantities: Tensor) -> Tensor:
        """Generate model images (n, 1, m, m) in [-1, 1].

        `latents` is float32 (n, input_latents), `condition` int64 (n,), `quantities` float32 (n, d), standardised.
        """
        shape, texture = self._split_latents(latents)
        embedding = self.embedding(condition, quantities)
        features = self.start(self.mix(torch.cat([shape, embedding], dim=1)))
        features = features.reshape(-1, 2 * self.start_channels, 4, 4)
        features = functional.glu(self.start_norm(features, embedding), dim=1)
        kept = {4: features}
        resolution = 4
        for block in self.blocks:
            features = block(features, embedding, texture)
            resolution *= 2
            if str(resolution) in self.excitations:
                features = self.excitations[str(resolution)](kept[resolution // 16], features)
            kept[resolution] = features
        # In float32: bfloat16 knows only some 250 steps up to 1, and mean counts would be rounded with them.
        with torch.autocast(device_type=features.device.type, enabled=False):
            image = torch.tanh(self.to_image(features.float()))
            return image if self.training else self.correction(image, condition)

    def _split_latents(self, latents: Tensor) -> tuple[Tensor, Tensor | None]:
        """Latents of shape (n, latent_size), of unit second moment, and the texture map (n, 1, t, t)."""
        shape, texture = shape_latents(latents, self.latent_size), latents[:, self.latent_size :]
        if self.texture_matrix is None:
            return shape, None
        return shape, texture.reshape(-1, 1, self.texture_matrix, self.texture_matrix)

    def remove_parametrizations(self) -> "Generator":
        """Write the spectral norms into the weights, in place, so that the graph holds plain convolutions."""
        remove_parametrizations(self)
        return self


def shape_latents(latents: Tensor, size: int) -> Tensor:
    """Return the latents of shape (n, size) among all latents of slices, of unit second moment."""
    shape = latents[:, :size]
    return shape * torch.rsqrt(shape.square().mean(dim=1, keepdim=True) + 1e-8)


def _norm(config: TrainingConfig, channels: int) -> nn.Module:
    if config.conditioning == "one-hot":
        return UnconditionalBatchNorm(channels)
    return ConditionalBatchNorm(channels, config.embedding_size)


def remove_parametrizations(network: nn.Module) -> None:
    """Replace every parametrised weight by its present value."""
    for module in network.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
