"""The averaged generator: a running mean of parameters and buffers, and batch norms measured anew before use.

FastGAN's own averaging skips the buffers, so that its images depend on their batch-mates; ours does not.
"""

import copy

import numpy as np
import torch
from torch import Tensor, nn

from spect.conditions import CONDITIONS
from spect.density import QuantityDensity
from training.networks.generator import Generator
from training.quantities.differentiable import draw_quantities

RECALIBRATION_BATCHES = 24
RECALIBRATION_PER_CONDITION = 8
RECALIBRATION_SEED = 20_220_612  # fixed: an averaged generator has one recalibrated form


def start_averaging(generator: Generator) -> Generator:
    """Return a copy that will hold the average; it is never trained itself."""
    return copy.deepcopy(generator).requires_grad_(requires_grad=False)


def averaging_weight(*, images_seen: int, batch_size: int, half_life: int | None, ramp: float) -> float:
    """Share of the new weights in the average; early on the half-life grows with the images seen (Karras 2020).

    Without a half-life the average is the newest weights themselves.
    """
    if half_life is None:
        return 1.0
    effective = min(float(half_life), max(images_seen, batch_size) * ramp)
    return float(1 - 0.5 ** (batch_size / max(effective, 1e-8)))


@torch.no_grad()
def update_average(averaged: nn.Module, trained: nn.Module, weight: float) -> None:
    """Move every parameter and floating buffer by `weight` towards the trained one; copy counters."""
    for held, fresh in zip(_tensors(averaged), _tensors(trained), strict=True):
        if held.is_floating_point():
            held.lerp_(fresh, weight)
        else:
            held.copy_(fresh)


def _tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]


@torch.no_grad()
def recalibrated(averaged: Generator, density: QuantityDensity) -> Generator:
    """Return a copy in eval mode whose batch norms hold the statistics of its own, balanced output.

    Running in training mode also renews the power iterations of the spectral norms, whose averaged vectors are not
    of unit length.
    """
    generator = copy.deepcopy(averaged).train()
    device = next(generator.parameters()).device
    norms = [module for module in generator.modules() if isinstance(module, nn.BatchNorm2d)]
    rng = np.random.default_rng(RECALIBRATION_SEED)
    served = np.repeat([c.index for c in CONDITIONS if c in density.mixtures], RECALIBRATION_PER_CONDITION)
    for batch in range(RECALIBRATION_BATCHES):
        if batch == RECALIBRATION_BATCHES // 4:  # the spectral norms have settled: measure from here
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # a plain mean over batches
        latents = torch.from_numpy(rng.standard_normal((len(served), generator.input_latents)).astype(np.float32))
        quantities = torch.from_numpy(draw_quantities(density, served, rng))
        generator(latents.to(device), torch.from_numpy(served).to(device), quantities.to(device))
    return generator.eval()
