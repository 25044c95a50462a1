"""The demo as a user runs it: a real registry, a real server, the bundle that comes with the source tree."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spect.conditions import CONDITIONS

pytestmark = pytest.mark.e2e

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
        timeout=240,
        check=False,
    )


@pytest.mark.timeout(500)
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
