"""Both networks of a configuration, with weights drawn from a seed."""

import torch
from torch import nn

from training.config import TrainingConfig
from training.networks.blocks import (
    ConditionalBatchNorm,
)
from training.networks.discriminator import Discriminator
from training.networks.generator import Generator


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
