"""The temporary home of one server: held while it runs, and cleared away by a later server where nobody was left to."""

import logging
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from registry.bundle.hold import DirectoryHold, remove_unless_held

log = logging.getLogger(__name__)

_PREFIX = "synspect-server-"


class ServerHome:
    """A new directory of this server alone, under the machine's directory of temporary files.

    Attributes
    ----------
    path
        Where it is.
    descriptor
        What a child process must inherit to hold the directory as well: it may outlive its parent by some seconds.
    """

    def __init__(self) -> None:
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
            with suppress(FileNotFoundError):  # cleared away by a server that started before it was held
                self._hold = DirectoryHold(self.path)
                if self.path.is_dir():
                    break
        self.descriptor = self._hold.descriptor

    def remove(self) -> None:
        """Remove it, and let go."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._hold.release()


def clear_abandoned_homes() -> None:
    """Remove the homes of servers that were killed together with who started them; never one that is held."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            if remove_unless_held(path):
                log.info("%s is removed: its server was killed", path)
        except OSError:
            continue  # another user's, or another server has just cleared it away
