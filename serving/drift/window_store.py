"""Where the workers of one server gather their drift windows: one SQLite file in WAL mode.

A window is filled by all workers together. The worker that puts in its last slice judges it inside the same
transaction, so that no other can judge it again or add to it. Nothing here is needed to answer a request.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from serving.shared_database import SharedDatabase
from spect.conditions import Condition

Features = Mapping[str, NDArray[np.float64]]
Parsed = TypeVar("Parsed")
Judge = Callable[[Features], list[dict[str, Any]]]

_MODELS_KEPT = 2  # the one that answers and the one whose last requests are ending
_SCHEMA = """
CREATE TABLE IF NOT EXISTS models (model TEXT PRIMARY KEY, first_seen REAL NOT NULL);
CREATE TABLE IF NOT EXISTS slices (
    model TEXT NOT NULL, condition TEXT NOT NULL, seed INTEGER NOT NULL, position INTEGER NOT NULL,
    window INTEGER NOT NULL, features TEXT NOT NULL,
    PRIMARY KEY (model, condition, seed, position)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS windows (
    model TEXT NOT NULL, condition TEXT NOT NULL, number INTEGER NOT NULL, completed_at REAL NOT NULL,
    slices INTEGER NOT NULL, statistics TEXT NOT NULL, judgements TEXT NOT NULL,
    PRIMARY KEY (model, condition)
);
CREATE TABLE IF NOT EXISTS tallies (
    model TEXT NOT NULL, condition TEXT NOT NULL, outcome TEXT NOT NULL, slices INTEGER NOT NULL,
    PRIMARY KEY (model, condition, outcome)
);
"""


class SliceOutcome(StrEnum):
    """What became of a slice that was offered; each is counted."""

    OFFERED = "offered"  # every slice served as the model draws it
    MEASURED = "measured"
    DROPPED = "dropped"  # chosen, and the queue was full
    UNMEASURABLE = "unmeasurable"  # chosen, and no brain outline was found in it
    LOST = "lost"  # chosen, and not kept: the store could not take it, or an unexpected error


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredSlice:
    """What was measured of one served slice; seed and index say which one it is."""

    seed: int
    index: int
    features: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteWindow:
    """The last window of a condition that was filled and judged."""

    number: int  # counts from 1
    completed_at: float  # Unix time
    slices: int
    statistics: dict[str, dict[str, float]]  # feature -> mean, sd
    judgements: list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionState:
    """How a condition's windows stand."""

    gathered: int = 0  # slices toward the next window
    window: CompleteWindow | None = None
    tallies: dict[str, int] = field(default_factory=dict)  # outcome -> slices


class WindowStore:
    """The windows of one server; safe between threads and processes.

    Every method raises `StoreError` where the file is broken, locked for long or cannot be written. The next call
    tries again from the start, so that a repaired or removed file is taken up without a restart.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database = SharedDatabase(
            path,
            schema=_SCHEMA,
            what="the store of drift windows",
            consequence="windows are not gathered until it is repaired or removed",
        )

    def add(
        self, model: str, condition: Condition, measured: Sequence[MeasuredSlice], *, window_slices: int, judge: Judge
    ) -> list[CompleteWindow]:
        """Add slices to the condition's window and return the windows that this filled, judged.

        A slice that lies in the window being filled, or in the last complete one, is not added again.
        """
        complete = []
        with self._database.write() as connection:
            _remember_model(connection, model)
            for entry in measured:
                if _insert(connection, model, condition, entry):
                    window = _complete_if_full(connection, model, condition, window_slices, judge)
                    complete += [window] if window else []
        return complete

    def tally(self, model: str, counts: Mapping[tuple[Condition, SliceOutcome], int]) -> None:
        """Add to how many slices met which outcome."""
        with self._database.write() as connection:
            connection.executemany(
                "INSERT INTO tallies VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET slices = slices + excluded.slices",
                [(model, str(condition), str(outcome), slices) for (condition, outcome), slices in counts.items()],
            )

    def read(self, model: str) -> dict[str, ConditionState]:
        """Return how every condition of a model stands; one that nothing is known of is missing."""
        with self._database.read() as connection:
            windows = _read_windows(connection, model)
            gathered = _read_gathered(connection, model)
            tallies = _read_tallies(connection, model)
        return {
            name: ConditionState(
                gathered=gathered.get(name, 0), window=windows.get(name), tallies=tallies.get(name, {})
            )
            for name in {*windows, *gathered, *tallies}
        }

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()


def _remember_model(connection: sqlite3.Connection, model: str) -> None:
    """Note when a model was first seen; forget those before the last two."""
    if connection.execute("INSERT OR IGNORE INTO models VALUES (?, ?)", (model, time.time())).rowcount == 0:
        return
    past = connection.execute(
        "SELECT model FROM models ORDER BY first_seen DESC LIMIT -1 OFFSET ?", (_MODELS_KEPT,)
    ).fetchall()
    for statement in (
        "DELETE FROM models WHERE model = ?",
        "DELETE FROM slices WHERE model = ?",
        "DELETE FROM windows WHERE model = ?",
        "DELETE FROM tallies WHERE model = ?",
    ):
        connection.executemany(statement, past)


def _last_number(connection: sqlite3.Connection, model: str, condition: Condition) -> int:
    row = connection.execute(
        "SELECT number FROM windows WHERE model = ? AND condition = ?", (model, str(condition))
    ).fetchone()
    return int(row[0]) if row else 0


def _insert(connection: sqlite3.Connection, model: str, condition: Condition, entry: MeasuredSlice) -> bool:
    """Put a slice into the window being filled; False where it is there already, or was in the last one."""
    number = _last_number(connection, model, condition) + 1
    inserted = connection.execute(
        "INSERT OR IGNORE INTO slices VALUES (?, ?, ?, ?, ?, ?)",
        (model, str(condition), entry.seed, entry.index, number, json.dumps(dict(entry.features))),
    )
    return inserted.rowcount > 0


def _complete_if_full(
    connection: sqlite3.Connection, model: str, condition: Condition, window_slices: int, judge: Judge
) -> CompleteWindow | None:
    number = _last_number(connection, model, condition) + 1
    place = (model, str(condition), number)
    counted = connection.execute(
        "SELECT count(*) FROM slices WHERE model = ? AND condition = ? AND window = ?", place
    ).fetchone()
    if counted[0] < window_slices:
        return None
    rows = connection.execute("SELECT features FROM slices WHERE model = ? AND condition = ? AND window = ?", place)
    entries = [_parse(row[0], dict) for row in rows]
    try:
        features = {name: np.array([float(entry[name]) for entry in entries]) for name in entries[0]}
    except (KeyError, TypeError, ValueError):
        raise _changed() from None
    window = CompleteWindow(
        number=number,
        completed_at=time.time(),
        slices=len(entries),
        statistics={
            name: {"mean": float(values.mean()), "sd": float(values.std(ddof=1))} for name, values in features.items()
        },
        judgements=judge(features),
    )
    judged = (window.completed_at, window.slices, json.dumps(window.statistics), json.dumps(window.judgements))
    connection.execute("INSERT OR REPLACE INTO windows VALUES (?, ?, ?, ?, ?, ?, ?)", (*place, *judged))
    connection.execute("DELETE FROM slices WHERE model = ? AND condition = ? AND window < ?", place)
    return window


def _read_windows(connection: sqlite3.Connection, model: str) -> dict[str, CompleteWindow]:
    rows = connection.execute(
        "SELECT condition, number, completed_at, slices, statistics, judgements FROM windows WHERE model = ?", (model,)
    )
    return {
        condition: CompleteWindow(
            number=number,
            completed_at=completed_at,
            slices=slices,
            statistics=_parse(statistics, dict),
            judgements=_parse(judgements, list),
        )
        for condition, number, completed_at, slices, statistics, judgements in rows
    }


def _read_gathered(connection: sqlite3.Connection, model: str) -> dict[str, int]:
    """Return how many slices lie in the window being filled: the others are the last complete window's."""
    rows = connection.execute(
        "SELECT s.condition, count(*) FROM slices AS s "
        "LEFT JOIN windows AS w ON w.model = s.model AND w.condition = s.condition "
        "WHERE s.model = ? AND s.window > coalesce(w.number, 0) GROUP BY s.condition",
        (model,),
    )
    return dict(rows.fetchall())


def _read_tallies(connection: sqlite3.Connection, model: str) -> dict[str, dict[str, int]]:
    tallies: dict[str, dict[str, int]] = {}
    for condition, outcome, slices in connection.execute(
        "SELECT condition, outcome, slices FROM tallies WHERE model = ?", (model,)
    ):
        tallies.setdefault(condition, {})[outcome] = slices
    return tallies


def _parse(text: object, kind: type[Parsed]) -> Parsed:
    """Return what a column of JSON holds; raise as SQLite does of a file that is broken, where it is none."""
    try:
        value = json.loads(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise _changed() from None
    if not isinstance(value, kind):
        raise _changed()
    return value


def _changed() -> sqlite3.DataError:
    return sqlite3.DataError("it holds values that no worker wrote")
