"""The BentoML service: workers, lifecycle, draining and packaging are BentoML's, every byte of HTTP is ours.

    bentoml serve serving.service:SynspectService

The application is mounted at "/". What BentoML would answer itself (its health checks, which cannot say why they
fail; its metrics, whose labels are the clients' raw paths) is handed to the same application.
"""

import logging
from contextlib import AsyncExitStack

import bentoml
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.connections import bound_connections
from serving.problems import NotReadyError, to_response
from serving.settings import load_settings

_SETTINGS = load_settings()
bound_connections(_SETTINGS.deadline_seconds)
_BENTOML_PATHS = frozenset({"/livez", "/healthz", "/readyz", "/metrics", "/schema.json", "/docs.json"})


class _Door:
    """The application of this process, once the service has been built."""

    def __init__(self) -> None:
        self.app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.app is not None:
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await to_response(NotReadyError("the worker is starting", retry_after_seconds=1))(scope, receive, send)


_DOOR = _Door()


class OwnSystemPaths:
    """Hands the paths that BentoML would answer itself to our application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Choose who answers."""
        is_ours = scope["type"] == "http" and scope["path"] in _BENTOML_PATHS
        await (_DOOR if is_ours else self._app)(scope, receive, send)


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
        from serving.metrics import ServiceMetrics, forget_dead_workers  # noqa: PLC0415 — only in a worker
        from serving.routes import build_app  # noqa: PLC0415 — imports the metrics
        from serving.worker import Worker  # noqa: PLC0415 — imports the metrics

        logging.getLogger("serving").setLevel(logging.INFO)
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


SynspectService.add_asgi_middleware(OwnSystemPaths)  # type: ignore[attr-defined]
