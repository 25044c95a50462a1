"""A small SQLite file that the workers of one server share: WAL, short transactions, opened again after a failure."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spect.errors import StoreError

# How long a worker waits for another's transaction: milliseconds, unless the machine gives that worker no time.
_BUSY_SECONDS = 5.0
_PAUSE_SECONDS = 0.01
# IMMEDIATE takes the write lock first: what a transaction reads, no other changes before it ends.
_WRITE = "BEGIN IMMEDIATE"
_READ = "BEGIN"


class SharedDatabase:
    """A file with one schema; safe between threads and processes.

    Every transaction raises `StoreError` where the file is broken, locked for long or cannot be written. The next one
    tries again from the start, so that a repaired or removed file is taken up without a restart.

    Parameters
    ----------
    what, consequence
        What it is, and what follows while it cannot be used: words of the error.
    """

    def __init__(self, path: Path, *, schema: str, what: str, consequence: str) -> None:
        self.path = path
        self._schema, self._what, self._consequence = schema, what, consequence
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Open a transaction that sees one state."""
        with self._transaction(_READ) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Open a transaction that no other can interrupt; it commits, or rolls back where an exception passes."""
        with self._transaction(_WRITE) as connection:
            yield connection

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._disconnect()

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                connection = self._connection or self._connect()
                with connection:  # commits, or rolls back when an exception passes
                    connection.execute(begin)
                    yield connection
            except (sqlite3.Error, OSError) as error:
                self._disconnect()
                raise StoreError(f"{self._what} {self.path} cannot be used: {error}; {self._consequence}") from error

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Statements outside BEGIN commit by themselves; the lock above keeps threads apart.
        connection = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            _write_ahead(connection)
            connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may lose the last writes, never the file
            connection.executescript(self._schema)
        except sqlite3.Error:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Turn the file to WAL. Where another connection does the same SQLite refuses at once, whatever its timeout is."""
    ends_at = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > ends_at:
                raise
        else:
            return
        time.sleep(_PAUSE_SECONDS)
