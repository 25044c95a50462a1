"""What a long benchmark keeps on disk: what it was asked, never mixed with another, and who is at which piece."""

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from spect.atomic import write_atomically
from spect.errors import ConfigurationError
from spect.faults import describe_fault

Kind = TypeVar("Kind", bound=BaseModel)


def open_kept(record: Path, wanted: BaseModel, directories: Sequence[Path]) -> None:
    """Begin with these directories and a record of what was asked, or go on with what is there.

    Raises
    ------
    ConfigurationError
        The place cannot be written, or something else was asked there.
    """
    try:
        for directory in directories:
            directory.mkdir(parents=True, exist_ok=True)
        if not record.exists():
            write_kept(record, wanted)
    except OSError as error:
        raise ConfigurationError(
            f"{record.parent} cannot be written: {error.strerror}; name another directory"
        ) from None
    check_same(record, wanted)


def check_same(record: Path, wanted: BaseModel) -> None:
    """Raise `ConfigurationError` where a study of another size or other cohorts lies here."""
    if not record.exists():
        return
    there, ours = read_kept(record, type(wanted)).model_dump(), wanted.model_dump()
    for name, value in ours.items():
        if there[name] != value:
            raise ConfigurationError(
                f"{record.parent} holds a study with {name} {there[name]}, asked for was {value}; "
                "ask for the same, or name another directory"
            )


def write_kept(path: Path, kept: BaseModel) -> None:
    """Write a record, whole or not at all."""
    write_atomically(path, kept.model_dump_json(indent=1).encode() + b"\n")


def read_kept(path: Path, kind: type[Kind]) -> Kind:
    """Read a record; raise `ConfigurationError` where it is not there or damaged."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}; name the directory of a study") from None
    except ValidationError as error:
        raise ConfigurationError(
            f"{path}: {describe_fault(error)}; remove it and run the study again: what it says is measured anew"
        ) from None


@contextmanager
def hold(lock: Path) -> Iterator[bool]:
    """Hold a piece of work for this process, which loses it however it ends; yields False where another holds it."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
