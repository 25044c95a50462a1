"""Ask until a whole answer is there: wait for a busy service, repeat where the connection broke, check the digest."""

import base64
import binascii
import hashlib
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import cast

import httpx

from spect.errors import IncompleteBatchError

ATTEMPTS = 6  # where the connection breaks before an answer
CUT_OFF_ATTEMPTS = 3  # a service that cuts the same answer off again does so for a reason
LONGEST_WAIT_SECONDS = 60.0  # as long as a busy service ever asks for; what asks for more is used up, not busy
LONGEST_BUSY_SECONDS = 120.0  # in all: many clients of one service take turns, and each is refused now and then
LONGEST_ANSWER_SECONDS = 1800.0  # what a service allows its longest answers
BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})

_DIGEST_HEADER = "Content-Digest"  # RFC 9530: of the bytes as they travel
_ALGORITHM = "sha-256"

Sleep = Callable[[float], None]


class PatientTransport(httpx.BaseTransport):
    """Repeats a request that met a busy service, or whose connection broke before the answer was whole.

    Safe for every request of this client: by the seed rule, asking twice for a slice gives the same slice. An address
    that refuses the first connection is not waited for: nothing says that a service is there.
    """

    def __init__(self, inner: httpx.BaseTransport, *, sleep: Sleep = time.sleep) -> None:
        self._inner, self._sleep = inner, sleep
        self._has_answered = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send, and send again; return an answer that is there as a whole, or that of a service that stays busy.

        Raises
        ------
        IncompleteBatchError
            If the answer was cut off, or damaged, each time.
        httpx.TransportError
            If no answer came.
        """
        broken = busy = 0
        waited = 0.0
        while True:
            try:
                response = self._ask(request)
            except (httpx.TransportError, IncompleteBatchError) as error:
                broken += 1
                if broken >= self._most_attempts(error):
                    raise
                self._sleep(_back_off_seconds(broken))
                continue
            busy += 1
            wait = _wait_seconds(response, busy) if response.status_code in BUSY else None
            if wait is None or waited + wait > LONGEST_BUSY_SECONDS:
                return response
            self._sleep(wait)
            waited += wait

    def close(self) -> None:
        """Close the connections."""
        self._inner.close()

    def _ask(self, request: httpx.Request) -> httpx.Response:
        response = self._inner.handle_request(request)
        self._has_answered = True
        try:
            content = _read(response, request)
        finally:
            response.close()
        return httpx.Response(response.status_code, headers=response.headers, content=content, request=request)

    def _most_attempts(self, error: Exception) -> int:
        if isinstance(error, IncompleteBatchError):
            return CUT_OFF_ATTEMPTS
        if isinstance(error, httpx.ConnectError):  # it answered before: it may be starting again
            return ATTEMPTS if self._has_answered else 1
        return ATTEMPTS if isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError) else 1


def _read(response: httpx.Response, request: httpx.Request) -> bytes:
    """Return the body as it travelled; raise `IncompleteBatchError` unless all of it came, and in time."""
    chunks: list[bytes] = []
    started = time.monotonic()
    try:
        for chunk in cast(httpx.SyncByteStream, response.stream):  # as it travelled, not decoded
            chunks.append(chunk)
            if time.monotonic() - started > LONGEST_ANSWER_SECONDS:
                raise _incomplete(request, f"took longer than {LONGEST_ANSWER_SECONDS:g} s")
    except httpx.TransportError:
        got = sum(map(len, chunks))
        raise _incomplete(request, f"was cut off after {got} bytes") from None
    content = b"".join(chunks)
    _check_digest(response, request, content)
    return content


def _check_digest(response: httpx.Response, request: httpx.Request, content: bytes) -> None:
    told = _parse_digest(response.headers.get(_DIGEST_HEADER, ""))
    if told is not None and hashlib.sha256(content).digest() != told:
        raise _incomplete(request, f"came damaged: its bytes have another {_ALGORITHM} than {_DIGEST_HEADER} says")


def _parse_digest(header: str) -> bytes | None:
    """Return the sha-256 of a header such as `sha-256=:...:`; None where it tells none that can be read."""
    for field in header.split(","):
        algorithm, _, value = field.strip().partition("=")
        if algorithm.strip().lower() == _ALGORITHM and len(value) > 2 and value[0] == value[-1] == ":":
            try:
                return base64.b64decode(value[1:-1], validate=True)
            except binascii.Error:
                return None
    return None


def _incomplete(request: httpx.Request, what: str) -> IncompleteBatchError:
    return IncompleteBatchError(f"the answer of {request.url.copy_with(query=None)} {what}; ask again, or for fewer")


def _wait_seconds(response: httpx.Response, attempt: int) -> float | None:
    """Return what Retry-After asks for and a little more, not the same for all clients; None for what is used up."""
    asked = _retry_after_seconds(response.headers.get("Retry-After", ""))
    if asked is None or asked <= 0:
        return _back_off_seconds(attempt)
    if asked > LONGEST_WAIT_SECONDS:
        return None
    return asked * random.uniform(1.0, 1.25)  # noqa: S311 — jitter, no secret


def _back_off_seconds(attempt: int) -> float:
    """Return twice as long each time, and not the same for all clients."""
    return min(0.25 * 2.0 ** min(attempt, 8) * random.uniform(0.5, 1.0), LONGEST_WAIT_SECONDS)  # noqa: S311 — jitter, no secret


def _retry_after_seconds(header: str) -> float | None:
    if header.strip().isdigit():
        return float(header)
    try:
        return (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return None
