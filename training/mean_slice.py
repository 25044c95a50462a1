"""Bring the mean synthetic slice of each condition to that of the training slices, when an average is made ready.

A generator lays part of its texture at the same places of every slice. Each slice looks right by itself, and the
discriminator, which sees it shifted and enlarged, cannot tell; the mean of some hundred slices shows a mottle that no
scans share, and a logistic regression on their principal components finds it. A penalty while learning was tried: as
a gradient, the mean of a few slices is mostly noise. Measured over some thousand slices it can simply be taken away.
"""

from dataclasses import dataclass

import numpy as np
import scipy.ndimage
import torch
from numpy.typing import NDArray

from spect.conditions import CONDITIONS
from spect.density import QuantityDensity
from spect.slices import FIELD_MM
from training.networks import Generator
from training.principal import LEVELS, level_of_condition
from training.quantities import draw_quantities

PER_CONDITION = 512  # synthetic slices: their mean is surer than that of the training slices
BATCH = 64
SEED = 20_221_106  # fixed: a generator has one correction
# What tells patterns apart is no finer than a territory (sigma). Finer detail is shared by the patterns of a level: a
# few dozen slices of one of them would bring in more noise of their own than they take away.
PATTERN_SIGMA_MM = 12.0
TINY = 1e-9

Maps = NDArray[np.float64]  # (conditions, rows, columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanSlices:
    """Mean model image of each condition's training slices, and how many there were."""

    model_images: NDArray[np.float32]  # (conditions, m, m)
    slices: NDArray[np.int64]  # (conditions,)

    @classmethod
    def of(cls, model_images: NDArray[np.float32], condition: NDArray[np.int64]) -> "MeanSlices":
        """Average model images (n, m, m) of conditions (n,)."""
        means = np.zeros((len(CONDITIONS), *model_images.shape[1:]), dtype=np.float32)
        for index in np.unique(condition):
            means[index] = model_images[condition == index].mean(axis=0)
        return cls(model_images=means, slices=np.bincount(condition, minlength=len(CONDITIONS)))


@torch.no_grad()
def correct_mean_slices(generator: Generator, expected: MeanSlices, density: QuantityDensity) -> None:
    """Set the correction of a generator in eval mode, in place, so that its mean slices are the expected ones.

    It is added to every image, after the tanh: before it, it would weigh on the middle greys most.
    """
    generator.mean_correction.zero_()
    error = np.zeros(expected.model_images.shape)
    rng = np.random.default_rng(SEED)
    for index in np.flatnonzero(expected.slices):
        error[index] = expected.model_images[index] - _mean_synthetic(generator, int(index), density, rng)
    correction = _leave_flow(_share_detail(error, expected.slices), expected).astype(np.float32)
    generator.mean_correction.copy_(torch.from_numpy(correction)[:, None])


def _mean_synthetic(
    generator: Generator, index: int, density: QuantityDensity, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Mean model image (m, m) of slices of one condition."""
    device = generator.mean_correction.device
    condition = np.full(BATCH, index)
    total = torch.zeros(generator.matrix, generator.matrix, dtype=torch.float64)
    for _ in range(PER_CONDITION // BATCH):
        latents = rng.standard_normal((BATCH, generator.input_latents)).astype(np.float32)
        inputs = (latents, condition, draw_quantities(density, condition, rng))
        made = generator(*(torch.from_numpy(values).to(device) for values in inputs))
        total += made[:, 0].double().sum(dim=0).cpu()
    mean: NDArray[np.float64] = (total / PER_CONDITION).numpy()
    return mean


def _share_detail(error: Maps, slices: NDArray[np.int64]) -> Maps:
    """Return each condition's error as its level's, weighted by slices, and what is smooth of its own."""
    level = level_of_condition()
    shared: Maps = np.zeros_like(error)
    for position in range(len(LEVELS)):
        rows = (level == position) & (slices > 0)
        if rows.any():
            shared[rows] = np.average(error[rows], axis=0, weights=slices[rows])
    own: Maps = shared + _smooth(error - shared)
    return own


def _leave_flow(correction: Maps, expected: MeanSlices) -> Maps:
    """Take out of each correction what would make the whole slice brighter or darker: flow is what was asked for."""
    counts = _smooth(expected.model_images.astype(np.float64) + 1)  # shares of the intensity scale: background is -1
    brighter = (correction * counts).sum(axis=(1, 2)) / np.maximum((counts**2).sum(axis=(1, 2)), TINY)
    left: Maps = correction - brighter[:, None, None] * counts
    return left


def _smooth(maps: Maps) -> Maps:
    """Blur each map (rows, columns) until no more than a territory can be told."""
    sigma = PATTERN_SIGMA_MM * maps.shape[-1] / FIELD_MM
    smooth: Maps = scipy.ndimage.gaussian_filter(maps, (0, sigma, sigma))
    return smooth
