"""What a client may send as a body: as it is, and not too much, by what it says and by what really comes in."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.problems import PayloadTooLargeError, UnsupportedMediaTypeError
from spect.errors import SynspectError

DEFAULT_BODY_BYTES = 64 * 2**10


class BodyLimit:
    """Refuses bodies that are packed, and those that are too long: by Content-Length, and by counting what comes in."""

    def __init__(self, app: ASGIApp, upload_paths: frozenset[str], max_upload_bytes: int) -> None:
        self._app = app
        self._upload_paths = upload_paths
        self._max_upload_bytes = max_upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with a counting `receive`."""
        limit = self._max_upload_bytes if scope["path"] in self._upload_paths else DEFAULT_BODY_BYTES
        received = 0

        async def counted() -> Message:
            nonlocal received
            if received == 0:
                headers = Headers(scope=scope)
                _check_not_packed(headers.get("content-encoding", ""))
                _check_length(headers.get("content-length"), limit)
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise _too_large(f"more than {limit}", limit)
            return message

        await self._app(scope, counted, send)


def _check_not_packed(encoding: str) -> None:
    """Refuse what would have to be unpacked first (RFC 9110, 15.5.16); the file inside a form may be packed."""
    if encoding.strip().lower() not in {"", "identity"}:
        raise UnsupportedMediaTypeError(
            f"the body is packed (Content-Encoding: {encoding[:40]!r}); send it as it is, without that header"
        )


def _check_length(declared: str | None, limit: int) -> None:
    if declared is not None and declared.isdigit() and int(declared) > limit:
        raise _too_large(declared, limit)


def _too_large(got: str, limit: int) -> SynspectError:
    return PayloadTooLargeError(f"the body has {got} bytes, this route reads at most {limit}; send less at a time")
