"""A directory written whole or not at all: in a hidden sibling that takes its place at the end."""

import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from spect.errors import CohortError

Publish = Callable[[Path, Path], None]

_FULL = (errno.ENOSPC, errno.EDQUOT)
# Of 255, with room for what the hidden sibling's name adds.
_LONGEST_NAME = 255 - len("..writing-01234567")


@contextmanager
def staged(directory: Path, publish: Publish) -> Iterator[Path]:
    """Lend a hidden sibling of `directory`, which `publish(sibling, directory)` puts in place when the block succeeds.

    The sibling vanishes when the block fails. One that a killed process left is removed by the next call.

    Raises
    ------
    CohortError
        The place may not be written; nothing is left.
    OSError
        The disk is full; nothing is left.
    """
    check_place(directory)
    staging = _make_staging(directory)
    lock = _lock(staging)
    try:
        yield staging
        staging.chmod(0o755)
        publish(staging, directory)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        # Told with the directory: the error of a write names no file.
        raise OSError(error.errno, "The disk is full", str(directory)) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def check_place(directory: Path) -> None:
    """Raise `CohortError` where no directory of this name can be written: over or below a file, or too long."""
    if len(os.fsencode(directory.name)) > _LONGEST_NAME:
        raise CohortError(f"{directory} has a name too long for a cohort; take at most {_LONGEST_NAME} bytes")
    try:
        if directory.is_dir():
            return
        if directory.exists():
            raise CohortError(f"{directory} is a file; name a directory for the cohort")
        existing = next(parent for parent in directory.absolute().parents if parent.exists())
    except OSError as error:
        raise CohortError(f"{directory} cannot be written ({error.strerror}); name another place") from error
    if not existing.is_dir():
        raise CohortError(f"{directory} lies below {existing}, which is a file; name another place for the cohort")


def _make_staging(directory: Path) -> Path:
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(directory)
        return Path(tempfile.mkdtemp(prefix=_prefix(directory), dir=directory.parent))
    except OSError as error:
        if error.errno in _FULL:
            raise OSError(error.errno, "The disk is full", str(directory)) from error
        # Told with the directory: the hidden sibling is nobody's concern.
        raise CohortError(f"{directory} cannot be written ({error.strerror}); name another place") from error


def _prefix(directory: Path) -> str:
    return f".{directory.name}.writing-"


def _lock(staging: Path) -> int | None:
    """Hold a directory as long as this process lives; None where another process holds it.

    The kernel lets go of it however the process ends.
    """
    descriptor = os.open(staging, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _remove_abandoned(directory: Path) -> None:
    name = re.compile(re.escape(_prefix(directory)) + "[a-z0-9_]{8}")  # as tempfile ends its names
    for path in directory.parent.iterdir():
        if not name.fullmatch(path.name) or not path.is_dir():
            continue
        lock = _lock(path)
        if lock is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)
