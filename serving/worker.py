"""One worker process: its model, its batcher, its metrics and what watches them; started and stopped together."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

from registry.bundle.served_model import ServedModel, open_model
from serving.access.quota_store import QuotaStore
from serving.batching.batcher import MicroBatcher
from serving.batching.queue_bound import QueueBound
from serving.drift.gauges import DriftGauges
from serving.drift.monitor import DriftMonitor
from serving.drift.sample import MonitorSettings
from serving.encode import describe_answer, describe_generated
from serving.metrics import ServiceMetrics
from serving.problems import DeadlineError, OverloadedError
from serving.schemas import NO_TARGETS, Order, Portion
from serving.settings import ServiceSettings
from serving.swap import ModelSlot
from serving.transport.streamed_answer import Parts, write_parts
from serving.transport.whole_answer import WholeAnswer, write_answer
from serving.uploads.measuring_process import MeasuringProcess, Stop
from serving.uploads.receive import ReceivedUpload
from spect.cores import count_cores
from spect.errors import InvalidOutputError, QuantificationError
from spect.finishing import finish_batch
from spect.formats.heading import Heading
from spect.formats.writer import FORMATS
from spect.slices import Counts, SyntheticBatch

log = logging.getLogger(__name__)

WINDOWS_NAME = "windows.sqlite"
QUOTAS_NAME = "quotas.sqlite"
_MAX_UPLOADS = 4  # being received, waiting or measured: each may hold thousands of slices
# Address space of the process that measures: interpreter, libraries and what they map without using it; and how many
# copies of the longest upload parsing and measuring may hold at once.
_MEASURING_BYTES = 2 * 2**30
_COPIES = 6
_PART_SLICES = 16  # finished and written at once: resampled to matrix 256 they take 4 MB, and some copies


class Worker:
    """What the routes need, and nothing of HTTP."""

    def __init__(self, settings: ServiceSettings, metrics: ServiceMetrics) -> None:
        self.settings = settings
        self.metrics = metrics
        threads = max(count_cores() // settings.workers, 1)
        state_dir = settings.find_state_dir()
        self.quotas = QuotaStore(state_dir / QUOTAS_NAME)
        self.monitor = DriftMonitor(
            store=state_dir / WINDOWS_NAME,
            metrics=metrics,
            settings=MonitorSettings(
                sample_every=settings.drift_sample_every,
                window_slices=settings.drift_window_slices,
                cpu_share=settings.drift_cpu_share,
            ),
        )
        metrics.attach(DriftGauges(self.monitor.read_states))
        self.slot = ModelSlot(
            settings.find_bundle_dir(),
            metrics,
            open_model=partial(open_model, require_gpu=settings.require_gpu, threads=threads),
            prepare=self._watch_drift,
        )
        self.batcher = MicroBatcher(
            metrics,
            bound=QueueBound(
                max_waiting_slices=settings.max_waiting_slices, max_waiting_seconds=settings.max_waiting_seconds
            ),
            batch_slices=settings.batch_slices,
            deadline_seconds=settings.deadline_seconds,
        )
        self._encoders = ThreadPoolExecutor(max_workers=2, thread_name_prefix="encode")
        # What needs every slice at once, as a contact sheet does: one at a time, so that their memory never adds up.
        self._gatherer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gather")
        self._gathering = asyncio.Lock()
        self._measurer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="measure")
        self.measuring = MeasuringProcess(memory_bytes=_MEASURING_BYTES + _COPIES * settings.max_upload_bytes)
        self.uploads_held = 0
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the first bundle and watch for the next; a bundle that fails leaves the worker alive and not ready."""
        self.monitor.start()
        await asyncio.to_thread(self.slot.refresh)
        if not self.slot.is_ready:
            level, why = (logging.INFO, "waits") if self.slot.is_waiting else (logging.ERROR, "not ready")
            log.log(level, "%s: %s", why, self.slot.reason)
        self._watch = asyncio.create_task(self.slot.watch(self.settings.poll_seconds))

    async def stop(self) -> None:
        """Stop watching, and let go of what waits."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        self.batcher.close()
        await asyncio.to_thread(self.monitor.close)
        self.quotas.close()
        self._encoders.shutdown(wait=False, cancel_futures=True)
        self._gatherer.shutdown(wait=False, cancel_futures=True)
        self._measurer.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self.measuring.close)

    @staticmethod
    def check_targets(model: ServedModel, order: Order) -> None:
        """Draw one slice of each portion that asks for quantities: one outside the support fails here, alone.

        Raises `RequestError` before anything is counted, waited for or made.
        """
        for portion in order.portions:
            if portion.targets != NO_TARGETS:
                model.generator.draw_inputs(
                    portion.condition, seed=portion.seed, start=portion.start, targets=portion.targets
                )

    async def make(self, model: ServedModel, order: Order) -> SyntheticBatch:
        """Make the slices of an order, as generated, with one model."""
        counts = await self.batcher.generate(model.generator, order.portions)
        return describe_generated(order, model).part(counts)

    async def encode(self, model: ServedModel, order: Order, name: str, batch: SyntheticBatch) -> WholeAnswer:
        """Measure and resample a batch where the order asks for it, and write it, part by part, off the event loop.

        Cancelling the call, as a client that went away does, drops what is left of it.
        """
        parts = map(partial(self._finish, order), _cut(batch))
        chunks = FORMATS[name].encode(describe_answer(order, model), parts)
        seconds = self.settings.deadline_seconds
        if FORMATS[name].needs_all:
            return await write_answer(chunks, pool=self._gatherer, deadline_seconds=seconds, alone=self._gathering)
        return await write_answer(chunks, pool=self._encoders, deadline_seconds=seconds)

    @contextmanager
    def open_stream(self, model: ServedModel, order: Order, name: str) -> Iterator[AsyncIterator[bytes]]:
        """Make, check, finish and write the slices of an order with one model, while they are read and no faster.

        Leaving the context drops what is left. Raises as `make` and `encode` do, here or while they are read.
        """
        write = partial(FORMATS[name].encode, describe_answer(order, model))
        with self.batcher.open_stream(model.generator, order.portions) as made:
            labelled = _label(made, describe_generated(order, model))
            parts = Parts(labelled, finish=partial(self._finish, order))
            yield write_parts(parts, write, pool=self._encoders, on_sent=partial(self.deliver, order))

    def deliver(self, order: Order, batch: SyntheticBatch, first: int = 0) -> None:
        """Count slices on their way out, and offer those that the model drew by itself to the monitor.

        `batch` holds slices `first` and following of the order, as generated.
        """
        for portion, rows in _find_portions(order, first, len(batch)):
            self.metrics.count_slices(portion.condition, rows.stop - rows.start)
            if portion.targets == NO_TARGETS:
                self.monitor.offer(
                    portion.condition,
                    batch.counts[rows],
                    seed=portion.seed,
                    indices=batch.index[rows],
                    model_sha256=batch.model_sha256,
                )

    @contextmanager
    def hold_upload(self) -> Iterator[None]:
        """Hold a place for one upload, from before its body is read; raise `OverloadedError` where none is free."""
        if self.uploads_held >= _MAX_UPLOADS:
            raise OverloadedError("other uploads are being measured; ask again in 5 s", retry_after_seconds=5)
        self.uploads_held += 1
        try:
            yield
        finally:
            self.uploads_held -= 1

    async def measure(self, task: str, upload: ReceivedUpload, *, model: ServedModel | None = None) -> bytes:
        """Have a task of `serving.uploads.measuring` done, one at a time, in a place that `hold_upload` gave.

        It is given up where it is not done within the deadline, the wait for its turn included. Cancelling the call, as
        a client that went away does, drops it where it waits, and ends the measuring process where it is measured.
        """
        ends_at, give_up = time.monotonic() + self.settings.deadline_seconds, Stop()
        job = self._measurer.submit(self._measure, task, upload, model, ends_at=ends_at, give_up=give_up)
        try:
            return await asyncio.wrap_future(job)
        except asyncio.CancelledError:
            if not job.cancel():
                give_up()
                await asyncio.gather(asyncio.wrap_future(job), return_exceptions=True)  # at once: its process is gone
            raise

    def _measure(
        self, task: str, upload: ReceivedUpload, model: ServedModel | None, *, ends_at: float, give_up: Stop
    ) -> bytes:
        seconds = ends_at - time.monotonic()
        if seconds <= 0:
            raise DeadlineError("other uploads were measured until the time of this one was up; ask again")
        about = {} if model is None else {"model_sha256": model.bundle.sha256, "model_version": model.version}
        return self.measuring.run(
            {
                "name": task,
                "max_bytes": self.settings.max_upload_bytes,
                "pixel_spacing_mm": upload.pixel_spacing_mm,
                "fields": upload.fields,
                **about,
            },
            upload.file,
            upload.size,
            b"" if model is None else model.profile_json,
            seconds=seconds,
            give_up=give_up,
        )

    def _watch_drift(self, model: ServedModel) -> None:
        spacing = model.bundle.manifest.pixel_spacing_mm
        self.monitor.watch(model.bundle.sha256, model.profile, pixel_spacing_mm=spacing)

    def _finish(self, order: Order, batch: SyntheticBatch) -> SyntheticBatch:
        try:
            return finish_batch(batch, measure=order.has_targets, matrix=order.matrix)
        except QuantificationError as error:
            self.metrics.count_invalid_slices("not_measurable", 1)
            raise InvalidOutputError(
                f"a slice made for the asked quantities has no brain outline ({error}); ask for others",
                reason="not_measurable",
            ) from None


async def _label(made: AsyncIterator[Counts], heading: Heading) -> AsyncIterator[SyntheticBatch]:
    first = 0
    async for counts in made:
        for part in _cut(heading.part(counts, first=first)):
            yield part
        first += len(counts)


def _cut(batch: SyntheticBatch) -> Iterator[SyntheticBatch]:
    """Yield a batch, as generated, in parts: each is finished and written by itself."""
    heading = Heading.of(batch)
    for first in range(0, len(batch), _PART_SLICES):
        yield heading.part(batch.counts[first : first + _PART_SLICES], first=first)


def _find_portions(order: Order, first: int, size: int) -> Iterator[tuple[Portion, slice]]:
    """Yield the portions of `size` slices of an order from `first` on, and the rows of each among them."""
    start = 0
    for portion in order.portions:
        low, high = max(start, first), min(start + portion.count, first + size)
        start += portion.count
        if low < high:
            yield portion, slice(low - first, high - first)
