"""One request to an ASGI application by hand: read as slowly as a test wants, hung up when it wants."""

import asyncio
from typing import Any

from starlette.types import ASGIApp, Message


class AsgiCall:
    """A POST, of JSON if not said; at most `window` chunks of the answer lie unread, as in a connection's buffer."""

    def __init__(
        self, app: ASGIApp, path: str, body: bytes, *, window: int = 1, content_type: str = "application/json"
    ) -> None:
        self._app, self._body = app, body
        self._scope = _scope(path, content_type)
        self._messages: asyncio.Queue[Message] = asyncio.Queue(window)
        self._gone = asyncio.Event()
        self._is_asked = False
        self._task: asyncio.Task[Any] | None = None

    async def __aenter__(self) -> "AsgiCall":
        self._task = asyncio.create_task(self._app(self._scope, self._receive, self._messages.put))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def read(self) -> Message:
        """Return the next message of the answer."""
        return await asyncio.wait_for(self._messages.get(), 120)

    async def read_to_the_end(self) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of a whole answer."""
        start = await self.read()
        body = b""
        while True:
            message = await self.read()
            body += message.get("body", b"")
            if not message.get("more_body", False):
                return start["status"], {k.decode(): v.decode() for k, v in start["headers"]}, body

    def hang_up(self) -> None:
        """Go away."""
        self._gone.set()

    async def finish(self) -> None:
        """Read what is still there and wait for the application to end, raising what it raises."""
        assert self._task is not None
        while not self._task.done():
            reading = asyncio.ensure_future(self._messages.get())
            await asyncio.wait({self._task, reading}, return_when=asyncio.FIRST_COMPLETED)
            reading.cancel()
        self._task.result()

    async def end_unread(self) -> None:
        """Read nothing more and wait for the application to end, raising what it raises."""
        assert self._task is not None
        await self._task

    async def _receive(self) -> Message:
        if not self._is_asked:
            self._is_asked = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}


def _scope(path: str, content_type: str) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"content-type", content_type.encode()), (b"host", b"127.0.0.1")],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 3000),
    }
