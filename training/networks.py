"""The generator and the discriminator: conditional FastGAN with quantity conditioning (SCIENCE.md section 5)."""

from functools import partial
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
    Layers,
    SkipLayerExcitation,
    UnconditionalBatchNorm,
    UpBlock,
    append_group_deviation,
)
from training.config import TrainingConfig
from training.output_correction import OutputCorrection

# Channels at each resolution, in units of the width (SCIENCE.md section 5).
CHANNELS = {4: 8, 8: 8, 16: 4, 32: 2, 64: 2, 128: 1}
DISCRIMINATOR_CHANNELS = {4: 8, 8: 8, 16: 8, 32: 4, 64: 2, 128: 1}
# Resolution of the first block that sees the texture map: its pixels of 8 mm are nearly as wide as a blurred point.
TEXTURED_FROM = 32
INPUT_NAMES = ("latents", "condition", "quantities")
OUTPUT_NAME = "model_images"


class ConditionEmbedding(nn.Module):
    """e = E_level + E_pattern + MLP(q, E_level + E_pattern): what is asked for, as one vector.

    The perceptron sees the condition because principal scores mean different shapes at different levels. Where the
    generator is not asked for quantities it is left out.
    """

    level_of: Tensor
    pattern_of: Tensor

    def __init__(self, size: int, quantity_size: int | None) -> None:
        super().__init__()
        self.level = nn.Embedding(len(Level), size)
        self.pattern = nn.Embedding(len(Pattern), size)
        self.quantities = (
            nn.Sequential(nn.Linear(quantity_size + size, size), nn.LeakyReLU(SLOPE), nn.Linear(size, size))
            if quantity_size is not None
            else None
        )
        levels, patterns = list(Level), list(Pattern)
        self.register_buffer("level_of", torch.tensor([levels.index(c.level) for c in CONDITIONS]))
        self.register_buffer("pattern_of", torch.tensor([patterns.index(c.pattern) for c in CONDITIONS]))

    def forward(self, condition: Tensor, quantities: Tensor) -> Tensor:
        """Embed condition indices (n,) and standardised quantities (n, d) as (n, size)."""
        place: Tensor = self.level(self.level_of[condition]) + self.pattern(self.pattern_of[condition])
        if self.quantities is None:
            return place
        embedded: Tensor = place + self.quantities(torch.cat([quantities, place], dim=1))
        return embedded


class OneHot(nn.Module):
    """The condition as a vector of zeros and a one, in place of an embedding (the author's code)."""

    def forward(self, condition: Tensor, quantities: Tensor) -> Tensor:
        """Map condition indices (n,) to (n, conditions), in the type of `quantities`, which are not looked at."""
        return functional.one_hot(condition, len(CONDITIONS)).to(quantities.dtype)


def _embedding(config: TrainingConfig) -> nn.Module:
    if config.conditioning == "one-hot":
        return OneHot()
    return ConditionEmbedding(
        config.embedding_size, config.quantity_size if config.conditioning == "quantities" else None
    )


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
        self.embedding = _embedding(config)
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
        shape, texture = latents[:, : self.latent_size], latents[:, self.latent_size :]
        shape = shape * torch.rsqrt(shape.square().mean(dim=1, keepdim=True) + 1e-8)
        if self.texture_matrix is None:
            return shape, None
        return shape, texture.reshape(-1, 1, self.texture_matrix, self.texture_matrix)

    def remove_parametrizations(self) -> "Generator":
        """Write the spectral norms into the weights, in place, so that the graph holds plain convolutions."""
        remove_parametrizations(self)
        return self


def _norm(config: TrainingConfig, channels: int) -> nn.Module:
    if config.conditioning == "one-hot":
        return UnconditionalBatchNorm(channels)
    return ConditionalBatchNorm(channels, config.embedding_size)


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
    """Acquired or synthetic, for what was asked: factorised projection (or planes of the condition), two decoders."""

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__()
        width = config.width
        resolutions = [r for r in sorted(DISCRIMINATOR_CHANNELS, reverse=True) if r <= config.matrix]
        channels = {r: DISCRIMINATOR_CHANNELS[r] * width for r in resolutions}
        layers = Layers(config.normalisation)
        self.has_planes = config.conditioning == "one-hot"
        self.fine_detail = (
            FineDetail(config.matrix, config.detail_gain) if config.detail_gain is not None else nn.Identity()
        )
        inputs = 1 + (config.detail_gain is not None) + (len(CONDITIONS) if self.has_planes else 0)
        widest = channels[config.matrix]
        self.from_image = nn.Sequential(
            layers.conv(inputs, widest, 3, padding=1), *layers.norm(widest), nn.LeakyReLU(SLOPE)
        )
        self.blocks = nn.ModuleList(
            DownBlock(channels[large], channels[small], layers=layers) for large, small in pairwise(resolutions)
        )
        self.logit_gain = config.logit_gain
        self.deviation_group = config.deviation_group
        top = channels[4]
        deviations = config.deviation_group is not None
        self.last = nn.Sequential(
            layers.conv(top + deviations, top, 3, padding=1), *layers.norm(top), nn.LeakyReLU(SLOPE)
        )
        self.describe = nn.Sequential(layers.linear(16 * top, config.embedding_size), nn.LeakyReLU(SLOPE))
        self.unconditional = layers.linear(config.embedding_size, 1)
        self.embedding = _embedding(config)
        # The whole is decoded from m/8, a quadrant from m/4: both come out at half the matrix.
        self.whole_resolution = config.matrix // 8
        self.part_resolution = config.matrix // 4
        self.decode_whole = Decoder(channels[self.whole_resolution], width, layers=layers)
        self.decode_part = Decoder(channels[self.part_resolution], width, layers=layers)

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
        embedding = self.embedding(condition, quantities).float()
        features = self.from_image(self._with_planes(self.fine_detail(model_images), embedding))
        kept = {}
        for block in self.blocks:
            features = block(features)
            kept[features.shape[-1]] = features
        if self.deviation_group is not None:
            features = append_group_deviation(features, group=self.deviation_group)
        description = self.describe(self.last(features).flatten(1)).float()
        logits = self.unconditional(description)[:, 0].float()
        if not self.has_planes:
            projection = (description * embedding).sum(dim=1) * description.shape[1] ** -0.5
            logits = logits + projection_weight * projection
        logits = self.logit_gain * logits
        if quadrant is None:
            return Judgement(logits, None, None)
        whole = kept[self.whole_resolution][:reconstruct]
        part = cut_quadrant(kept[self.part_resolution][:reconstruct], quadrant)
        return Judgement(logits, self.decode_whole(whole).float(), self.decode_part(part).float())

    def _with_planes(self, images: Tensor, one_hot: Tensor) -> Tensor:
        if not self.has_planes:
            return images
        planes = one_hot[:, :, None, None].expand(-1, -1, *images.shape[2:])
        return torch.cat([images, planes.to(images.dtype)], dim=1)


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
