"""One worker behind a real socket of this process, for what speaks HTTP by itself."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from serving.metrics import ServiceMetrics
from serving.routes import build_app
from serving.settings import ServiceSettings
from serving.worker import Worker

_START_SECONDS = 60.0


@contextmanager
def serve_worker(**settings: object) -> Iterator[tuple[str, Worker]]:
    """Serve a worker with these settings on a free port; yield its address and itself."""
    worker = Worker(
        ServiceSettings.model_validate({"max_waiting_seconds": 60, **settings}), ServiceMetrics(CollectorRegistry())
    )
    with _serve(build_app(worker)) as address:
        yield address, worker


@contextmanager
def _serve(app: Starlette) -> Iterator[str]:
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, lifespan="off", log_level="warning", timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=asyncio.run, args=[_run(app, server)], daemon=True)
    thread.start()
    try:
        yield _wait_for_address(server, thread)
    finally:
        server.should_exit = True
        thread.join(20)


async def _run(app: Starlette, server: uvicorn.Server) -> None:
    async with app.router.lifespan_context(app):  # what BentoML's startup and shutdown do in the service
        await server.serve()


def _wait_for_address(server: uvicorn.Server, thread: threading.Thread) -> str:
    deadline = time.monotonic() + _START_SECONDS
    while not server.started:
        assert thread.is_alive(), "the server ended before it listened"
        assert time.monotonic() < deadline, "the server did not listen in time"
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    return f"http://127.0.0.1:{port}"
