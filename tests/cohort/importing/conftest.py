"""What the tests of importing share: a home of their own, and the key that makes pseudonyms."""

from pathlib import Path

import pytest

from cohort.importing.deidentify import Pseudonyms, load_pseudonyms


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the key lies; nothing is there yet."""
    monkeypatch.setenv("SYNSPECT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def pseudonyms(home: Path) -> Pseudonyms:
    """Pseudonyms by a key of this test alone."""
    return load_pseudonyms(home)
