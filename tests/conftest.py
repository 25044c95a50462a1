"""Fixtures that several folders share; each is built once a session."""

from pathlib import Path

import pytest

from registry.bundle.directory import Bundle
from tests.support.tiny_bundle import build_tiny_bundle


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A released bundle made by hand, without training; read-only: copy it before changing a file."""
    directory: Path = tmp_path_factory.mktemp("tiny-bundle")
    return build_tiny_bundle(directory / "bundle")
