"""Times every request, and drops the work of a client that went away."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.metrics import OTHER_ROUTE, ServiceMetrics
from serving.page.files import PAGE_FILES
from serving.transport.answer_status import AnswerStatus

Result = TypeVar("Result")


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


async def finish_unless_gone(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Finish the work; cancel it and raise `ClientGoneError` if the client goes away first."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_until_disconnect(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGoneError
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _until_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class RequestTimes:
    """Times every request under its route's template, never under its path."""

    def __init__(self, app: ASGIApp, metrics: ServiceMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and time its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        status = AnswerStatus()
        try:
            await self._app(scope, receive, status.noted_by(send))
        except Exception:
            status.value = None  # an answer that was cut off is no success, though it began with 200
            raise
        finally:
            self._metrics.observe_request(_template(scope), status.value or 500, time.monotonic() - started)


def _template(scope: Scope) -> str:
    path: str = scope["path"]
    if path.startswith("/page/"):
        return "/page" if path.removeprefix("/page/") in PAGE_FILES else OTHER_ROUTE
    return path
