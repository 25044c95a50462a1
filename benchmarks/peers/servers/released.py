"""What every peer serves: the released graph, orders drawn by the seed rule, and npz; nothing of any framework.

What the service does beyond this for a request (checks of every slice, digest, drift, metrics) no peer does.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from registry.bundle.directory import load_bundle
from registry.bundle.generator import ReleasedGenerator
from spect.conditions import Condition, Level, Pattern
from spect.cores import count_cores
from spect.formats import npz
from spect.formats.heading import write_whole
from spect.sampling import GeneratorInputs
from spect.slices import Counts, SyntheticBatch

BUNDLE_VARIABLE = "PEER_BUNDLE"
RUN_SLICES = 16  # of one run of the graph, as in the service


class Order(BaseModel):
    """What is asked for: slices start to start + count - 1 of a condition."""

    level: str
    pattern: str
    count: int
    seed: int
    start: int = 0

    @property
    def condition(self) -> Condition:
        """Level and pattern as the domain has them."""
        return Condition(Level(self.level), Pattern(self.pattern))


class Released:
    """The bundle's generator on all cores of this process."""

    def __init__(self) -> None:
        self._generator = ReleasedGenerator(load_bundle(Path(os.environ[BUNDLE_VARIABLE])), threads=count_cores())

    def answer(self, order: Order) -> bytes:
        """Return one order as npz."""
        return self.answer_all([order])[0]

    def answer_all(self, orders: Sequence[Order]) -> list[bytes]:
        """Return orders that were batched as npz each: all are drawn, run together, and written."""
        inputs = GeneratorInputs.concatenate([self._draw(order) for order in orders])
        runs = range(0, len(inputs), RUN_SLICES)
        counts = np.concatenate([self._generator.run(inputs[first : first + RUN_SLICES]) for first in runs])
        ends = np.cumsum([order.count for order in orders])
        return [self._write(*pair) for pair in zip(orders, np.split(counts, ends[:-1]), strict=True)]

    def _draw(self, order: Order) -> GeneratorInputs:
        return self._generator.draw_inputs(order.condition, seed=order.seed, start=order.start, count=order.count)

    def _write(self, order: Order, counts: Counts) -> bytes:
        manifest = self._generator.manifest
        batch = SyntheticBatch(
            counts=counts,
            level=np.full(order.count, order.level),
            pattern=np.full(order.count, order.pattern),
            seed=np.full(order.count, order.seed, dtype=np.int64),
            index=np.arange(order.start, order.start + order.count, dtype=np.int64),
            pixel_spacing_mm=manifest.pixel_spacing_mm,
            model_version=self._generator.version,
            model_sha256=self._generator.sha256,
            intensity_unit=manifest.training_cohort.intensity_unit,
        )
        return write_whole(npz.write, batch)
