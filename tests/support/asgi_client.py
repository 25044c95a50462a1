"""Talk to an ASGI application in this process as to a server: one loop on one thread, its lifespan around it."""

import asyncio
import threading
from typing import Any

import httpx
from starlette.applications import Starlette


class AsgiClient:
    """Synchronous calls into an application whose tasks live on between them."""

    def __init__(self, app: Starlette, *, peer: tuple[str, int] = ("127.0.0.1", 50000)) -> None:
        self.app = app
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._lifespan = app.router.lifespan_context(app)
        self._run(self._lifespan.__aenter__())
        transport = httpx.ASGITransport(app, client=peer, raise_app_exceptions=False)
        self._http = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:3000")

    def get(self, path: str, **options: Any) -> httpx.Response:
        """GET a path."""
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        """POST to a path."""
        return self.request("POST", path, **options)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request and wait for the answer."""
        return self._run(self._http.request(method, path, **options))

    def close(self) -> None:
        """Stop the application and its loop."""
        self._run(self._http.aclose())
        self._run(self._lifespan.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)
