"""uvicorn's connections with an end to every wait for the client: for a request's head, and for what it does not read.

uvicorn bounds the pause between two requests and nothing else: a client that sends its head a byte at a time, or that
stops reading an answer, would keep its connection for ever, and with it a file of this process and what is unsent.
"""

import asyncio
from http import HTTPStatus
from typing import ClassVar

import h11
import uvicorn.config
from uvicorn.protocols.http.h11_impl import H11Protocol

from serving.problems import HTTP_REASONS, problem_response
from serving.transport.security_headers import SECURITY_HEADERS

_NOT_HTTP = "what was sent is no HTTP/1.1 request that can be read; check the request line, the headers and the lengths"
_LEAST_BYTES = 64 * 2**10  # that a reader takes in each period while more is waiting for it


class BoundedConnection(H11Protocol):
    """Closes connections whose client lets `seconds` pass without sending a whole head, or without reading 64 KiB."""

    seconds: ClassVar[float] = 120.0

    _head_timer: asyncio.TimerHandle | None = None
    _reader_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        """Go on waiting for a head that has begun, or stop waiting for one that is whole."""
        super().data_received(data)
        self._watch_head()

    def on_response_complete(self) -> None:
        """Close the connection of a request that was answered before its body had come in: nobody reads the rest."""
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 — uvicorn's words stay out of the answer
        """Answer what is no HTTP like any other problem, unless an answer has begun."""
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            status = HTTPStatus.BAD_REQUEST
            problem = problem_response(status, HTTP_REASONS[status], _NOT_HTTP, SECURITY_HEADERS)
            headers = [*problem.raw_headers, (b"connection", b"close")]
            for event in (
                h11.Response(status_code=status.value, headers=headers, reason=status.phrase.encode()),
                h11.Data(data=bytes(problem.body)),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _should_upgrade(self) -> bool:
        """Upgrade to nothing: there is no WebSocket here, and HTTP lets a server go on as if it had not been asked."""
        return False

    def pause_writing(self) -> None:
        """Begin to watch the reader: more is unsent than the socket takes."""
        super().pause_writing()
        self._watch_reader(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """Stop watching the reader."""
        super().resume_writing()
        self._forget_reader()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all watching."""
        self._forget_head()
        self._forget_reader()
        super().connection_lost(exc)

    def _watch_head(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._forget_head()
        elif self._head_timer is None:  # a byte now and then does not start it anew
            self._head_timer = self.loop.call_later(self.seconds, self.transport.abort)

    def _watch_reader(self, unsent: int) -> None:
        self._reader_timer = self.loop.call_later(self.seconds, self._check_reader, unsent)

    def _check_reader(self, unsent_before: int) -> None:
        unsent = self.transport.get_write_buffer_size()
        if unsent_before - unsent < _LEAST_BYTES:
            self.transport.abort()
        else:
            self._watch_reader(unsent)

    def _forget_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _forget_reader(self) -> None:
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None


def bound_connections(seconds: float) -> None:
    """Have the HTTP servers of this process wait no longer than this for a client.

    BentoML builds uvicorn's configuration itself and passes no protocol on, so the one that uvicorn takes by itself is
    named here, by uvicorn's own table.
    """
    BoundedConnection.seconds = seconds
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{BoundedConnection.__name__}"
