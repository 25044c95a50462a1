"""Answers that are made whole before their first byte: written in turns, with their digest, and kept out of memory.

A turn writes about a megabyte. Between turns other answers are written on the same thread, and an answer whose client
has gone is given up. What grows long lies in a file without a name: a reader that is slow holds no memory.
"""

import asyncio
import base64
import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from functools import partial
from tempfile import TemporaryFile
from typing import IO

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serving.problems import DeadlineError

_MEMORY_BYTES = 8 * 2**20  # 128 slices of matrix 128: what is longer goes to the file
_TURN_BYTES = 2**20
_PIECE_BYTES = 2**20  # handed to the connection at once


class WholeAnswer:
    """The bytes of one answer, as its writer yields them, and the digest over them."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._held: list[bytes] = []
        self._file: IO[bytes] | None = None  # holds all of it as soon as it grows long
        self._sha256 = hashlib.sha256()
        self.length = 0

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
        """Whether `content` is there, and no file to be read."""
        return self._file is None

    @property
    def content(self) -> bytes:
        """All of the bytes of an answer that is short enough to lie in memory."""
        return b"".join(self._held)

    def read_pieces(self) -> Iterator[bytes]:
        """Yield the bytes of the file from the first on; each waits for the disk."""
        assert self._file is not None, "a short answer lies in memory"  # noqa: S101
        self._file.seek(0)
        return iter(partial(self._file.read, _PIECE_BYTES), b"")

    def close(self) -> None:
        """Let go of the bytes."""
        self._held.clear()
        if self._file is not None:
            self._file.close()


async def write_answer(chunks: Iterator[bytes], *, pool: Executor, deadline_seconds: float) -> WholeAnswer:
    """Write an answer in turns on a thread of the pool; cancelling the call ends the work with the turn under way.

    Raises `DeadlineError` where it takes longer.
    """
    answer = WholeAnswer(chunks)
    turn = pool.submit(answer.write_some)
    try:
        async with asyncio.timeout(deadline_seconds):
            while not await asyncio.wrap_future(turn):
                turn = pool.submit(answer.write_some)
    except BaseException as error:
        turn.add_done_callback(lambda _turn: answer.close())  # not while its thread writes
        if isinstance(error, TimeoutError):
            raise DeadlineError(
                f"the slices were made and not written within {deadline_seconds:g} s; ask for fewer, or later"
            ) from None
        raise
    return answer


class WholeResponse(Response):
    """Sends an answer that is there as a whole, piece by piece, as fast as it is read."""

    def __init__(self, answer: WholeAnswer, *, media_type: str, headers: Mapping[str, str]) -> None:
        self._answer = answer
        super().__init__(media_type=media_type, headers={**headers, "Content-Digest": answer.digest})
        self.headers["content-length"] = str(answer.length)

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send the answer, and let go of it."""
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            if self._answer.is_in_memory:  # in one message: each costs a tenth of a millisecond on its way out
                await send({"type": "http.response.body", "body": self._answer.content})
            else:
                await self._send_file(send)
        finally:
            self._answer.close()

    async def _send_file(self, send: Send) -> None:
        pieces = self._answer.read_pieces()
        while piece := await asyncio.to_thread(next, pieces, b""):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
