"""A peer as a process: started on its cores, asked until it answers, weighed, and ended with all it started, by pid."""

import contextlib
import ctypes
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx
import psutil
from peers.dialects import DIALECTS, Dialect
from peers.environments import make_environment
from peers.roster import Peer
from side_by_side import HERE, pinned

from spect.errors import ServiceError
from synspect.lifeline import hold_lifeline
from synspect.server_process import ServerOptions, ServerProcess, find_free_port

START_SECONDS = 180.0  # many times what any of them takes on a quiet machine
_STOP_SECONDS = 20.0
_LEFT_SECONDS = 5.0
_PREPARE_SECONDS = 120.0
_POLL_SECONDS = 0.1
_ANSWER_SECONDS = 30.0
_PR_SET_CHILD_SUBREAPER = 36
_ONE_SLICE = {"level": "COR", "pattern": "normal", "count": 1, "seed": 1, "start": 0}


class Running:
    """A server that answers."""

    def __init__(self, peer: Peer, url: str, pid: int, seconds_to_ready: float) -> None:
        self.peer, self.url, self.pid = peer, url, pid
        self.seconds_to_ready = seconds_to_ready
        self.dialect = DIALECTS[peer.dialect]

    def fetch(self, order: Mapping[str, object]) -> bytes:
        """Return the npz of an order; raise `ServiceError` for any other answer."""
        try:
            answer = _post(self.url, self.dialect, order, seconds=_ANSWER_SECONDS)
        except httpx.HTTPError as error:
            raise ServiceError(f"an order was not answered: {error!r:.200}") from None
        if answer.status_code != httpx.codes.OK:
            raise ServiceError(f"an order was answered {answer.status_code}: {answer.text[:200]!r}")
        return self.dialect.unwrap(answer.headers, answer.content)

    def weigh(self) -> float:
        """Return the memory of the whole process tree, MiB: what is shared counts once (PSS)."""
        return sum(_proportional_bytes(process) for process in _tree(self.pid)) / 2**20


def adopt_orphans() -> None:
    """Let what a peer leaves behind become a child of this process, which then can end it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "this process cannot adopt what its children leave behind")


@contextlib.contextmanager
def start_ours(peer: Peer, *, bundle: Path, cores: set[int], log: Path) -> Iterator[Running]:
    """Start our service as `synspect serve` does."""
    options = ServerOptions(bundle_dir=bundle, port=find_free_port(preferred=0))
    with log.open("ab") as file:
        started = time.perf_counter()
        with pinned(cores):
            server = ServerProcess(options, log=file)
        try:
            seconds = _wait(server.url, DIALECTS[peer.dialect], server.poll, since=started, log=log)
            yield Running(peer, server.url, server.pid, seconds)
        finally:
            server.stop()


@contextlib.contextmanager
def start_peer(peer: Peer, *, bundle: Path, cores: set[int], log: Path, venv: Path) -> Iterator[Running]:
    """Start a peer in its own environment; raise `ServiceError` with one line where it does not come to answer."""
    port = find_free_port(preferred=0)
    command = [str(make_environment(peer.requirements, venv)), str(HERE / "peers" / "servers" / peer.script)]
    with tempfile.TemporaryDirectory(prefix="peer-", ignore_cleanup_errors=True) as scratch, log.open("ab") as file:
        environment = _environment(peer, bundle=bundle, scratch=scratch)
        if peer.prepares:
            _prepare([*command, "save"], environment)
        started = time.perf_counter()
        with pinned(cores):
            process = subprocess.Popen(
                [*command, str(port)],
                env=environment,
                stdin=hold_lifeline(),
                stdout=file,
                stderr=file,
                start_new_session=True,  # Ctrl-C reaches this process alone, which then ends the peer
            )
        try:
            url = f"http://127.0.0.1:{port}"
            seconds = _wait(url, DIALECTS[peer.dialect], process.poll, since=started, log=log)
            yield Running(peer, url, process.pid, seconds)
        finally:
            _end(process)


def _environment(peer: Peer, *, bundle: Path, scratch: str) -> dict[str, str]:
    own = {
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)]),
        "PYTHONWARNINGS": "ignore",
        "PEER_BUNDLE": str(bundle.absolute()),
        # What a framework keeps in its home or leaves behind in /tmp goes with the peer.
        **dict.fromkeys(("HOME", "TMPDIR", "PEER_SCRATCH"), scratch),
        "OMP_NUM_THREADS": "1",  # of libraries outside ONNX Runtime, as in the service
        "OPENBLAS_NUM_THREADS": "1",
    }
    return {**os.environ, **own, **peer.environment}


def _prepare(command: list[str], environment: Mapping[str, str]) -> None:
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_PREPARE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise ServiceError(f"its model was not saved within {_PREPARE_SECONDS:g} s") from None
    if done.returncode:
        raise ServiceError(f"its model cannot be saved: {_last_line(done.stderr)}")


def _wait(url: str, dialect: Dialect, poll: Callable[[], int | None], *, since: float, log: Path) -> float:
    """Ask for one slice until it comes: ready means this, for every peer alike."""
    while time.perf_counter() - since < START_SECONDS:
        if (code := poll()) is not None:
            raise ServiceError(f"ended with exit code {code} before it was ready: {_last_line(log.read_text())}")
        with contextlib.suppress(httpx.HTTPError):
            if _post(url, dialect, _ONE_SLICE, seconds=5).status_code == httpx.codes.OK:
                return time.perf_counter() - since
        time.sleep(_POLL_SECONDS)
    raise ServiceError(f"did not serve one slice within {START_SECONDS:g} s: {_last_line(log.read_text())}")


def _post(url: str, dialect: Dialect, order: Mapping[str, object], *, seconds: float) -> httpx.Response:
    return httpx.post(f"{url}{dialect.path}", json=dialect.wrap(order), timeout=seconds, trust_env=False)


def _tree(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _proportional_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.NoSuchProcess:  # ended meanwhile
        return 0


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask a peer to stop, then what is left of it and what it left to this process; then kill."""
    started = _tree(process.pid)
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
    left = list({*started, *psutil.Process().children(recursive=True)})
    for end in (psutil.Process.terminate, psutil.Process.kill):
        for one in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                end(one)
        _, left = psutil.wait_procs(left, timeout=_LEFT_SECONDS)
    process.wait()


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1][:200]
