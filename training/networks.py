"""The generator and the discriminator: conditional FastGAN with quantity conditioning (SCIENCE.md section 5)."""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from spect.conditions import CONDITIONS, Level, Pattern
from training.blocks import (
    SLOPE,
    ConditionalBatchNorm,
    Decoder,
    DownBlock,
    FineDetail,
    SkipLayerExcitation,
    UpBlock,
    append_group_deviation,
    normalised_conv,
    normalised_linear,
)
from training.config import TrainingConfig

# Channels at each resolution, in units of the width (SCIENCE.md section 5).
CHANNELS = {4: 8, 8: 8, 16: 4, 32: 2, 64: 2, 128: 1}
DISCRIMINATOR_CHANNELS = {4: 8, 8: 8, 16: 8, 32: 4, 64: 2, 128: 1}
# Resolution of the first block that sees the texture map: its pixels of 8 mm are nearly as wide as a blurred point.
TEXTURED_FROM = 32
INPUT_NAMES = ("latents", "condition", "quantities")
OUTPUT_NAME = "model_images"


class ConditionEmbedding(nn.Module):
    """e = E_level + E_pattern + MLP(q, E_level + E_pattern): what is asked for, as one vector.

    The perceptron sees the condition because principal scores mean different shapes at different levels.
    """

    level_of: Tensor
    pattern_of: Tensor

    def __init__(self, size: int, quantity_size: int) -> None:
        super().__init__()
        self.level = nn.Embedding(len(Level), size)
        self.pattern = nn.Embedding(len(Pattern), size)
        self.quantities = nn.Sequential(
            nn.Linear(quantity_size + size, size), nn.LeakyReLU(SLOPE), nn.Linear(size, size)
        )
        levels, patterns = list(Level), list(Pattern)
        self.register_buffer("level_of", torch.tensor([levels.index(c.level) for c in CONDITIONS]))
        self.register_buffer("pattern_of", torch.tensor([patterns.index(c.pattern) for c in CONDITIONS]))

    def forward(self, condition: Tensor, quantities: Tensor) -> Tensor:
        """Embed condition indices (n,) and standardised quantities (n, d) as (n, size)."""
        place = self.level(self.level_of[condition]) + self.pattern(self.pattern_of[condition])
        embedded: Tensor = place + self.quantities(torch.cat([quantities, place], dim=1))
        return embedded


class Generator(nn.Module):
    """Latents, a condition and quantities to one model image.

    In eval mode an image depends on its own row only: batch norms use their stored statistics.
    """

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__()
        width = config.width
        self.input_latents = config.input_latents
        self.latent_size = config.latent_size
        self.texture_matrix = config.texture_matrix
        self.quantity_size = config.quantity_size
        self.matrix = config.matrix
        size = config.embedding_size
        self.embedding = ConditionEmbedding(size, config.quantity_size)
        self.start_channels = CHANNELS[4] * width
        self.start = normalised_linear(config.latent_size + size, 2 * self.start_channels * 16)
        self.start_norm = ConditionalBatchNorm(2 * self.start_channels, size)
        resolutions = [r for r in CHANNELS if r <= config.matrix]
        self.blocks = nn.ModuleList(
            UpBlock(CHANNELS[small] * width, CHANNELS[large] * width, size, is_textured=large >= TEXTURED_FROM)
            for small, large in pairwise(resolutions)
        )
        excitations = {64: 4, 128: 8}
        self.excitations = nn.ModuleDict(
            {
                str(large): SkipLayerExcitation(CHANNELS[small] * width, CHANNELS[large] * width, pool=small // 4)
                for large, small in excitations.items()
                if large <= config.matrix
            }
        )
        self.to_image = normalised_conv(CHANNELS[config.matrix] * width, 1, 3, padding=1)

    def forward(self, latents: Tensor, condition: Tensor, quantities: Tensor) -> Tensor:
        """Generate model images (n, 1, m, m) in [-1, 1].

        `latents` is float32 (n, input_latents), `condition` int64 (n,), `quantities` float32 (n, d), standardised.
        """
        shape, texture = self._split_latents(latents)
        embedding = self.embedding(condition, quantities)
        features = self.start(torch.cat([shape, embedding], dim=1))
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
            return torch.tanh(self.to_image(features.float()))

    def _split_latents(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Latents of shape (n, latent_size), of unit second moment, and the texture map (n, 1, t, t)."""
        shape, texture = latents[:, : self.latent_size], latents[:, self.latent_size :]
        shape = shape * torch.rsqrt(shape.square().mean(dim=1, keepdim=True) + 1e-8)
        return shape, texture.reshape(-1, 1, self.texture_matrix, self.texture_matrix)

    def remove_parametrizations(self) -> "Generator":
        """Write the spectral norms into the weights, in place, so that the graph holds plain convolutions."""
        remove_parametrizations(self)
        return self


def remove_parametrizations(network: nn.Module) -> None:
    """Replace every parametrised weight by its present value."""
    for module in network.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


class Judgement(NamedTuple):
    """What the discriminator says of a batch; a named tuple, because Fabric converts what a network returns."""

    logits: Tensor  # (n,), above 0 means acquired
    reconstructed_whole: Tensor | None  # (n, 1, m/2, m/2)
    reconstructed_part: Tensor | None  # (n, 1, m/2, m/2): the asked quadrant at full resolution


class Discriminator(nn.Module):
    """Acquired or synthetic, for what was asked: factorised projection, no batch norm, two decoders."""

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__()
        width = config.width
        resolutions = [r for r in sorted(DISCRIMINATOR_CHANNELS, reverse=True) if r <= config.matrix]
        channels = {r: DISCRIMINATOR_CHANNELS[r] * width for r in resolutions}
        self.fine_detail = FineDetail(config.matrix, config.detail_gain)
        self.from_image = nn.Sequential(normalised_conv(2, channels[config.matrix], 3, padding=1), nn.LeakyReLU(SLOPE))
        self.blocks = nn.ModuleList(
            DownBlock(channels[large], channels[small]) for large, small in pairwise(resolutions)
        )
        self.logit_gain = config.logit_gain
        top = channels[4]
        self.last = nn.Sequential(normalised_conv(top + 1, top, 3, padding=1), nn.LeakyReLU(SLOPE))
        self.describe = nn.Sequential(normalised_linear(16 * top, config.embedding_size), nn.LeakyReLU(SLOPE))
        self.unconditional = normalised_linear(config.embedding_size, 1)
        self.embedding = ConditionEmbedding(config.embedding_size, config.quantity_size)
        # The whole is decoded from m/8, a quadrant from m/4: both come out at half the matrix.
        self.whole_resolution = config.matrix // 8
        self.part_resolution = config.matrix // 4
        self.decode_whole = Decoder(channels[self.whole_resolution], width)
        self.decode_part = Decoder(channels[self.part_resolution], width)

    def forward(
        self,
        model_images: Tensor,
        condition: Tensor,
        quantities: Tensor,
        projection_weight: float,
        quadrant: int | None = None,
        reconstruct: int = 0,
    ) -> Judgement:
        """Judge model images (n, 1, m, m) asked for by condition (n,) and quantities (n, d).

        The first `reconstruct` images are reconstructed as well: the whole, and the quadrant 0 to 3.
        """
        features = self.from_image(self.fine_detail(model_images))
        kept = {}
        for block in self.blocks:
            features = block(features)
            kept[features.shape[-1]] = features
        features = self.last(append_group_deviation(features))
        description = self.describe(features.flatten(1)).float()
        embedding = self.embedding(condition, quantities).float()
        projection = (description * embedding).sum(dim=1) * description.shape[1] ** -0.5
        logits = self.logit_gain * (self.unconditional(description)[:, 0].float() + projection_weight * projection)
        if quadrant is None:
            return Judgement(logits, None, None)
        whole = kept[self.whole_resolution][:reconstruct]
        part = cut_quadrant(kept[self.part_resolution][:reconstruct], quadrant)
        return Judgement(logits, self.decode_whole(whole).float(), self.decode_part(part).float())


def cut_quadrant(planes: Tensor, quadrant: int) -> Tensor:
    """Cut quadrant 0 to 3 (row-major) out of (n, c, r, c)."""
    rows, columns = planes.shape[-2] // 2, planes.shape[-1] // 2
    top, left = (quadrant // 2) * rows, (quadrant % 2) * columns
    return planes[..., top : top + rows, left : left + columns]


def build_networks(config: TrainingConfig, seed: int) -> tuple[Generator, Discriminator]:
    """Build both networks with weights drawn from the seed; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator, discriminator = Generator(config), Discriminator(config)
        _initialise(generator)
        _initialise(discriminator)
    return generator, discriminator


def _initialise(network: nn.Module) -> None:
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif parameter.dim() > 1:  # weights, under spectral norm or not
            nn.init.orthogonal_(parameter)
    for module in network.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight)
        elif isinstance(module, ConditionalBatchNorm):
            nn.init.zeros_(module.gain.weight)
            nn.init.zeros_(module.bias.weight)
