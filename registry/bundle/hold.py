"""Who uses a directory holds it: a shared lock on it, which ends with the process however that ends.

A server holds the pair it serves, and its own temporary home. Whoever clears away removes only what it gets the lock of
for itself alone: it never has to know who uses what.
"""

import fcntl
import logging
import os
import shutil
import weakref
from pathlib import Path

log = logging.getLogger(__name__)


class DirectoryHold:
    """A shared lock on a directory, for as long as this object lives."""

    def __init__(self, directory: Path) -> None:
        self.descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)  # a child that gets it holds as well
        self._close = weakref.finalize(self, os.close, self.descriptor)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_SH)
        except OSError as error:  # a network file system without locks
            log.warning("%s is used without a lock (%s): another process may remove it", directory, error.strerror)

    def release(self) -> None:
        """Let go before the object ends."""
        self._close()


def remove_unless_held(directory: Path) -> bool:
    """Remove a directory that nobody holds; return whether it is gone. A link is removed, never what it leads to."""
    if directory.is_symlink() or not directory.is_dir():
        directory.unlink(missing_ok=True)
        return True
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(directory)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
