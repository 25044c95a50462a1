"""A tracking server that goes away while a run is trained, and comes back: a real one, on loopback."""

import time
from pathlib import Path

import pytest

from synspect.server_process import find_free_port
from tests.support.mlflow_server import running_mlflow_server
from tests.training.tracking.test_tracking import _record
from training.run import RunDirectory
from training.tracking.buffering import FIRST_PAUSE_S
from training.tracking.mlflow import LiveTracker, replay
from training.tracking.reporting import JsonlTracker, TrackerGroup


@pytest.mark.slow
@pytest.mark.e2e
def test_no_metric_is_lost_while_the_server_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from mlflow import MlflowClient

    port = find_free_port(preferred=5055)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    run = RunDirectory.create(tmp_path / "run", _record("run"))
    with running_mlflow_server(tmp_path, port=port):
        live = LiveTracker(run, run.record())
        tracker = TrackerGroup([JsonlTracker(run), live])
        tracker.log({"margin": 1.0}, at=16)
    for at in (32, 48, 64):  # nobody answers: training goes on at once
        tracker.log({"margin": at / 16}, at=at)
    assert "training goes on" in caplog.text
    with running_mlflow_server(tmp_path, port=port) as address:
        time.sleep(FIRST_PAUSE_S)
        tracker.log({"margin": 5.0}, at=80)
        tracker.end("finished")
        run.set_status("finished")
        client = MlflowClient(tracking_uri=address)
        history = client.get_metric_history(live.run_id, "margin")
        assert [(metric.step, metric.value) for metric in history] == [(16 * n, float(n)) for n in range(1, 6)]
        assert client.get_run(live.run_id).info.status == "FINISHED"
        assert replay(run) == live.run_id
