"""A tracking server that goes away while a run is trained, and comes back: a real one, on loopback."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.training.test_tracking import _record
from training.buffering import FIRST_PAUSE_S
from training.reporting import JsonlTracker, TrackerGroup
from training.run import RunDirectory
from training.tracking import LiveTracker, replay

pytestmark = [pytest.mark.slow, pytest.mark.e2e]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def _server(directory: Path, port: int) -> Iterator[None]:
    places = ["--backend-store-uri", f"sqlite:///{directory / 'mlflow.db'}", "--artifacts-destination", str(directory)]
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            *places,
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--workers",
            "1",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait_until_it_answers(f"http://127.0.0.1:{port}/health")
        yield
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def _wait_until_it_answers(url: str) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.5)
    pytest.fail(f"{url} does not answer")


def test_no_metric_is_lost_while_the_server_is_away(
    mlflow_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from mlflow import MlflowClient

    port = _free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    run = RunDirectory.create(tmp_path / "run", _record("run"))
    with _server(tmp_path, port):
        live = LiveTracker(run, run.record())
        tracker = TrackerGroup([JsonlTracker(run), live])
        tracker.log({"margin": 1.0}, at=16)
    for at in (32, 48, 64):  # nobody answers: training goes on at once
        tracker.log({"margin": at / 16}, at=at)
    assert "training goes on" in caplog.text
    with _server(tmp_path, port):
        time.sleep(FIRST_PAUSE_S)
        tracker.log({"margin": 5.0}, at=80)
        tracker.end("finished")
        run.set_status("finished")
        client = MlflowClient(tracking_uri=f"http://127.0.0.1:{port}")
        history = client.get_metric_history(live.run_id, "margin")
        assert [(metric.step, metric.value) for metric in history] == [(16 * n, float(n)) for n in range(1, 6)]
        assert client.get_run(live.run_id).info.status == "FINISHED"
        assert replay(run) == live.run_id
