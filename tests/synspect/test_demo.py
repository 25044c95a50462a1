"""The demo as a user runs it: a real registry, a real server, the bundle that comes with the source tree."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from spect.conditions import CONDITIONS
from spect.errors import ServiceError
from spect.slices import SyntheticBatch
from synspect.demo import ConditionResult, _stay, _tabulate

_MAIN = "from synspect.cli import main; main()"


def _run_demo(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SYNSPECT_HOME": str(directory / "home"), "COLUMNS": "200"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    return subprocess.run(
        [sys.executable, "-c", _MAIN, "demo", "--once", "--count", "32", *arguments],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


class _Server:
    """A server that has ended, or not yet."""

    url = "http://127.0.0.1:3000"

    def __init__(self, code: int | None) -> None:
        self._code = code

    def poll(self) -> int | None:
        return self._code


def test_a_service_that_ends_by_itself_is_an_error_that_names_its_log(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"by itself \(signal 9\); .*server\.log says why"):
        _stay(_Server(-9), threading.Event(), tmp_path / "server.log", Console(file=io.StringIO()))


def test_a_demo_that_was_stopped_ends_in_peace(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    _stay(_Server(None), stop, tmp_path / "server.log", Console(file=io.StringIO()))


def test_a_condition_without_a_described_reference_has_its_row() -> None:
    condition = CONDITIONS[0]
    batch = SyntheticBatch(
        counts=np.ones((3, 4, 4), np.float32),
        level=np.full(3, str(condition.level)),
        pattern=np.full(3, str(condition.pattern)),
        seed=np.zeros(3, np.int64),
        index=np.arange(3),
        pixel_spacing_mm=4.0,
        model_version="1",
        model_sha256="ab" * 32,
    )
    measured = ConditionResult(batch=batch, mean_counts=np.full(3, 50.0), log_left_right_ratio=np.zeros(3))
    entry = {"level": str(condition.level), "pattern": str(condition.pattern), "window": None}
    drift = {"reference_source": "acquired", "conditions": [{**entry, "reference": {"slices": 3, "features": {}}}]}
    console = Console(file=io.StringIO(), width=200)

    console.print(_tabulate({condition: measured}, drift))

    assert console.file.getvalue().count("not described") == 2


@pytest.mark.e2e
def test_ctrl_c_before_the_service_is_up_says_that_the_demo_was_stopped(tmp_path: Path) -> None:
    environment = {**os.environ, "SYNSPECT_HOME": str(tmp_path / "home"), "COLUMNS": "200"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    # A suite that runs in the background of a shell hands on an ignored SIGINT: Ctrl-C needs it back.
    heeding = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler); {_MAIN}"
    with subprocess.Popen(
        [sys.executable, "-c", heeding, "demo", "--once"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        assert "Preparing" in demo.stdout.readline()
        demo.send_signal(signal.SIGINT)
        said = demo.stdout.read()
    assert demo.returncode == 130
    assert "stopped before it was complete" in said


@pytest.mark.e2e
@pytest.mark.timeout(900)
def test_the_demo_shows_every_condition_twice_over_and_on_a_taken_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        first = _run_demo(tmp_path, "--port", str(port))
    assert first.returncode == 0, first.stderr
    assert "Starting the service on http://127.0.0.1:" in first.stdout
    assert f":{port}" not in first.stdout

    with np.load(tmp_path / "demo" / "batch.npz", allow_pickle=False) as batch:
        arrays = {name: batch[name] for name in batch.files}
    pairs = set(zip(arrays["level"].tolist(), arrays["pattern"].tolist(), strict=True))
    assert pairs == {(str(condition.level), str(condition.pattern)) for condition in CONDITIONS}
    assert len(arrays["counts"]) == 32 * len(CONDITIONS)
    with Image.open(tmp_path / "demo" / "contact-sheet.png") as sheet:
        assert "SYNTHETIC" in sheet.text["Description"]
    for condition in CONDITIONS:
        assert str(condition) in first.stdout
    assert "not enough data" not in first.stdout
    promotion = json.loads((tmp_path / "home" / "demo-served" / "current" / "promotion.json").read_bytes())
    assert promotion["promotion"] in {"gates", "override"}
    assert promotion["reason"] in first.stdout

    second = _run_demo(tmp_path)
    assert second.returncode == 0, second.stderr
    with np.load(tmp_path / "demo" / "batch.npz", allow_pickle=False) as batch:
        np.testing.assert_array_equal(batch["counts"], arrays["counts"])
