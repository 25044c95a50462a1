"""A generator for tests of the service: no graph, no bundle; a slice's pixels say which slice it is."""

import threading
import time

import numpy as np

from spect.conditions import Condition
from spect.density import Targets
from spect.errors import InvalidOutputError
from spect.sampling import GeneratorInputs
from spect.slices import Counts

MATRIX = 4


class FakeGenerator:
    """Each slice is filled with `offset` + 1000 x seed + index; runs are recorded, may be slow, held or broken."""

    def __init__(self, *, seconds_per_slice: float = 0.0, offset: int = 0, invalid_seed: int | None = None) -> None:
        self.runs: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.failure: Exception | None = None
        self._seconds_per_slice = seconds_per_slice
        self._offset = offset
        self._invalid_seed = invalid_seed

    def draw_inputs(
        self,
        condition: Condition,
        *,
        seed: int,
        start: int = 0,
        count: int = 1,
        targets: Targets | None = None,  # noqa: ARG002 — the protocol's name
    ) -> GeneratorInputs:
        """Put the slices' names where the latents would be."""
        names = 1000 * seed + start + np.arange(count, dtype=np.float32)
        return GeneratorInputs(
            latents=names[:, None],
            condition=np.full(count, condition.index, dtype=np.int64),
            quantities=np.zeros((count, 1), dtype=np.float32),
        )

    def run(self, inputs: GeneratorInputs) -> Counts:
        """Fill each slice with its name."""
        self.gate.wait(120)
        if self.failure is not None:
            raise self.failure
        self.runs.append(inputs.latents[:, 0].astype(int).tolist())
        time.sleep(self._seconds_per_slice * len(inputs))
        counts = np.repeat(inputs.latents[:, 0] + self._offset, MATRIX * MATRIX)
        return counts.reshape(-1, MATRIX, MATRIX).astype(np.float32)

    def check_counts_valid(self, counts: Counts) -> None:
        """Refuse the slices of one seed."""
        if self._invalid_seed is not None and (counts // 1000 == self._invalid_seed).any():
            raise InvalidOutputError("made wrong", reason="constant", slices=len(counts))
