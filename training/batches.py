"""What one step sees: acquired slices, what the synthetic ones are asked for, and how all are augmented.

A batch is a function of (seed, images seen, roll-backs, turn) alone, so that a resumed run repeats the uninterrupted
one, and one that was rolled back does not walk into the same trouble.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spect.density import QuantityDensity
from training.augment import Augmentation, draw_augmentation
from training.config import TrainingConfig
from training.quantities.differentiable import draw_quantities

QUADRANTS = 4
MOVED = ("model_images", "condition", "quantities", "latents", "asked")  # augmentations move with what they change


@dataclass(frozen=True, slots=True)
class TrainingSlices:
    """The training slices in memory, with their measured quantities."""

    model_images: Tensor  # (n, 1, m, m)
    quantities: NDArray[np.float32]  # (n, d), standardised
    condition: NDArray[np.int64]  # (n,)

    def probabilities(self, sampling: Literal["square-root", "count"]) -> NDArray[np.float64]:
        """Chance of each slice to be drawn: conditions by (the square root of) their count, slices alike within."""
        if sampling == "count":
            return np.full(len(self.condition), 1 / len(self.condition))
        counts = np.bincount(self.condition)[self.condition]
        weights = 1 / np.sqrt(counts)
        probabilities: NDArray[np.float64] = weights / weights.sum()
        return probabilities


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs of one step; synthetic slices are asked for the same conditions as the acquired ones beside them."""

    model_images: Tensor  # (b, 1, m, m)
    condition: Tensor  # (b,)
    quantities: Tensor  # (b, d), measured
    latents: Tensor  # (b, input_latents)
    asked: Tensor  # (b, d), drawn from the density
    augmentation: Augmentation
    augmentation_synthetic: Augmentation
    quadrant: int

    def to(self, device: torch.device) -> "Batch":
        """Move what the networks read to a device."""
        moved = {name: getattr(self, name).to(device) for name in MOVED}
        return replace(self, **moved)

    def share(self, rank: int, processes: int) -> "Batch":
        """Rows of one of several processes that take a step together; all shares are of one size."""
        if processes == 1:
            return self
        size = len(self.condition) // processes
        rows = slice(rank * size, (rank + 1) * size)
        return replace(
            self,
            **{name: getattr(self, name)[rows] for name in MOVED},
            augmentation=self.augmentation.take(rows),
            augmentation_synthetic=self.augmentation_synthetic.take(rows),
        )


class BatchSource:
    """Draws the batch that belongs to a number of images seen."""

    def __init__(self, slices: TrainingSlices, density: QuantityDensity, config: TrainingConfig, seed: int) -> None:
        self._slices, self._density, self._config, self._seed = slices, density, config, seed
        self._probabilities = slices.probabilities(config.sampling)

    def draw(self, images_seen: int, *, roll_backs: int = 0, turn: int = 0) -> Batch:
        """Draw the batch after `images_seen` images; every roll-back begins another stream.

        Turn 0 is the batch of both networks, turns from 1 on are for the discriminator alone.
        """
        stream = [self._seed, images_seen] if roll_backs == 0 else [self._seed, images_seen, roll_backs]
        if turn > 0:
            stream = [self._seed, images_seen, roll_backs, turn]
        rng = np.random.default_rng(stream)
        size = self._config.batch_size
        rows = rng.choice(len(self._probabilities), size, p=self._probabilities)
        condition = self._slices.condition[rows]
        latents = rng.standard_normal((size, self._config.input_latents)).astype(np.float32)
        return Batch(
            model_images=self._slices.model_images[torch.from_numpy(rows)],
            condition=torch.from_numpy(condition),
            quantities=torch.from_numpy(self._slices.quantities[rows]),
            latents=torch.from_numpy(latents),
            asked=torch.from_numpy(draw_quantities(self._density, condition, rng)),
            augmentation=draw_augmentation(self._config, size, rng),
            augmentation_synthetic=draw_augmentation(self._config, size, rng),
            quadrant=int(rng.integers(QUADRANTS)),
        )
