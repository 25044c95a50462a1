"""What is asked for, as one vector: condition and quantities (SCIENCE.md section 5)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from spect.conditions import CONDITIONS, Level, Pattern
from training.config import TrainingConfig
from training.networks.blocks import (
    SLOPE,
)


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


def build_embedding(config: TrainingConfig) -> nn.Module:
    """Return the embedding that a configuration's conditioning asks for."""
    if config.conditioning == "one-hot":
        return OneHot()
    return ConditionEmbedding(
        config.embedding_size, config.quantity_size if config.conditioning == "quantities" else None
    )
