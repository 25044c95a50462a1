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

Publish = Callable[[Path, Path], None]


@contextmanager
def staged(directory: Path, publish: Publish) -> Iterator[Path]:
    """Lend a hidden sibling of `directory`, which `publish(sibling, directory)` puts in place when the block succeeds.

    The sibling vanishes when the block fails. One that a killed process left is removed by the next call.

    Raises
    ------
    OSError
        The disk is full, or the place may not be written; nothing is left.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(directory)
    staging = Path(tempfile.mkdtemp(prefix=_prefix(directory), dir=directory.parent))
    lock = _lock(staging)
    try:
        yield staging
        staging.chmod(0o755)
        publish(staging, directory)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        # Told with the directory: the error of a write names no file.
        raise OSError(error.errno, "The disk is full", str(directory)) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if lock is not None:
            os.close(lock)


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
