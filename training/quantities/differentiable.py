"""Measure, differentiably, the quantities that the generator was asked for.

The masks come from detached pixels through the one quantifier (`spect.quantify`); the means over them and the
principal scores are differentiable. Quantities are mean counts, log left/right ratio and principal scores.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spect.conditions import CONDITIONS
from spect.density import QuantityDensity, Targets, Vector
from spect.intensity import IntensityScale
from spect.quantify import quantify, union_masks
from spect.slices import Counts
from training.quantities.principal import PrincipalBasis, level_of_condition

# A condition's own spread counts at least this much, in units of the cohort's: bounds the emphasis on tight ones.
SMALLEST_SPREAD = 0.25
TINY = 1e-6


def measure_raw(
    counts: Counts, condition: NDArray[np.int64], basis: PrincipalBasis, *, pixel_spacing_mm: float
) -> Vector:
    """Raw quantities (n, d) of acquired or simulated counts (n, m, m), by the quantifier."""
    measured = quantify(counts, pixel_spacing_mm=pixel_spacing_mm)
    return np.column_stack([measured.mean_counts, np.log(measured.left_right_ratio), basis.scores(counts, condition)])


def draw_quantities(
    density: QuantityDensity, condition: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw standardised quantities (n, d), one row for each condition index."""
    rows = [
        density.draw(served, density.mixture(served, Targets()), rng) for served in (CONDITIONS[i] for i in condition)
    ]
    return np.array(rows, dtype=np.float32)


def emphasis_by_condition(density: QuantityDensity) -> NDArray[np.float32]:
    """How much each quantity's error counts in each condition (8, d): one over its spread there, bounded."""
    emphasis = np.ones((len(CONDITIONS), len(density.names)), dtype=np.float32)
    for condition, mixture in density.mixtures.items():
        variances = (mixture.factors**2).sum(axis=2)  # (k, d)
        spread = np.sqrt(mixture.weights @ variances)
        emphasis[condition.index] = 1 / np.clip(spread, SMALLEST_SPREAD, 1.0)
    return emphasis


@dataclass(frozen=True, slots=True)
class Measured:
    """Standardised quantities (n, d) and which of them could be measured (n, d), 1 or 0."""

    quantities: Tensor
    is_measurable: Tensor


class DifferentiableQuantifier:
    """Measures model images on their own device; gradients flow through pixel values, not through masks."""

    def __init__(
        self,
        *,
        scale: IntensityScale,
        density: QuantityDensity,
        basis: PrincipalBasis,
        pixel_spacing_mm: float,
        device: torch.device | str = "cpu",
    ) -> None:
        self._scale = scale
        self._pixel_spacing_mm = pixel_spacing_mm
        self._center = torch.tensor(density.center, dtype=torch.float32, device=device)
        self._spread = torch.tensor(density.scale, dtype=torch.float32, device=device)
        self._mean = torch.tensor(basis.mean, device=device)
        self._components = torch.tensor(basis.components, device=device)
        self._level_of = torch.tensor(level_of_condition(), device=device)

    def __call__(self, model_images: Tensor, condition: Tensor) -> Measured:
        """Measure model images (n, 1, m, m) of conditions (n,)."""
        counts = (model_images[:, 0].float() + 1) * (self._scale.max_counts / 2)
        # Pixels that are not finite have no outline; what is measured of them is not finite, and the step says so.
        pixels = np.nan_to_num(counts.detach().cpu().numpy(), posinf=0.0, neginf=0.0)
        masks = union_masks(pixels, pixel_spacing_mm=self._pixel_spacing_mm)
        outline, left, right = (
            torch.from_numpy(mask.astype(np.float32)).to(counts.device)
            for mask in (masks.outline, masks.left, masks.right)
        )
        log_ratio = _masked_mean(counts, left).clamp(min=TINY).log() - _masked_mean(counts, right).clamp(min=TINY).log()
        raw = torch.column_stack([_masked_mean(counts, outline), log_ratio, self._scores(counts, condition)])
        is_measurable = torch.ones_like(raw)
        # An untrained generator draws no brain, which has no mean counts and no sides; its scores count all the same.
        is_measurable[:, :2] = torch.from_numpy(masks.found.astype(np.float32)).to(counts.device)[:, None]
        return Measured((raw - self._center) / self._spread, is_measurable)

    def _scores(self, counts: Tensor, condition: Tensor) -> Tensor:
        level = self._level_of[condition]
        centered = counts.flatten(1) - self._mean[level]
        every_level = torch.einsum("np,lpk->nlk", centered, self._components)
        return every_level[torch.arange(len(counts), device=counts.device), level]


def _masked_mean(counts: Tensor, mask: Tensor) -> Tensor:
    return (counts * mask).sum(dim=(1, 2)) / mask.sum(dim=(1, 2)).clamp(min=1)
