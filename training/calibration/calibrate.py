"""Bring an averaged generator's own output to what training slices have in common, before it is judged or released.

Nothing is learnt here and no slice is looked at by itself: some thousand slices are generated once, the power of each
wavelength is brought to that of training (`training.calibration.spectrum`), then the mean slice of each condition
(`training.calibration.mean_slice`). Both are linear, part of the exported graph, and off while the network learns.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from spect.density import QuantityDensity
from training.calibration.mean_slice import MeanSlices, compute_mean_correction
from training.calibration.spectrum import Power, compute_gain, measure_power
from training.networks.generator import Generator
from training.networks.output_correction import OutputCorrection
from training.quantities.differentiable import draw_quantities

PER_CONDITION = 512  # synthetic slices: their mean is surer than that of the training slices
BATCH = 64
SEED = 20_221_106  # fixed: a generator has one calibration


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingStatistics:
    """What the training slices have in common."""

    mean_slices: MeanSlices
    power: Power | None  # None where no condition has two slices

    @classmethod
    def of(cls, model_images: NDArray[np.float32], condition: NDArray[np.int64]) -> "TrainingStatistics":
        """Measure model images (n, m, m) of conditions (n,)."""
        mean_slices = MeanSlices.of(model_images, condition)
        weight = _weigh_conditions(mean_slices.slices)
        power = measure_power(model_images, condition, weight) if weight.any() else None
        return cls(mean_slices=mean_slices, power=power)


def _weigh_conditions(slices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the degrees of freedom of conditions with this many slices each."""
    return np.maximum(slices - 1, 0)


@torch.no_grad()
def calibrate_output(
    generator: Generator,
    expected: TrainingStatistics,
    density: QuantityDensity,
    *,
    spectrum: bool = True,
    mean_slices: bool = True,
) -> None:
    """Set the correction of a generator in eval mode, in place: of its spectrum, of its mean slices, or of both."""
    correction = generator.correction
    correction.reset()
    if not (spectrum or mean_slices):
        return
    slices = expected.mean_slices.slices
    condition = np.repeat(np.flatnonzero(slices), PER_CONDITION)
    made = _generate(generator, condition, density)
    if spectrum and expected.power is not None:
        found = measure_power(made, condition, _weigh_conditions(slices))
        correction.gain.copy_(torch.from_numpy(compute_gain(expected.power, found, generator.matrix)))
        _keep_means(correction, MeanSlices.of(made, condition).model_images)
        made = _correct(correction, made, condition)
    if mean_slices:
        mean = compute_mean_correction(expected.mean_slices, MeanSlices.of(made, condition).model_images)
        correction.mean += torch.from_numpy(mean.astype(np.float32))[:, None].to(correction.mean.device)


def _keep_means(correction: OutputCorrection, means: NDArray[np.float32]) -> None:
    """Weigh what slices differ by alone: the mean of each condition comes out as it went in."""
    device = correction.gain.device
    images = torch.from_numpy(means)[:, None].to(device)
    correction.mean.copy_(images - correction.weigh(images))


def _generate(generator: Generator, condition: NDArray[np.int64], density: QuantityDensity) -> NDArray[np.float32]:
    """Return model images (n, m, m) of conditions (n,), quantities as they occur."""
    rng = np.random.default_rng(SEED)
    device = generator.correction.gain.device
    made = np.empty((len(condition), generator.matrix, generator.matrix), dtype=np.float32)
    for begin in range(0, len(condition), BATCH):
        rows = condition[begin : begin + BATCH]
        latents = rng.standard_normal((len(rows), generator.input_latents)).astype(np.float32)
        inputs = (latents, rows, draw_quantities(density, rows, rng))
        made[begin : begin + BATCH] = generator(*(torch.from_numpy(v).to(device) for v in inputs))[:, 0].float().cpu()
    return made


def _correct(
    correction: OutputCorrection, model_images: NDArray[np.float32], condition: NDArray[np.int64]
) -> NDArray[np.float32]:
    device = correction.gain.device
    corrected = np.empty_like(model_images)
    for begin in range(0, len(condition), BATCH):
        rows = slice(begin, begin + BATCH)
        images, of = torch.from_numpy(model_images[rows, None]), torch.from_numpy(condition[rows])
        corrected[rows] = correction(images.to(device), of.to(device))[:, 0].cpu()
    return corrected
