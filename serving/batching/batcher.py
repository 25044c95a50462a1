"""Fair, bounded micro-batches, counted in slices: many requests share the runs of one generator.

BentoML's adaptive batching counts requests, and one request here may ask for 1 slice or for 4,096. Each run of the
generator takes slices from several waiting requests, so a small request waits for one run, not for a large one.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol

import numpy as np

from serving.batching.jobs import Job, Piece, SliceGenerator
from serving.batching.queue_bound import QueueBound
from serving.batching.turns import share_run
from serving.problems import DeadlineError, OverloadedError
from serving.schemas import Portion
from spect.errors import InvalidOutputError, SynspectError
from spect.sampling import GeneratorInputs
from spect.slices import Counts

_STOPPING_SECONDS = 5  # until another worker answers in the place of one that stops


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


class MicroBatcher:
    """Runs the generator on one thread, for all requests of one worker.

    Parameters
    ----------
    bound
        Says which requests are let in; what is not is refused at once. A request that is read piece by piece counts as
        two batches, however long it is.
    batch_slices
        The most slices of one run.
    deadline_seconds
        A request not complete by then is given up, and what is left of it is never run. One that is read piece by
        piece is given up where its next piece is not made by then.
    """

    def __init__(
        self, observer: BatchObserver, *, bound: QueueBound, batch_slices: int, deadline_seconds: float
    ) -> None:
        self._observer = observer
        self._bound = bound
        self._batch_slices = batch_slices
        self._deadline_seconds = deadline_seconds
        self._jobs: deque[Job] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="generator")
        self._is_closed = False

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
        with self._admit(Job(generator, portions)) as job:
            try:
                async with asyncio.timeout(self._deadline_seconds):
                    return await self._gather(job)
            except TimeoutError:
                raise DeadlineError(
                    f"{job.count} slices were not ready within {self._deadline_seconds:g} s; ask for fewer, or later"
                ) from None

    @contextmanager
    def open_stream(self, generator: SliceGenerator, portions: Sequence[Portion]) -> Iterator[AsyncIterator[Counts]]:
        """Make the slices of some portions piece by piece, in order, with one generator, as fast as they are read.

        Two batches of them are made ahead and no more. Leaving the context drops what is left.

        Yields
        ------
        AsyncIterator of Counts
            float32 (n, rows, columns), n at most a batch; checked, and raising as `generate` does.
        """
        with self._admit(Job(generator, portions, window=2 * self._batch_slices)) as job:
            yield self._read(job)

    def close(self) -> None:
        """Refuse what still waits and stop the thread."""
        self._is_closed = True
        for job in self._jobs:
            job.fail(_stopping())
        if self._worker is not None:
            self._worker.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def _admit(self, job: Job) -> Iterator[Job]:
        """Let a request in for as long as somebody waits for it; raise `OverloadedError` where there is no place."""
        if self._is_closed:
            raise _stopping()
        self._bound.check(job, self._jobs)
        self._jobs.append(job)
        self._wake()
        try:
            yield job
        finally:
            job.abandon()
            self._jobs.remove(job)
            self._tell_queue()

    async def _gather(self, job: Job) -> Counts:
        made = await self._fetch(job)
        counts = np.empty((job.count, *made.shape[1:]), dtype=np.float32)
        first = 0
        while True:
            counts[first : first + len(made)] = made
            first += len(made)
            if job.is_complete:
                return counts
            made = await self._fetch(job)

    async def _read(self, job: Job) -> AsyncIterator[Counts]:
        while not job.is_complete:
            try:
                async with asyncio.timeout(self._deadline_seconds):
                    made = await self._fetch(job)
            except TimeoutError:
                raise DeadlineError(
                    f"the next of {job.count} slices were not ready within {self._deadline_seconds:g} s; ask later"
                ) from None
            yield made

    async def _fetch(self, job: Job) -> Counts:
        made = await job.fetch()
        self._wake()  # its window has moved on
        return made

    def _wake(self) -> None:
        self._tell_queue()
        if self.waiting_slices and (self._worker is None or self._worker.done()):
            self._worker = asyncio.create_task(self._work())

    def _tell_queue(self) -> None:
        self._observer.set_queue_slices(self.waiting_slices)

    async def _work(self) -> None:
        while pieces := self._next_batch():
            await self._run(pieces)

    def _next_batch(self) -> list[Piece]:
        """Take slices of the waiting requests of one generator, until the batch is full."""
        waiting = [job for job in self._jobs if job.waiting]
        if not waiting:
            return []
        generator = waiting[0].generator
        pieces = share_run([job for job in waiting if job.generator is generator], self._batch_slices)
        self._requeue({piece.job for piece in pieces})
        return pieces

    def _requeue(self, served: set[Job]) -> None:
        """Put the requests just served behind the others, those of another generator included."""
        now = time.monotonic()
        for job in served:
            if not job.is_started:
                job.is_started = True
                self._observer.observe_queue_wait(now - job.arrived)
        unserved = [job for job in self._jobs if job not in served]
        self._jobs = deque(unserved + [job for job in self._jobs if job in served])
        self._tell_queue()

    async def _run(self, pieces: list[Piece]) -> None:
        loop = asyncio.get_running_loop()
        slices = sum(piece.size for piece in pieces)
        started = time.monotonic()
        run = loop.run_in_executor(self._thread, _generate, pieces)
        await asyncio.wait([run])
        seconds = time.monotonic() - started
        self._observer.observe_inference(slices, seconds)
        self._bound.note_run(slices, seconds)
        if error := run.exception():
            for piece in pieces:
                piece.job.fail(error)
            return
        for piece, made in zip(pieces, run.result(), strict=True):
            self._deliver(piece, made)

    def _deliver(self, piece: Piece, made: "Counts | SynspectError") -> None:
        if isinstance(made, SynspectError):
            if isinstance(made, InvalidOutputError):
                self._observer.count_invalid_slices(made.reason, made.slices)
            piece.job.fail(made)
        else:
            piece.job.receive(made)


def _stopping() -> OverloadedError:
    return OverloadedError("the service is stopping; ask again", retry_after_seconds=_STOPPING_SECONDS)


def _generate(pieces: list[Piece]) -> list["Counts | SynspectError"]:
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


def _draw(generator: SliceGenerator, piece: Piece) -> GeneratorInputs:
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
