"""A server as a child process: started, waited for, stopped; used by `serve`, by `demo` and by tests."""

import contextlib
import errno
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import httpx

from spect.errors import ConfigurationError, ServiceError
from synspect.lifeline import hold_lifeline

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 3000
_SERVICE = "serving.service:SynspectService"
_BENTOML = (
    "import runpy; from synspect.lifeline import end_with_parent; end_with_parent(); "
    "runpy.run_module('bentoml', run_name='__main__', alter_sys=True)"
)
_START_SECONDS = 90.0
_DRAIN_SECONDS = 15  # for requests under way when the server is told to stop; a longer answer is broken off
_STOP_SECONDS = 20.0
_POLL_SECONDS = 0.1
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 — compared with, not bound to


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """What a server is started with."""

    bundle_dir: Path
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    workers: int = 1
    require_gpu: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Address at which this machine reaches the server."""
        host = _ANY_ADDRESS.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


class ServerProcess:
    """A running BentoML server with a BENTOML_HOME of its own: two servers would wipe each other's metrics."""

    def __init__(self, options: ServerOptions, *, log: IO[bytes] | None = None) -> None:
        self.options = options
        self.url = options.url
        self._home = Path(tempfile.mkdtemp(prefix="synspect-server-"))
        # A session of its own: Ctrl-C reaches this process alone, which then asks the server to drain.
        self._process = subprocess.Popen(
            _command(options),
            env=_environment(options, self._home),
            stdin=hold_lifeline(),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Process id of the server's parent process."""
        return self._process.pid

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        return self._process.poll()

    def is_ready(self) -> bool:
        """Whether a model is loaded."""
        try:
            return httpx.get(f"{self.url}/readyz", timeout=2, trust_env=False).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def wait_until_ready(self, timeout_seconds: float = _START_SECONDS) -> None:
        """Wait for a loaded model; raise `ServiceError` where the server ends or takes too long."""
        deadline = time.monotonic() + timeout_seconds
        while not self.is_ready():
            if (code := self.poll()) is not None:
                raise ServiceError(f"the server ended with exit code {code} before it was ready; its log says why")
            if time.monotonic() > deadline:
                raise ServiceError(f"{self.url} was not ready within {timeout_seconds:g} s; its log says why")
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """Let running requests end, then end the server and everything it started."""
        if self.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # its own session: only what it started
        self._process.wait()
        shutil.rmtree(self._home, ignore_errors=True)


@contextlib.contextmanager
def start_server(options: ServerOptions, *, log_path: Path | None = None) -> Iterator[ServerProcess]:
    """Start a server, wait until it is ready, and stop it at the end."""
    check_port_free(options.host, options.port)
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(log_path.open("ab")) if log_path else None
        server = ServerProcess(options, log=log)
        stack.callback(server.stop)
        server.wait_until_ready()
        yield server


def check_port_free(host: str, port: int) -> None:
    """Raise `ConfigurationError` where nothing could listen."""
    try:
        with _bind(host, port):
            pass
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigurationError(f"port {port} of {host} is in use; choose another with --port") from None
        raise ConfigurationError(f"cannot listen on {host} port {port} ({error.strerror}); choose others") from None
    except OverflowError:
        raise ConfigurationError(f"port must be from 1 to 65535, got {port}") from None


def find_free_port(host: str = DEFAULT_HOST, preferred: int = DEFAULT_PORT) -> int:
    """Return the preferred port if it is free, else any free one."""
    for port in (preferred, 0):
        with contextlib.suppress(OSError), _bind(host, port) as listener:
            free: int = listener.getsockname()[1]
            return free
    raise ConfigurationError(f"no port of {host} is free; stop another server first")


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # As the server itself does: a port in TIME_WAIT is free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1)
    except (OSError, OverflowError):
        listener.close()
        raise
    return listener


def _command(options: ServerOptions) -> list[str]:
    found = importlib.util.find_spec("serving")
    if found is None or importlib.util.find_spec("bentoml") is None:
        raise ConfigurationError("the service is not installed; pip install 'synspect[serve]'")
    root = Path(next(iter(found.submodule_search_locations or ()))).parent
    address = ["--host", options.host, "--port", str(options.port)]
    drain = ["--timeout-graceful-shutdown", str(_DRAIN_SECONDS)]
    return [sys.executable, "-c", _BENTOML, "serve", _SERVICE, "--working-dir", str(root), *address, *drain]


def _environment(options: ServerOptions, home: Path) -> dict[str, str]:
    own = {
        "BENTOML_HOME": str(home),
        "BENTOML_DO_NOT_TRACK": "true",
        "SYNSPECT_BUNDLE_DIR": str(options.bundle_dir.absolute()),
        "SYNSPECT_WORKERS": str(options.workers),
        "SYNSPECT_REQUIRE_GPU": str(options.require_gpu).lower(),
        "SYNSPECT_STATE_DIR": os.environ.get("SYNSPECT_STATE_DIR") or str(home / "state"),
        # Threads of numerical libraries outside ONNX Runtime: a measurement is small, more would only compete.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    return {**os.environ, **own, **options.environment}
