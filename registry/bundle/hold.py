"""Who serves a pair holds it: a shared lock on its directory, which ends with the process however that ends.

A follower removes a pair only where it gets the lock for itself alone, so it never has to know its servers.
"""

import fcntl
import logging
import os
import shutil
import weakref
from pathlib import Path

log = logging.getLogger(__name__)


class PairHold:
    """A shared lock on a pair's directory, for as long as this object lives."""

    def __init__(self, pair: Path) -> None:
        descriptor = os.open(pair, os.O_RDONLY | os.O_DIRECTORY)
        self._close = weakref.finalize(self, os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        except OSError as error:  # a network file system without locks
            log.warning("%s is served without a lock (%s): its follower may remove it", pair, error.strerror)

    def release(self) -> None:
        """Let go before the object ends."""
        self._close()


def remove_unless_held(pair: Path) -> bool:
    """Remove a pair that nobody holds; return whether it is gone. A link is removed, never what it leads to."""
    if pair.is_symlink() or not pair.is_dir():
        pair.unlink(missing_ok=True)
        return True
    descriptor = os.open(pair, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(pair)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
