"""`synspect serve`: check everything that can be checked, then run the server and, if asked, the follower beside it."""

import contextlib
import logging
import signal
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from registry.store import facts
from spect.errors import ConfigurationError, ServiceError
from synspect.options import refuse_given

if TYPE_CHECKING:
    from synspect.server_process import ServerOptions, ServerProcess
    from synspect.sidecar import Sidecar


_WATCH_SECONDS = 0.5


def serve(  # noqa: PLR0917 — one parameter an option
    context: typer.Context,
    bundle: Annotated[
        Path | None, typer.Option(help="A bundle, or a followed directory; the baked or reference bundle if absent.")
    ] = None,
    follow: Annotated[facts.Alias | None, typer.Option(help="Follow this alias of the registry.")] = None,
    name: Annotated[str, typer.Option(help="Registered model that --follow follows.")] = facts.DEFAULT_NAME,
    follow_metrics_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the follower's own /metrics; nowhere if absent.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 3000,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Worker processes, each with the model; 1 if absent.")
    ] = None,
    require_gpu: Annotated[bool, typer.Option("--require-gpu", help="Do not start without a GPU.")] = False,
) -> None:
    """Serve synthetic slices over HTTP until Ctrl-C.

    With --follow, DIR of --bundle (or a directory under SYNSPECT_HOME) is kept at the alias, and the server changes
    over to a new version without a failed request. The follower is a process beside the server, started again when it
    ends.

    Example: synspect serve --follow champion --workers 2
    """
    from serving.settings import load_settings
    from synspect.server_process import ServerOptions, check_port_free
    from synspect.sidecar import build_follower

    if follow is None:
        refuse_given(
            context,
            "name",
            "follow_metrics_port",
            reason="nothing is followed; give --follow ALIAS as well, or leave it out",
        )
    address = "127.0.0.1" if host == "localhost" else host
    settings = load_settings()
    facts.check_name(name)
    directory = bundle or (_followed_directory(name, follow) if follow is not None else settings.find_bundle_dir())
    check_port_free(address, port)
    if follow_metrics_port is not None:
        if follow_metrics_port == port:
            raise ConfigurationError(
                f"the server and its follower's metrics cannot share port {port}; name another one"
            )
        check_port_free("127.0.0.1", follow_metrics_port)
    if follow is not None:
        _check_follower_can_start(directory)
    _check_model(directory, is_followed=follow is not None, require_gpu=require_gpu or settings.require_gpu)
    options = ServerOptions(
        bundle_dir=directory,
        host=address,
        port=port,
        workers=workers or settings.workers,
        require_gpu=require_gpu or settings.require_gpu,
    )
    follower = None
    if follow is not None:
        follower = build_follower(follow, directory, name=name, metrics_port=follow_metrics_port)
    _run(options, follower)


def _followed_directory(name: str, alias: str) -> Path:
    from spect.home import home_directory

    return home_directory() / "followed" / name / alias


def _check_follower_can_start(directory: Path) -> None:
    from importlib.util import find_spec

    from registry.followed_directory import check_followable
    from registry.policy import load_policy
    from registry.store.connection import check_address
    from spect.home import tracking_uri

    if find_spec("mlflow") is None:
        raise ConfigurationError("--follow needs the registry's packages; pip install 'synspect[registry]'")
    check_followable(directory)
    check_address(tracking_uri())
    load_policy()


def _check_model(directory: Path, *, is_followed: bool, require_gpu: bool) -> None:
    """Open the bundle once, here, where what is wrong can be said in one line; a follower mends what it can."""
    from registry.bundle.generator import is_gpu_plausible
    from registry.bundle.served_model import open_model
    from serving.swap import identify
    from spect.errors import BundleError, DeviceError

    if is_followed and identify(directory) is None:
        if require_gpu and not is_gpu_plausible():
            raise DeviceError("a GPU was required and this machine shows none; drop --require-gpu or use another")
        return
    try:
        open_model(directory, require_gpu=require_gpu)
    except BundleError as error:
        if not is_followed:
            raise
        typer.echo(f"{error}; not ready until the follower has fetched it", err=True)


def _run(options: "ServerOptions", follower: "Sidecar | None") -> None:
    from synspect.lifeline import describe_end
    from synspect.server_process import ServerProcess

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("synspect").setLevel(logging.INFO)
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
    if not stopping.is_set:
        raise ServiceError(f"the server ended by itself ({describe_end(code or 0)}); its last lines above say why")


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
