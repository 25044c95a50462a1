"""Answers that are made whole before their first byte: written in turns, with their digest, and kept out of memory.

A turn writes about a megabyte. Between turns other answers are written on the same thread, and an answer whose client
has gone is given up. What grows long lies in a file without a name: a reader that is slow holds no memory.
"""

import asyncio
import base64
import hashlib
import io
import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import nullcontext
from functools import partial
from tempfile import TemporaryFile
from typing import IO

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serving.problems import DeadlineError, find_kind
from serving.transport.streamed_answer import IncompleteAnswerError

log = logging.getLogger(__name__)

_MEMORY_BYTES = 8 * 2**20  # 128 slices of matrix 128: what is longer goes to the file
_TURN_BYTES = 2**20
PIECE_BYTES = 2**20  # handed to the connection at once; the slowest reader let on takes half an hour to each


class WholeAnswer:
    """The bytes of one answer, as its writer yields them, and the digest over them."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._held: list[bytes] = []
        self._file: IO[bytes] | None = None  # holds all of it as soon as it grows long
        self._sha256 = hashlib.sha256()
        self.length = 0
        self.is_closed = False

    def write_some(self) -> bool:
        """Write a turn's worth; return whether that was the last of it."""
        ends_at = self.length + _TURN_BYTES
        for chunk in self._chunks:
            self._held.append(chunk)
            self._sha256.update(chunk)
            self.length += len(chunk)
            if self.length > _MEMORY_BYTES:
                self._write_down()
            if self.length >= ends_at:
                return False
        return True

    def _write_down(self) -> None:
        self._file = self._file or TemporaryFile()  # noqa: SIM115 — `close` closes it
        self._file.writelines(self._held)
        self._held.clear()

    @property
    def digest(self) -> str:
        """Value of Content-Digest (RFC 9530)."""
        return f"sha-256=:{base64.b64encode(self._sha256.digest()).decode()}:"

    @property
    def is_in_memory(self) -> bool:
        """Whether all of it lies in memory, and no file is to be read."""
        return self._file is None

    def read_pieces(self) -> Iterator[bytes]:
        """Yield the bytes from the first on, at most a mebibyte at a time; each may wait for the disk."""
        file = self._file or io.BytesIO(b"".join(self._held))
        file.seek(0)
        return iter(partial(file.read, PIECE_BYTES), b"")

    def close(self) -> None:
        """Let go of the bytes."""
        self.is_closed = True
        self._held.clear()
        if self._file is not None:
            self._file.close()


async def write_answer(
    chunks: Iterator[bytes], *, pool: Executor, deadline_seconds: float, alone: asyncio.Lock | None = None
) -> WholeAnswer:
    """Write an answer in turns on a thread of the pool; cancelling the call ends the work with the turn under way.

    Answers that share the lock `alone` are written one after the other, and what they gather never adds up. Raises
    `DeadlineError` where it takes longer, the wait for the others included.
    """
    answer = WholeAnswer(chunks)
    turn: Future[bool] | None = None
    try:
        async with asyncio.timeout(deadline_seconds), alone or nullcontext():
            has_ended = False
            while not has_ended:
                turn = pool.submit(answer.write_some)
                has_ended = await asyncio.wrap_future(turn)
    except BaseException as error:
        if turn is None:
            answer.close()
        else:
            turn.add_done_callback(lambda _turn: answer.close())  # not while its thread writes
        if isinstance(error, TimeoutError):
            raise DeadlineError(
                f"the slices were made and not written within {deadline_seconds:g} s; ask for fewer, or later"
            ) from None
        raise
    return answer


class WholeResponse(Response):
    """Sends an answer that is there as a whole, piece by piece, as fast as it is read.

    Parameters
    ----------
    most_seconds
        The answer is cut off where it is not read by then: it takes room on the disk for as long as it is sent.
    on_cut_off
        Is told why an answer was cut off: a name of the problem table.
    """

    def __init__(
        self,
        answer: WholeAnswer,
        *,
        media_type: str,
        headers: Mapping[str, str],
        most_seconds: float,
        on_cut_off: Callable[[str], None],
    ) -> None:
        self._answer = answer
        self._most_seconds, self._on_cut_off = most_seconds, on_cut_off
        super().__init__(media_type=media_type, headers={**headers, "Content-Digest": answer.digest})
        self.headers["content-length"] = str(answer.length)

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send the answer, and let go of it."""
        try:
            async with asyncio.timeout(self._most_seconds):
                await self._send(send)
        except TimeoutError:
            late = DeadlineError(f"it was not read within {self._most_seconds:g} s; ask for fewer slices at a time")
            log.warning("an answer was cut off: %s", late)
            self._on_cut_off(find_kind(late).name)
            raise IncompleteAnswerError("the answer was cut off after its first bytes") from None
        finally:
            self._answer.close()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        pieces = self._answer.read_pieces()
        if self._answer.length <= PIECE_BYTES:  # in one message: each passes through every layer
            await send({"type": "http.response.body", "body": next(pieces, b"")})
            return
        while piece := next(pieces, b"") if self._answer.is_in_memory else await asyncio.to_thread(next, pieces, b""):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
