"""Answers that are sent while they are made: no faster than they are read, and cut off where a slice goes wrong."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serving.problems import DeadlineError, find_kind
from serving.transport.timing import ClientGoneError, finish_unless_gone
from spect.errors import SynspectError
from spect.slices import SyntheticBatch

log = logging.getLogger(__name__)

INTERNAL = "internal"  # why an answer was cut off, where no error of our own says it


class IncompleteAnswerError(Exception):
    """Leaves the application after the first bytes: the server then closes the connection without the last chunk."""


class Parts(Iterator[SyntheticBatch]):
    """Hands batches that are made on the event loop to a writer that asks for them on a thread.

    A writer writes something of each part before it asks for the next, so one part made ahead keeps its thread from
    ever waiting: neither the generator nor a slow reader holds a thread.
    """

    def __init__(
        self, made: AsyncIterator[SyntheticBatch], *, finish: Callable[[SyntheticBatch], SyntheticBatch]
    ) -> None:
        self._made, self._finish = made, finish
        self._ahead: deque[SyntheticBatch] = deque()
        self._written: list[tuple[SyntheticBatch, int]] = []
        self._first = 0
        self._has_ended = False

    async def make_ahead(self) -> None:
        """Wait for the next part, unless it is there."""
        if not self._ahead and not self._has_ended:
            try:
                self._ahead.append(await anext(self._made))
            except StopAsyncIteration:
                self._has_ended = True

    def __next__(self) -> SyntheticBatch:
        if self._ahead:
            part = self._ahead.popleft()
            self._written.append((part, self._first))
            self._first += len(part)
            return self._finish(part)
        if self._has_ended:
            raise StopIteration
        raise RuntimeError("a writer asked for a second part before it wrote anything of the first")

    def take_written(self) -> list[tuple[SyntheticBatch, int]]:
        """Return the parts, as made, that the writer has taken since the last call, each with its first slice."""
        written, self._written = self._written, []
        return written


async def write_parts(
    parts: Parts,
    write: Callable[[Iterable[SyntheticBatch]], Iterator[bytes]],
    *,
    pool: Executor,
    on_sent: Callable[[SyntheticBatch, int], None],
) -> AsyncIterator[bytes]:
    """Yield the bytes of parts as they are made; `on_sent` hears of each part read, and its first slice."""
    loop = asyncio.get_running_loop()
    chunks = write(parts)
    while True:
        await parts.make_ahead()
        chunk = await loop.run_in_executor(pool, partial(next, chunks, None))
        if chunk is None:
            return
        yield chunk
        for part, first in parts.take_written():
            on_sent(part, first)


class StreamedAnswer(Response):
    """An answer of unknown length, whose chunks are made while it is sent.

    Until the first chunk is there an error is answered as any other. After it there is no way to say what happened:
    the connection is closed without the last chunk, which every client of HTTP reads as an incomplete answer.

    Parameters
    ----------
    open_chunks
        Opens the chunks; leaving the context stops the work behind them.
    most_seconds
        The answer is cut off where it takes longer in all, whoever is slow.
    on_cut_off
        Is told why an answer was cut off: a name of the problem table.
    on_abandoned
        Is told where the client went away.
    """

    def __init__(
        self,
        open_chunks: Callable[[], AbstractContextManager[AsyncIterator[bytes]]],
        *,
        media_type: str,
        headers: Mapping[str, str],
        most_seconds: float,
        on_cut_off: Callable[[str], None],
        on_abandoned: Callable[[], None],
    ) -> None:
        self._open_chunks = open_chunks
        self._most_seconds = most_seconds
        self._on_cut_off, self._on_abandoned = on_cut_off, on_abandoned
        self._is_started = False
        super().__init__(media_type=media_type, headers=dict(headers))
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, unless the client goes away first."""
        try:
            await finish_unless_gone(Request(scope, receive), self._send_in_time(send))
        except ClientGoneError:
            self._on_abandoned()
        except asyncio.CancelledError:
            log.warning("an answer was broken off: the service is stopping")
            raise
        except Exception as error:
            if not self._is_started:
                raise
            self._note_cut_off(error)
            raise IncompleteAnswerError("the answer was cut off after its first bytes") from None

    async def _send_in_time(self, send: Send) -> None:
        try:
            async with asyncio.timeout(self._most_seconds):
                await self._send(send)
        except TimeoutError:
            raise DeadlineError(
                f"the slices were not made and read within {self._most_seconds:g} s; ask for fewer at a time"
            ) from None

    async def _send(self, send: Send) -> None:
        with self._open_chunks() as chunks:
            chunk = await anext(chunks)
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            self._is_started = True
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            async for further in chunks:
                await send({"type": "http.response.body", "body": further, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _note_cut_off(self, error: Exception) -> None:
        if isinstance(error, SynspectError):
            log.error("an answer was cut off: %s", error)
            self._on_cut_off(find_kind(error).name)
        else:
            log.error("an answer was cut off", exc_info=error)
            self._on_cut_off(INTERNAL)
