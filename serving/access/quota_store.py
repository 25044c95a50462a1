"""What each token has used of its limits: one SQLite file for all workers of a server.

Requests are counted by the generic cell rate algorithm (ITU-T I.371): of each token one number is kept, the time at
which its bucket is full again. Slices are counted by the day, in UTC.
"""

import sqlite3
from pathlib import Path

from serving.shared_database import SharedDatabase

DAY_SECONDS = 86_400
_MINUTE_SECONDS = 60.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS requests (token TEXT PRIMARY KEY, full_again_at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS slices (
    token TEXT PRIMARY KEY, day INTEGER NOT NULL, used INTEGER NOT NULL
) WITHOUT ROWID;
"""


class QuotaStore:
    """Uses of tokens; safe between threads and processes. Every method raises `StoreError` where the file fails."""

    def __init__(self, path: Path) -> None:
        self._database = SharedDatabase(
            path,
            schema=_SCHEMA,
            what="the store of quotas",
            consequence="tokens with limits are not served until it is repaired or removed",
        )

    def take_request(self, token: str, *, per_minute: int, now: float) -> float:
        """Take one request from a bucket that holds `per_minute` and is filled evenly; return 0, or seconds to wait.

        Nothing is taken where the answer is to wait.
        """
        interval = _MINUTE_SECONDS / per_minute
        with self._database.write() as connection:
            row = connection.execute("SELECT full_again_at FROM requests WHERE token = ?", (token,)).fetchone()
            # A clock set back may not lock a token out for longer than a bucket takes to fill.
            full_again_at = min(max(row[0], now), now + _MINUTE_SECONDS) if row else now
            wait = full_again_at + interval - (now + _MINUTE_SECONDS)
            if wait > 1e-9:  # of a second: rounding of the sum above
                return float(wait)
            connection.execute("INSERT OR REPLACE INTO requests VALUES (?, ?)", (token, full_again_at + interval))
        return 0.0

    def take_slices(self, token: str, slices: int, *, per_day: int, now: float) -> int:
        """Take slices of today's, all or none of them; return how many were left before."""
        day = int(now // DAY_SECONDS)
        with self._database.write() as connection:
            left = per_day - _used(connection, token, day)
            if slices <= left:
                connection.execute(
                    "INSERT OR REPLACE INTO slices VALUES (?, ?, ?)", (token, day, per_day - left + slices)
                )
        return max(left, 0)

    def give_back(self, token: str, slices: int, *, taken_at: float) -> None:
        """Give back slices that were not made; those of a day that has passed are forgotten anyway."""
        with self._database.write() as connection:
            connection.execute(
                "UPDATE slices SET used = max(used - ?, 0) WHERE token = ? AND day = ?",
                (slices, token, int(taken_at // DAY_SECONDS)),
            )

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()


def _used(connection: sqlite3.Connection, token: str, day: int) -> int:
    row = connection.execute("SELECT used FROM slices WHERE token = ? AND day = ?", (token, day)).fetchone()
    return int(row[0]) if row else 0
