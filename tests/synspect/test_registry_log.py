"""What registry commands and followers write is our own sentences: nothing of the libraries under them."""

import itertools
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from registry.store.facts import CHAMPION
from registry.store.model_store import ModelStore
from spect.errors import RegistryError
from tests.support.tiny_bundle import build_tiny_bundle, unbounded_graph

ROOT = Path(__file__).parents[2]
MAIN = "from synspect.cli import main; main()"


def _start(*words: object, uri: str) -> "subprocess.Popen[str]":
    """Start a command in a process of its own: libraries write past this one's streams."""
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "MLFLOW_TRACKING_URI": uri, "COLUMNS": "200"},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_follower_says_each_look_that_failed_in_one_line(tmp_path: Path) -> None:
    follower = _start("registry", "follow", "champion", tmp_path / "d", "--interval", "0.1", uri="http://127.0.0.1:9")
    assert follower.stderr is not None
    try:
        lines = list(itertools.islice(follower.stderr, 2))
    finally:
        follower.terminate()
        follower.communicate(timeout=30)

    assert follower.returncode == 0
    assert ["keeps what it has: MLflow at" in line for line in lines] == [True, True]


def test_a_database_that_fails_is_one_sentence_without_a_traceback(
    mlflow_uri: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = ModelStore(mlflow_uri)
    store.versions()
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        database.execute("DROP TABLE registered_models")

    with pytest.raises(RegistryError, match="no such table: registered_models; start it, or set MLFLOW_TRACKING_URI"):
        store.versions()

    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("command", ["follow", "promote"])
def test_a_generator_that_overflows_is_refused_in_one_line(mlflow_uri: str, tmp_path: Path, command: str) -> None:
    """The graph holds what ONNX Runtime warns of, and makes what numpy does."""
    store = ModelStore(mlflow_uri)
    version = store.register_bundle(build_tiny_bundle(tmp_path / "b", graph=unbounded_graph(output_gain=3e38)))
    store.set_alias(CHAMPION, version)
    rest = (CHAMPION, tmp_path / "d", "--once") if command == "follow" else (version,)

    ended = _start("registry", command, *rest, uri=mlflow_uri)
    _, error = ended.communicate(timeout=120)

    assert error.startswith("error: the generator made 1 of 1 slices not finite")
    assert error.count("\n") == 1
