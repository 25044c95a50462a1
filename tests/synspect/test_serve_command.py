"""`synspect serve`: what runs beside the server."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from registry.bundle.directory import Bundle, load_bundle
from registry.promotion import promote
from registry.store.facts import Alias
from registry.store.model_store import ModelStore
from registry.version_gates import judge_version
from synspect.commands.serve import _followed_directory
from synspect.server_process import find_free_port
from synspect.sidecar import Sidecar, build_follower
from tests.support.command_line import run_synspect
from tests.support.tiny_bundle import build_tiny_bundle

ROOT = Path(__file__).parents[2]
REFERENCE = str(ROOT / "models" / "reference")
_PATIENCE_SECONDS = 240.0  # a busy machine is slow; what never happens is said in time for pytest


def test_the_follower_is_the_registry_command_for_that_model_and_alias(tmp_path) -> None:
    follower = build_follower(Alias.CANDIDATE, tmp_path / "served", name="mine", metrics_port=9000)

    arguments = list(follower.command[3:])
    assert arguments[:6] == ["registry", "follow", "candidate", str(tmp_path / "served"), "--name", "mine"]
    understood = run_synspect(*arguments, "--help")
    assert understood.exit_code == 0


def test_two_models_are_not_followed_into_one_directory(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SYNSPECT_HOME", str(tmp_path))

    assert _followed_directory("mine", Alias.CHAMPION) != _followed_directory("synspect", Alias.CHAMPION)


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


@contextlib.contextmanager
def _running(command: list[str], *, first_pause_seconds: float = 0.1) -> Iterator[Sidecar]:
    sidecar = Sidecar("the sleeper", command, first_pause_seconds=first_pause_seconds)
    sidecar.start()
    try:
        yield sidecar
    finally:
        sidecar.stop()


def test_a_sidecar_that_is_killed_runs_again_and_ends_when_asked(caplog) -> None:
    with _running(["sleep", "600"]) as sidecar:
        first = sidecar.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)

        def runs_again() -> bool:
            sidecar.restart_if_dead()
            return sidecar.pid not in {None, first}

        _wait_for(runs_again)
        assert "the sleeper ended (signal 9); it starts again in 0.1 s" in caplog.text
    assert sidecar.pid is None


def test_a_sidecar_that_ends_at_once_is_started_after_ever_longer_pauses(caplog) -> None:
    with _running(["false"]) as sidecar:

        def ended_three_times() -> bool:
            sidecar.restart_if_dead()
            return caplog.text.count("ended (exit code 1)") == 3

        _wait_for(ended_three_times)
    for pause in ("0.1", "0.2", "0.4"):
        assert f"starts again in {pause} s" in caplog.text


def test_a_sidecar_that_cannot_be_started_takes_nothing_else_down(caplog) -> None:
    with _running(["false"]) as sidecar:
        sidecar.command = ("/nowhere/to/be/found",)

        def gave_up_once() -> bool:
            sidecar.restart_if_dead()
            return "cannot be started (No such file or directory); again in 0.2 s" in caplog.text

        _wait_for(gave_up_once)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--follow", "champion", "--name", "../elsewhere"], "a model is named by"),
        (["--follow", "champion", "--port", "3973", "--follow-metrics-port", "3973"], "cannot share port 3973"),
        (
            ["--follow-metrics-port", "3973"],
            "--follow-metrics-port would be ignored: nothing is followed; give --follow",
        ),
        (
            ["--follow", "champion", "--port", "3973", "--bundle", REFERENCE],
            "models/reference is a bundle, which never",
        ),
        (["--name", "mine"], "--name would be ignored: nothing is followed; give --follow ALIAS as well"),
        (["--port", "3973", "--bundle", str(ROOT / "docs")], "docs/manifest.json is missing; a bundle is a directory"),
    ],
)
def test_what_could_never_be_served_or_followed_is_said_before_anything_starts(options: list[str], words: str) -> None:
    result = run_synspect("serve", *options)

    assert result.exit_code == 2
    assert words in result.sentence


def _promote(store: ModelStore, directory: Path, *, gain: float) -> str:
    bundle = build_tiny_bundle(directory, output_gain=gain)
    version = store.register_bundle(bundle)
    promote(store, version, report=judge_version(store, version), who="ada")
    return version


def _served_version(url: str) -> str:
    with contextlib.suppress(httpx.HTTPError):
        answer = httpx.get(f"{url}/v1/model", timeout=5, trust_env=False)
        if answer.status_code == httpx.codes.OK:
            return str(answer.json()["version"])
    return ""


def _find_follower(process: psutil.Process) -> psutil.Process | None:
    for child in process.children():
        with contextlib.suppress(psutil.Error):
            if "follow" in child.cmdline():
                return child
    return None


@contextlib.contextmanager
def _serving(directory: Path, port: int, *options: str) -> Iterator["subprocess.Popen[bytes]"]:
    """`synspect serve`, with its log and its temporary files in `directory`; ended at the end if it has not yet."""
    command = [sys.executable, "-c", "from synspect.cli import main; main()", "serve", "--port", str(port), *options]
    (directory / "tmp").mkdir(exist_ok=True)
    own = {"SYNSPECT_HOME": str(directory / "home"), "TMPDIR": str(directory / "tmp"), "PYTHONPATH": str(ROOT)}
    environment = os.environ | own
    with (directory / "log").open("wb") as log:
        serving = subprocess.Popen(command, cwd=directory, env=environment, stdout=log, stderr=log)
    try:
        yield serving
    finally:
        serving.terminate()
        serving.wait(timeout=120)
        sys.stdout.write((directory / "log").read_text(encoding="utf-8"))  # shown where a test fails


@pytest.mark.e2e
def test_a_server_that_dies_by_itself_ends_the_command_with_a_sentence(tiny_bundle: Bundle, tmp_path: Path) -> None:
    port = find_free_port(preferred=0)
    abandoned = tmp_path / "tmp" / "synspect-server-of-a-killed-one"
    abandoned.mkdir(parents=True)
    with _serving(tmp_path, port, "--bundle", str(tiny_bundle.path)) as serving:
        _wait_for(lambda: _served_version(f"http://127.0.0.1:{port}") == "unregistered")
        (server,) = psutil.Process(serving.pid).children()
        workers = server.children(recursive=True)
        server.kill()

        assert serving.wait(timeout=120) == 1
        assert workers
        assert not psutil.wait_procs(workers, timeout=60)[1]
    said = (tmp_path / "log").read_text()  # the worker may still have said that it stops
    errors = [line for line in said.splitlines() if line.startswith("error")]
    assert errors == ["error: the server ended by itself (signal 9); its last lines above say why"]
    assert "Traceback" not in said
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.slow
@pytest.mark.e2e
def test_the_follower_and_the_server_end_when_their_parent_is_killed(mlflow_uri: str, tmp_path: Path) -> None:
    _promote(ModelStore(mlflow_uri), tmp_path / "first", gain=1.0)
    port = find_free_port(preferred=0)
    with _serving(tmp_path, port, "--follow", "champion") as serving:
        _wait_for(lambda: _served_version(f"http://127.0.0.1:{port}") == "1")
        family = psutil.Process(serving.pid).children(recursive=True)
        assert any("follow" in process.cmdline() for process in family)
        assert len(family) >= 3  # the follower, the server, its worker

        serving.kill()

        _, alive = psutil.wait_procs(family, timeout=120)
        assert alive == []
    assert find_free_port(preferred=port) == port
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.e2e
def test_a_killed_follower_runs_again_while_the_server_answers(mlflow_uri: str, tmp_path: Path) -> None:
    store = ModelStore(mlflow_uri)
    _promote(store, tmp_path / "first", gain=1.0)
    port, metrics_port = find_free_port(preferred=0), find_free_port(preferred=0)
    url = f"http://127.0.0.1:{port}"
    following = ("--follow", "champion", "--follow-metrics-port", str(metrics_port))
    with _serving(tmp_path, port, *following) as serving:
        _wait_for(lambda: _served_version(url) == "1")
        parent = psutil.Process(serving.pid)
        first = _find_follower(parent)
        assert first is not None
        first.kill()
        second = _promote(store, tmp_path / "second", gain=0.9)
        assert _served_version(url) == "1"

        _wait_for(lambda: _served_version(url) == second)

        follower = _find_follower(parent)
        assert follower is not None
        assert follower.pid != first.pid
        told = httpx.get(f"http://127.0.0.1:{metrics_port}/metrics", timeout=5, trust_env=False).text
        assert f'synspect_follow_version_info{{alias="champion",promotion="gates",version="{second}"}} 1.0' in told
    code = serving.returncode
    assert code == 0
    assert not follower.is_running()
    said = (tmp_path / "log").read_text()
    assert "the follower ended (signal 9); it starts again in 1 s" in said
    assert "Traceback" not in said
    assert load_bundle(_home(tmp_path)).version == second


def _home(tmp_path: Path) -> Path:
    return tmp_path / "home" / "followed" / "synspect" / "champion"
