"""`synspect serve`: check everything that can be checked, then run the server and, if asked, the follower beside it."""

import contextlib
import signal
import subprocess
import sys
import time
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from synspect.server_process import ServerOptions, ServerProcess


class Alias(StrEnum):
    """What can be followed."""

    CHAMPION = "champion"
    CANDIDATE = "candidate"


_WATCH_SECONDS = 0.5
_RESTART_SECONDS = 5.0


def serve(
    bundle: Annotated[
        Path | None, typer.Option(help="A bundle, or a followed directory; the baked or reference bundle if absent.")
    ] = None,
    follow: Annotated[Alias | None, typer.Option(help="Follow this alias of the registry.")] = None,
    name: Annotated[str, typer.Option(help="Registered model that --follow follows.")] = "synspect",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 3000,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Worker processes, each with the model; 1 if absent.")
    ] = None,
    require_gpu: Annotated[bool, typer.Option("--require-gpu", help="Do not start without a GPU.")] = False,
) -> None:
    """Serve synthetic slices over HTTP until Ctrl-C.

    With --follow, DIR of --bundle (or a directory under SYNSPECT_HOME) is kept at the alias, and the server changes
    over to a new version without a failed request.

    Example: synspect serve --follow champion --workers 2
    """
    from serving.settings import load_settings
    from synspect.server_process import ServerOptions, check_port_free

    address = "127.0.0.1" if host == "localhost" else host
    settings = load_settings()
    directory = bundle or (_followed_directory(name, follow) if follow is not None else settings.find_bundle_dir())
    check_port_free(address, port)
    if follow is not None:
        _check_registry_installed()
    _check_model(directory, may_be_empty=follow is not None, require_gpu=require_gpu or settings.require_gpu)
    options = ServerOptions(
        bundle_dir=directory,
        host=address,
        port=port,
        workers=workers or settings.workers,
        require_gpu=require_gpu or settings.require_gpu,
    )
    follower = _Follower(follow, directory, name=name) if follow is not None else None
    raise typer.Exit(_run(options, follower))


def _followed_directory(name: str, alias: str) -> Path:
    from spect.home import home_directory

    return home_directory() / "followed" / name / alias


def _check_registry_installed() -> None:
    from importlib.util import find_spec

    from spect.errors import ConfigurationError

    if find_spec("mlflow") is None:
        raise ConfigurationError("--follow needs the registry's packages; pip install 'synspect[registry]'")


def _check_model(directory: Path, *, may_be_empty: bool, require_gpu: bool) -> None:
    """Open the bundle once, here, where what is wrong can be said in one line."""
    from registry.bundle.generator import is_gpu_plausible
    from serving.swap import identify, open_model
    from spect.errors import DeviceError

    if may_be_empty and identify(directory) is None:
        if require_gpu and not is_gpu_plausible():
            raise DeviceError("a GPU was required and this machine shows none; drop --require-gpu or use another")
        return
    open_model(directory, require_gpu=require_gpu)


def _run(options: "ServerOptions", follower: "_Follower | None") -> int:
    from synspect.server_process import ServerProcess

    stopping = _StopRequest()
    with contextlib.ExitStack() as stack:
        if follower is not None:
            follower.start()
            stack.callback(follower.stop)
        server = ServerProcess(options)
        stack.callback(server.stop)
        is_announced = False
        while not stopping.is_set and server.poll() is None:
            time.sleep(_WATCH_SECONDS)
            is_announced = is_announced or _announce_if_ready(server)
            if follower is not None:
                follower.restart_if_dead()
        code = server.poll()
    return 0 if stopping.is_set else code or 1


def _announce_if_ready(server: "ServerProcess") -> bool:
    if not server.is_ready():
        return False
    typer.echo(f"serving on {server.url} (page /, API /docs); Ctrl-C stops")
    return True


class _StopRequest:
    """Whether somebody asked this process to stop."""

    def __init__(self) -> None:
        self.is_set = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.is_set = True


class _Follower:
    """`synspect registry follow` as a sidecar: the server goes on when it ends, and it is started again."""

    def __init__(self, alias: str, directory: Path, *, name: str) -> None:
        main = "from synspect.cli import main; main()"
        followed = ["registry", "follow", alias, str(directory.absolute()), "--name", name]
        self.command = [sys.executable, "-c", main, *followed]
        self._process: subprocess.Popen[bytes] | None = None
        self._restart_at = 0.0

    def start(self) -> None:
        self._process = subprocess.Popen(self.command, start_new_session=True)

    def restart_if_dead(self) -> None:
        if self._process is None or self._process.poll() is None:
            return
        now = time.monotonic()
        if not self._restart_at:
            self._restart_at = now + _RESTART_SECONDS
            typer.echo(f"the follower ended; it starts again in {_RESTART_SECONDS:g} s", err=True)
        elif now >= self._restart_at:
            self._restart_at = 0.0
            self.start()

    def stop(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
