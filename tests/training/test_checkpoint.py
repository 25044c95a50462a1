"""A checkpoint is whole or absent, and reading one runs no code."""

import pickle
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from spect.errors import RunError, TrainingError
from training.checkpoint import load_checkpoint, save_checkpoint


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last.pt", {"weights": torch.arange(3), "images_seen": 7})
    contents = load_checkpoint(tmp_path / "last.pt")
    assert torch.equal(contents["weights"], torch.arange(3))
    assert contents["images_seen"] == 7


@contextmanager
def _disk_with_room_for(size: int) -> Iterator[None]:
    """Let no file grow beyond a size: the system refuses the write half-way, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_write_that_fails_half_way_leaves_the_old_checkpoint_and_no_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"images_seen": 1})
    with (
        _disk_with_room_for(100_000),
        pytest.raises(TrainingError, match=r"last\.pt could not be written: .* is kept: free some space and resume"),
    ):
        save_checkpoint(path, {"images_seen": 2, "weights": torch.zeros(100_000)})
    assert load_checkpoint(path)["images_seen"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"best\.pt is missing"):
        load_checkpoint(tmp_path / "best.pt")


def test_a_truncated_checkpoint_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"weights": torch.zeros(1000)})
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(RunError, match="cannot be read"):
        load_checkpoint(path)


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (pytest.fail, ("the checkpoint ran code",))


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"format": 1, "averaged": _Bomb()}, tmp_path / "last.pt")
    with pytest.raises(RunError, match="cannot be read"):
        load_checkpoint(tmp_path / "last.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(_Bomb(), protocol=2))
    with pytest.raises(RunError, match="cannot be read"):
        load_checkpoint(tmp_path / "plain.pt")


def test_a_checkpoint_of_another_format_is_refused(tmp_path: Path) -> None:
    torch.save({"format": 99}, tmp_path / "last.pt")
    with pytest.raises(RunError, match="format 99"):
        load_checkpoint(tmp_path / "last.pt")
