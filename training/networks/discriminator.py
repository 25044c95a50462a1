"""The discriminator: acquired or synthetic, for what was asked, with two decoders (SCIENCE.md section 5)."""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from spect.conditions import CONDITIONS
from training.config import TrainingConfig
from training.networks.blocks import (
    SLOPE,
    Decoder,
    DownBlock,
    FineDetail,
    Layers,
    append_group_deviation,
)
from training.networks.embedding import build_embedding

# Channels at each resolution, in units of the width (SCIENCE.md section 5).
CHANNELS = {4: 8, 8: 8, 16: 8, 32: 4, 64: 2, 128: 1}


class Judgement(NamedTuple):
    """What the discriminator says of a batch; a named tuple, because Fabric converts what a network returns."""

    logits: Tensor  # (n,), above 0 means acquired
    reconstructed_whole: Tensor | None  # (n, 1, m/2, m/2)
    reconstructed_part: Tensor | None  # (n, 1, m/2, m/2): the asked quadrant at full resolution
    recovered_latents: Tensor | None  # (n, latent_size), of shape; meant for synthetic slices


class Discriminator(nn.Module):
    """Acquired or synthetic, for what was asked: factorised projection (or planes of the condition), two decoders."""

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__()
        width = config.width if config.discriminator_width is None else config.discriminator_width
        resolutions = [r for r in sorted(CHANNELS, reverse=True) if r <= config.matrix]
        channels = {r: CHANNELS[r] * width for r in resolutions}
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
        self.embedding = build_embedding(config)
        # The whole is decoded from m/8, a quadrant from m/4: both come out at half the matrix.
        self.whole_resolution = config.matrix // 8
        self.part_resolution = config.matrix // 4
        self.decode_whole = Decoder(channels[self.whole_resolution], width, layers=layers)
        self.decode_part = Decoder(channels[self.part_resolution], width, layers=layers)
        # Without a spectral norm: it would bound what is recovered, and no gradient of the logits passes here.
        self.recover_latents = (
            nn.Linear(config.embedding_size, config.latent_size) if config.latent_recovery_weight > 0 else None
        )

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
        recovered = None if self.recover_latents is None else self.recover_latents(description).float()
        if quadrant is None:
            return Judgement(logits, None, None, recovered)
        whole = kept[self.whole_resolution][:reconstruct]
        part = cut_quadrant(kept[self.part_resolution][:reconstruct], quadrant)
        return Judgement(logits, self.decode_whole(whole).float(), self.decode_part(part).float(), recovered)

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
