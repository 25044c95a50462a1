"""Fair, bounded micro-batches, counted in slices: many requests share the runs of one generator.

BentoML's adaptive batching counts requests, and one request here may ask for 1 slice or for 4,096. Each run of the
generator takes slices from every waiting request in turn, so a small request waits for one run, not for a large one.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from serving.problems import DeadlineError, OverloadedError
from serving.schemas import Portion
from spect.conditions import Condition
from spect.density import Targets
from spect.errors import InvalidOutputError, SynspectError
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


class BatchObserver(Protocol):
    """Who is told what the batcher does: `ServiceMetrics` in the service."""

    def observe_queue_wait(self, seconds: float) -> None:
        """Time from a request's arrival to its first batch."""
        ...

    def observe_inference(self, slices: int, seconds: float) -> None:
        """Time and size of one run of the generator."""
        ...

    def set_queue_slices(self, slices: int) -> None:
        """Say how many slices wait."""
        ...

    def count_invalid_slices(self, reason: str, slices: int) -> None:
        """Count slices that were made and withheld."""
        ...


class _Job:
    """One request: which slices it wants, how many are under way, what has come back."""

    def __init__(self, generator: SliceGenerator, portions: Sequence[Portion], result: asyncio.Future[Counts]) -> None:
        self.generator = generator
        self.result = result
        self.arrived = time.monotonic()
        self.is_started = False
        self._portions = deque((portion, 0) for portion in portions)
        self.count = sum(portion.count for portion in portions)
        self.taken = 0
        self._received = 0
        self._counts: Counts | None = None

    @property
    def waiting(self) -> int:
        """Slices not yet given to a batch."""
        return 0 if self.result.done() else self.count - self.taken

    def take(self, most: int) -> "_Piece":
        """Give the next slices, of one portion, to a batch."""
        portion, offset = self._portions.popleft()
        size = min(most, portion.count - offset)
        if offset + size < portion.count:
            self._portions.appendleft((portion, offset + size))
        piece = _Piece(job=self, portion=portion, first=portion.start + offset, row=self.taken, size=size)
        self.taken += size
        return piece

    def receive(self, piece: "_Piece", counts: Counts) -> None:
        """Keep what a batch made; the last piece completes the result."""
        if self.result.done():
            return
        if self._counts is None:
            self._counts = np.empty((self.count, *counts.shape[1:]), dtype=np.float32)
        self._counts[piece.row : piece.row + piece.size] = counts
        self._received += piece.size
        if self._received == self.count:
            self.result.set_result(self._counts)

    def fail(self, error: BaseException) -> None:
        """Give the request an error instead of slices."""
        if not self.result.done():
            self.result.set_exception(error)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """Consecutive slices of one portion inside one batch."""

    job: _Job
    portion: Portion
    first: int  # index of the first slice, by the seed rule
    row: int  # where it stands in the job's result
    size: int


class MicroBatcher:
    """Runs the generator on one thread, for all requests of one worker.

    Parameters
    ----------
    max_waiting_slices
        More than this may not wait: a request that would pass it is refused at once.
    batch_slices
        The most slices of one run.
    deadline_seconds
        A request not complete by then is given up, and what is left of it is never run.
    """

    def __init__(
        self, observer: BatchObserver, *, max_waiting_slices: int, batch_slices: int, deadline_seconds: float
    ) -> None:
        self._observer = observer
        self._max_waiting_slices = max_waiting_slices
        self._batch_slices = batch_slices
        self._deadline_seconds = deadline_seconds
        self._jobs: deque[_Job] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="generator")
        self._seconds_per_slice = 0.01  # replaced by what is measured

    @property
    def waiting_slices(self) -> int:
        """Slices that no batch has taken yet."""
        return sum(job.waiting for job in self._jobs)

    async def generate(self, generator: SliceGenerator, portions: Sequence[Portion]) -> Counts:
        """Make all slices of some portions, in order, with one generator.

        Cancelling the call, as a client that went away does, drops what is left of it.

        Returns
        -------
        Counts
            float32 (n, rows, columns), n the sum of the portions' counts.

        Raises
        ------
        OverloadedError
            If too many slices wait already.
        DeadlineError
            If they are not complete in time.
        InvalidOutputError
            If the generator made any of them such that they must not be sent.
        """
        job = self._admit(generator, portions)
        try:
            async with asyncio.timeout(self._deadline_seconds):
                return await job.result
        except TimeoutError:
            raise DeadlineError(
                f"{job.count} slices were not ready within {self._deadline_seconds:g} s; ask for fewer, or later"
            ) from None
        finally:
            job.result.cancel()
            self._forget_done()

    def close(self) -> None:
        """Refuse what still waits and stop the thread."""
        for job in self._jobs:
            job.fail(OverloadedError("the service is stopping; ask again", retry_after_seconds=5))
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _admit(self, generator: SliceGenerator, portions: Sequence[Portion]) -> _Job:
        job = _Job(generator, portions, asyncio.get_running_loop().create_future())
        waiting = self.waiting_slices
        if waiting + job.count > self._max_waiting_slices:
            seconds = min(max(math.ceil(waiting * self._seconds_per_slice), 1), 60)
            raise OverloadedError(
                f"{waiting} slices wait already and at most {self._max_waiting_slices} may; "
                f"ask again in {seconds} s, or for fewer than {job.count}",
                retry_after_seconds=seconds,
            )
        self._jobs.append(job)
        self._observer.set_queue_slices(waiting + job.count)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return job

    def _forget_done(self) -> None:
        self._jobs = deque(job for job in self._jobs if job.waiting)
        self._observer.set_queue_slices(self.waiting_slices)

    async def _work(self) -> None:
        while pieces := self._next_batch():
            await self._run(pieces)

    def _next_batch(self) -> list[_Piece]:
        """Take slices from the waiting requests of one generator in turn, until the batch is full."""
        self._forget_done()
        if not self._jobs:
            return []
        generator = self._jobs[0].generator
        sharing = deque(job for job in self._jobs if job.generator is generator)
        pieces, free = [], self._batch_slices
        while free and sharing:
            job = sharing.popleft()
            piece = job.take(max(free // (len(sharing) + 1), 1))
            pieces.append(piece)
            free -= piece.size
            if job.waiting:
                sharing.append(job)
        self._requeue({piece.job for piece in pieces})
        return pieces

    def _requeue(self, served: set[_Job]) -> None:
        """Put the requests just served behind the others, those of another generator included."""
        now = time.monotonic()
        for job in served:
            if not job.is_started:
                job.is_started = True
                self._observer.observe_queue_wait(now - job.arrived)
        unserved = [job for job in self._jobs if job not in served]
        self._jobs = deque(unserved + [job for job in self._jobs if job in served and job.waiting])
        self._observer.set_queue_slices(self.waiting_slices)

    async def _run(self, pieces: list[_Piece]) -> None:
        loop = asyncio.get_running_loop()
        slices = sum(piece.size for piece in pieces)
        started = time.monotonic()
        run = loop.run_in_executor(self._thread, _generate, pieces)
        await asyncio.wait([run])
        seconds = time.monotonic() - started
        self._observer.observe_inference(slices, seconds)
        self._seconds_per_slice = seconds / slices
        if error := run.exception():
            for piece in pieces:
                piece.job.fail(error)
            return
        for piece, made in zip(pieces, run.result(), strict=True):
            self._deliver(piece, made)

    def _deliver(self, piece: _Piece, made: "Counts | SynspectError") -> None:
        if isinstance(made, SynspectError):
            if isinstance(made, InvalidOutputError):
                self._observer.count_invalid_slices(made.reason, made.slices)
            piece.job.fail(made)
        else:
            piece.job.receive(piece, made)


def _generate(pieces: list[_Piece]) -> list["Counts | SynspectError"]:
    """Run the generator once for all pieces; a piece that may not be sent comes back as its error."""
    generator = pieces[0].job.generator
    inputs = [_draw(generator, piece) for piece in pieces]
    counts = generator.run(GeneratorInputs.concatenate(inputs))
    made: list[Counts | SynspectError] = []
    first = 0
    for piece in pieces:
        made.append(_checked(generator, counts[first : first + piece.size]))
        first += piece.size
    return made


def _draw(generator: SliceGenerator, piece: _Piece) -> GeneratorInputs:
    portion = piece.portion
    return generator.draw_inputs(
        portion.condition, seed=portion.seed, start=piece.first, count=piece.size, targets=portion.targets
    )


def _checked(generator: SliceGenerator, counts: Counts) -> "Counts | SynspectError":
    try:
        generator.check_counts_valid(counts)
    except InvalidOutputError as error:
        return error
    return counts
