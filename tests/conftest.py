"""Fixtures that several folders share; each is built once a session."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from registry.bundle.directory import Bundle
from tests.support.tiny_bundle import build_tiny_bundle

if TYPE_CHECKING:
    from training.run import RunDirectory


@pytest.fixture(scope="session", autouse=True)
def _patient_servers() -> Iterator[None]:
    """On a busy machine a test's own requests wait for each other longer than a service allows by itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYNSPECT_MAX_WAITING_SECONDS", "60")
        yield


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A released bundle made by hand, without training; read-only: copy it before changing a file."""
    directory: Path = tmp_path_factory.mktemp("tiny-bundle")
    return build_tiny_bundle(directory / "bundle")


@pytest.fixture(scope="session")
def _mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database; creating its tables takes seconds, copying it does not."""
    from registry.store.model_store import ModelStore

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    ModelStore(f"sqlite:///{path}").versions()
    return path


@pytest.fixture
def mlflow_uri(_mlflow_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A real MLflow on SQLite, empty, this test's alone; MLFLOW_TRACKING_URI points to it."""
    shutil.copyfile(_mlflow_database, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return uri


@pytest.fixture(scope="session")
def taught_run(tmp_path_factory: pytest.TempPathFactory) -> "RunDirectory":
    """A finished run whose generator draws toy patients; read-only."""
    from tests.support.taught_run import build_taught_run

    return build_taught_run(tmp_path_factory.mktemp("taught-run"))
