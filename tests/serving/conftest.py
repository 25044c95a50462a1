"""What the tests of the service share: a bundle with a real profile, and the application in this process."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from registry.bundle.directory import Bundle
from serving.metrics import ServiceMetrics
from serving.routes import build_app
from serving.settings import ServiceSettings
from serving.worker import Worker
from synspect.server_process import ServerOptions, ServerProcess, find_free_port, start_server
from tests.support.asgi_client import AsgiClient
from tests.support.followed_directory import make_pair, switch
from tests.support.tiny_bundle import build_tiny_bundle

LOOPBACK = ("127.0.0.1", 50000)
ClientFactory = Callable[..., AsgiClient]


@pytest.fixture(scope="session")
def served_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A tiny released bundle whose profile is real; read-only."""
    return build_tiny_bundle(tmp_path_factory.mktemp("served") / "bundle")


@pytest.fixture
def open_client(tmp_path: Path, served_bundle: Bundle) -> Iterator[ClientFactory]:
    """Start workers with other settings, seen from other peers; all are stopped at the end."""
    opened: list[AsgiClient] = []

    def open_one(*, peer: tuple[str, int] = LOOPBACK, **changes: object) -> AsgiClient:
        fields = {
            "bundle_dir": served_bundle.path,
            "state_dir": tmp_path / f"state-{len(opened)}",
            "max_waiting_seconds": 60,
            **changes,
        }
        worker = Worker(ServiceSettings.model_validate(fields), ServiceMetrics(CollectorRegistry()))
        client = AsgiClient(build_app(worker), peer=peer)
        opened.append(client)
        return client

    yield open_one
    for client in opened:
        client.close()


@pytest.fixture
def client(open_client: ClientFactory) -> AsgiClient:
    """The application with default settings, seen from this machine."""
    return open_client()


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as a follower keeps it, with version 1 in it."""
    directory = tmp_path_factory.mktemp("followed")
    switch(directory, make_pair(directory, "a", version="1"))
    return directory


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the `server` of a module writes its log."""
    return tmp_path_factory.mktemp("log") / "server.log"


@pytest.fixture(scope="module")
def server(served_bundle: Bundle, log: Path) -> Iterator[ServerProcess]:
    """A real server of the bundle, one for the tests of a module; a module may define its own."""
    options = ServerOptions(bundle_dir=served_bundle.path, port=find_free_port(preferred=0))
    with start_server(options, log_path=log) as running:
        yield running
