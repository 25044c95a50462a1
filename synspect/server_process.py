"""A server as a child process: started, waited for, stopped; used by `serve`, by `demo` and by tests."""

import contextlib
import errno
import importlib.util
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

import httpx

from spect.errors import ConfigurationError, ServiceError
from synspect.lifeline import describe_end, hold_lifeline
from synspect.server_home import ServerHome, clear_abandoned_homes

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 3000
_SERVICE = "serving.service:SynspectService"
_BENTOML = (
    "import runpy; from synspect.lifeline import end_with_parent; end_with_parent(); "
    "runpy.run_module('bentoml', run_name='__main__', alter_sys=True)"
)
_START_SECONDS = 600.0  # a machine whose cores are all taken has needed minutes
_TELL_SECONDS = 30.0
_DRAIN_SECONDS = 15  # for requests under way when the server is told to stop; a longer answer is broken off
_STOP_SECONDS = 20.0
_POLL_SECONDS = 0.1
Tell = Callable[[str], object]
# Below those that Linux lends to connections going out (from 32,768 on): one of them could be taken before the server
# listens, even by whoever asks there whether it is ready yet, and then talks to itself.
_FREE_PORTS = range(20_000, 32_000)
_TRIED_PORTS = 64
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


class StartingServer(Protocol):
    """What can be waited for: a `ServerProcess`; in tests, anything."""

    @property
    def url(self) -> str:
        """Where it will answer."""
        ...

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        ...

    def find_obstacle(self) -> str | None:
        """Return what a start still waits for, in words; None where a model is loaded."""
        ...


class ServerProcess:
    """A running BentoML server with a BENTOML_HOME of its own: two servers would wipe each other's metrics."""

    def __init__(self, options: ServerOptions, *, log: IO[bytes] | None = None) -> None:
        self.options = options
        clear_abandoned_homes()
        self._home = ServerHome()
        # A session of its own: Ctrl-C reaches this process alone, which then asks the server to drain.
        self._process = subprocess.Popen(
            _command(options),
            env=_environment(options, self._home.path),
            pass_fds=(self._home.descriptor,),
            stdin=hold_lifeline(),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    @property
    def url(self) -> str:
        """Address at which this machine reaches it."""
        return self.options.url

    @property
    def pid(self) -> int:
        """Process id of the server's parent process."""
        return self._process.pid

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        return self._process.poll()

    def is_ready(self) -> bool:
        """Whether a model is loaded."""
        return self.find_obstacle() is None

    def find_obstacle(self) -> str | None:
        """Return what a start still waits for, in words; None where a model is loaded."""
        try:
            answer = httpx.get(f"{self.url}/readyz", timeout=2, trust_env=False)
        except httpx.ConnectError:
            return "its packages are being loaded, and it does not listen yet"
        except httpx.HTTPError:
            return "it listens, and its worker does not answer yet"
        return None if answer.is_success else f"its worker has no model yet ({_find_detail(answer)})"

    def wait_until_ready(self, *, tell: Tell = lambda _words: None) -> None:
        """Wait for a loaded model, as `wait_for_start` does."""
        wait_for_start(self, tell=tell)

    def stop(self) -> None:
        """Let running requests end, then end the server and everything it started."""
        if self.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # its session; workers, in their own, end with it
        self._process.wait()
        self._home.remove()


def wait_for_start(
    server: StartingServer,
    *,
    tell: Tell = lambda _words: None,
    tell_seconds: float = _TELL_SECONDS,
    timeout_seconds: float = _START_SECONDS,
) -> None:
    """Wait for a loaded model; `tell` hears, every so many seconds, what it is that takes long.

    Raises
    ------
    ServiceError
        The server ended, or nothing suggests any more that it is only slow.
    """
    started = told = time.monotonic()
    while (obstacle := server.find_obstacle()) is not None:
        now = time.monotonic()
        if (code := server.poll()) is not None:
            raise ServiceError(f"the server ended ({describe_end(code)}) before it was ready; its log says why")
        if now - started > timeout_seconds:
            raise ServiceError(
                f"{server.url} was not ready within {timeout_seconds:g} s: {obstacle}; its log may say why, and a "
                "machine that is less busy is faster"
            )
        if now - told >= tell_seconds:
            tell(f"not ready after {now - started:.0f} s: {obstacle}")
            told = now
        time.sleep(_POLL_SECONDS)


def _find_detail(answer: httpx.Response) -> str:
    """Return what a problem+json says; the status where it is none."""
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status_code}"


@contextlib.contextmanager
def start_server(
    options: ServerOptions, *, log_path: Path | None = None, tell: Tell = lambda _words: None
) -> Iterator[ServerProcess]:
    """Start a server, wait until it is ready, and stop it at the end; `tell` hears what a slow start waits for."""
    check_port_free(options.host, options.port)
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(log_path.open("ab")) if log_path else None
        server = ServerProcess(options, log=log)
        stack.callback(server.stop)
        server.wait_until_ready(tell=tell)
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
    """Return the preferred port if it is free, else any free one; 0 prefers none."""
    tried = random.sample(_FREE_PORTS, _TRIED_PORTS)
    for port in [preferred, *tried] if preferred else tried:
        with contextlib.suppress(OSError), _bind(host, port):
            return port
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
        "TMPDIR": str(home),  # what BentoML leaves behind goes with it
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
