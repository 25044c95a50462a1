"""The BentoML service: workers, lifecycle, draining and packaging are BentoML's, every byte of HTTP is ours.

    bentoml serve serving.service:SynspectService

Every request is handed to our application, also what BentoML would answer itself: its health checks, which cannot say
why they fail; its metrics, whose labels are the clients' raw paths; its own page and its plain-text errors.
"""

import logging
import os
from contextlib import AsyncExitStack

import bentoml
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.memory import give_back_large_blocks
from serving.problems import NotReadyError, to_response
from serving.settings import load_settings
from serving.supervised import end_with_supervisor
from serving.transport.connections import bound_connections
from serving.transport.security_headers import SecurityHeaders

# BentoML makes spans of every message, and by default nobody collects them. Who does says false.
os.environ.setdefault("OTEL_SDK_DISABLED", "true")
_SETTINGS = load_settings()
bound_connections(_SETTINGS.deadline_seconds)
give_back_large_blocks()


class _Door:
    """The application of this process, once the service has been built."""

    def __init__(self) -> None:
        self.app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.app is not None:
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            starting = to_response(NotReadyError("the worker is starting", retry_after_seconds=1))
            await SecurityHeaders(starting)(scope, receive, send)


_DOOR = _Door()


class OwnHttp:
    """Hands every request to our application, those too that BentoML would answer itself: OPTIONS *, or its assets."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Choose who answers."""
        await (_DOOR if scope["type"] == "http" else self._app)(scope, receive, send)


@bentoml.service(
    name="synspect",
    workers=_SETTINGS.workers,
    # The batcher has its own deadline; BentoML's timeout would only free the place of work that goes on.
    traffic={"timeout": 2 * _SETTINGS.deadline_seconds + 60},
    metrics={"enabled": False, "namespace": "bentoml_service"},
)
@bentoml.asgi_app(_DOOR, path="/", name="synspect")
class SynspectService:
    """Synthetic cerebral-blood-flow brain SPECT slices; research use only, never for diagnosis."""

    def __init__(self) -> None:
        # Imported here, in the worker: prometheus_client chooses its storage when it is imported.
        from serving.access.guard import warn_if_open  # noqa: PLC0415 — imports the metrics
        from serving.metrics import ServiceMetrics, forget_dead_workers  # noqa: PLC0415 — only in a worker
        from serving.routes import build_app  # noqa: PLC0415 — imports the metrics
        from serving.transport.server_log import keep_known_ends_short  # noqa: PLC0415 — imports the metrics
        from serving.worker import Worker  # noqa: PLC0415 — imports the metrics

        logging.getLogger("serving").setLevel(logging.INFO)
        keep_known_ends_short()
        end_with_supervisor()
        if bentoml.server_context.worker_index in {None, 1}:
            warn_if_open(_SETTINGS)
        forget_dead_workers()
        self._app = build_app(Worker(_SETTINGS, ServiceMetrics()))
        self._running = AsyncExitStack()

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    async def start(self) -> None:
        """Load the model; the port answers "not ready", with the reason, until there is one."""
        await self._running.enter_async_context(self._app.router.lifespan_context(self._app))
        _DOOR.app = self._app

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def stop(self) -> None:
        """Stop what watches and what waits."""
        await self._running.aclose()


SynspectService.add_asgi_middleware(OwnHttp)  # type: ignore[attr-defined]
