"""One request inside the micro-batcher: which slices it still wants, and those that are made and wait to be fetched."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from serving.schemas import Portion
from spect.conditions import Condition
from spect.density import Targets
from spect.sampling import GeneratorInputs
from spect.slices import Counts


class SliceGenerator(Protocol):
    """What the batcher needs of a generator: `ReleasedGenerator` in the service, a fake in tests."""

    def draw_inputs(
        self, condition: Condition, *, seed: int, start: int = 0, count: int = 1, targets: Targets | None = None
    ) -> GeneratorInputs:
        """Draw the inputs of some slices by the seed rule."""
        ...

    def run(self, inputs: GeneratorInputs) -> Counts:
        """Make counts (n, rows, columns) of n inputs, in one run."""
        ...

    def check_counts_valid(self, counts: Counts) -> None:
        """Raise `InvalidOutputError` for counts that must not leave the service."""
        ...


class Job:
    """A request on its way: batches take pieces of it in order, its reader fetches them in the same order.

    Parameters
    ----------
    window
        The most slices under way at once: taken by a batch and not fetched yet, or free to be taken. What a slow
        reader leaves lying therefore holds its own generation back. None: all of them.
    """

    def __init__(self, generator: SliceGenerator, portions: Sequence[Portion], *, window: int | None = None) -> None:
        self.generator = generator
        self.arrived = time.monotonic()
        # Who reads piece by piece waits for the next piece alone, and is never the one that has waited longest for all.
        self.waiting_since = self.arrived
        self.is_started = False
        self.is_over = False
        self.count = sum(portion.count for portion in portions)
        self._window = self.count if window is None else window
        self._portions = deque((portion, 0) for portion in portions)
        self._made: asyncio.Queue[Counts | BaseException] = asyncio.Queue()
        self._taken = 0
        self._received = 0
        self._fetched = 0

    @property
    def waiting(self) -> int:
        """Slices that a batch may take now."""
        return 0 if self.is_over else min(self.count - self._taken, self._window - (self._taken - self._fetched))

    @property
    def claimed(self) -> int:
        """Slices that wait for a batch or for the reader: the place that this request holds in the service."""
        return self.waiting + (0 if self.is_over else self._received - self._fetched)

    @property
    def is_complete(self) -> bool:
        """Whether the reader has fetched every slice."""
        return self._fetched == self.count

    def take(self, most: int) -> "Piece":
        """Give the next slices, of one portion, to a batch."""
        portion, offset = self._portions.popleft()
        size = min(most, self.waiting, portion.count - offset)
        if offset + size < portion.count:
            self._portions.appendleft((portion, offset + size))
        self._taken += size
        if self._window < self.count:
            self.waiting_since = time.monotonic()
        return Piece(job=self, portion=portion, first=portion.start + offset, size=size)

    def receive(self, counts: Counts) -> None:
        """Keep what a batch made for the reader; nothing is kept of a request that is over."""
        if not self.is_over:
            self._received += len(counts)
            self._made.put_nowait(counts)

    def fail(self, error: BaseException) -> None:
        """Give the reader an error after what is made already, and take no further part in batches."""
        if not self.is_over:
            self.is_over = True
            self._made.put_nowait(error)

    def abandon(self) -> None:
        """Nobody reads any more."""
        self.is_over = True

    async def fetch(self) -> Counts:
        """Return the next slices, at most a batch of them, or raise what went wrong."""
        made = await self._made.get()
        if isinstance(made, BaseException):
            raise made
        self._fetched += len(made)
        return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Consecutive slices of one portion inside one batch."""

    job: Job
    portion: Portion
    first: int  # index of the first slice, by the seed rule
    size: int
