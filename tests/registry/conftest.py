"""What the tests of the registry share."""

from pathlib import Path

import pytest

from registry.store.model_store import ModelStore


@pytest.fixture
def store(mlflow_uri: str) -> ModelStore:
    """The registry of this test alone."""
    return ModelStore(mlflow_uri)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where a follower keeps what it follows; not made yet."""
    return tmp_path / "followed"
