"""The seed rule: what slice i of a condition depends on, and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spect.asked import check_whole
from spect.conditions import Condition
from spect.density import QuantityDensity, Targets
from spect.errors import RequestError

MAX_SEED = 2**53 - 1  # the largest integer every JSON reader keeps exactly


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorInputs:
    """The generator's three inputs for n slices."""

    latents: NDArray[np.float32]  # (n, latent_size)
    condition: NDArray[np.int64]  # (n,), Condition.index
    quantities: NDArray[np.float32]  # (n, d), standardised

    def __len__(self) -> int:
        return len(self.latents)

    def __getitem__(self, rows: slice) -> "GeneratorInputs":
        return GeneratorInputs(
            latents=self.latents[rows], condition=self.condition[rows], quantities=self.quantities[rows]
        )

    @classmethod
    def concatenate(cls, parts: "Sequence[GeneratorInputs]") -> "GeneratorInputs":
        """Join inputs, in order."""
        return cls(
            latents=np.concatenate([part.latents for part in parts]),
            condition=np.concatenate([part.condition for part in parts]),
            quantities=np.concatenate([part.quantities for part in parts]),
        )


def check_seed(seed: int) -> int:
    """Return the seed; raise `RequestError` where it is no integer from 0 to 2^53 - 1."""
    return check_whole("seed", seed, low=0, high=MAX_SEED)


def draw_inputs(
    density: QuantityDensity,
    *,
    condition: Condition,
    seed: int,
    start: int,
    count: int,
    latent_size: int,
    targets: Targets | None = None,
) -> GeneratorInputs:
    """Draw the inputs of slices start to start + count - 1.

    Each slice has its own generator seeded by (seed, condition, index): never seed + index, so that neighbouring
    seeds share no slice, and one call of 64 equals 64 calls of one.
    """
    check_seed(seed)
    if count < 1 or not 0 <= start <= MAX_SEED - count:
        raise RequestError(f"count must be at least 1 and start at least 0, got count {count} and start {start}")
    mixture = density.mixture(condition, targets or Targets())
    latents = np.empty((count, latent_size), dtype=np.float32)
    quantities = np.empty((count, len(density.names)), dtype=np.float32)
    for row in range(count):
        rng = np.random.default_rng(np.random.SeedSequence([seed, condition.index, start + row]))
        quantities[row] = density.draw(condition, mixture, rng)
        latents[row] = rng.standard_normal(latent_size)
    return GeneratorInputs(
        latents=latents, condition=np.full(count, condition.index, dtype=np.int64), quantities=quantities
    )
