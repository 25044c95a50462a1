"""Run damaged imports in a worker process that may hang, crash or ask for all memory, and judge how each ended."""

import importlib
import multiprocessing
import resource
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType

from tests.fuzz.case import Case
from tests.fuzz.observed import Ending, Importer, Observation, observe_import

GIB = 2**30
# Addresses are reserved before they are used; what is used is measured. This bound only keeps the machine alive.
_ADDRESS_SPACE = 3 * GIB


class Outcome(StrEnum):
    """How a case ended. The first two are what a user may meet."""

    COHORT = "cohort"
    ERROR = "clear error"
    UNCLEAR = "unclear error"
    CRASHED = "traceback"
    WARNED = "stray words"
    WRONG = "wrong cohort"
    LEFTOVERS = "half-written"
    SLOW = "too slow"
    LARGE = "too much memory"
    DIED = "killed"


GOOD = (Outcome.COHORT, Outcome.ERROR)
_OF_ENDING = {
    Ending.COHORT: Outcome.COHORT,
    Ending.ERROR: Outcome.ERROR,
    Ending.UNCLEAR: Outcome.UNCLEAR,
    Ending.CRASHED: Outcome.CRASHED,
    Ending.WRONG: Outcome.WRONG,
    Ending.LEFTOVERS: Outcome.LEFTOVERS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one import of one small file may take."""

    cpu_seconds: float = 2.0  # of the processor, so that a busy machine fails nobody
    patience_seconds: float = 20.0  # of the clock: whoever waits this long hangs
    peak_bytes: int = GIB  # above what the process held before


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One case: how it ended, what was said, what it took."""

    outcome: Outcome
    words: str
    cpu_seconds: float = 0.0
    peak_bytes: int = 0

    @property
    def good(self) -> bool:
        """Whether a user would be content."""
        return self.outcome in GOOD


class Harness:
    """A worker process and the folder it works in; a worker that had to be killed is replaced."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._folder = Path(tempfile.mkdtemp(prefix="synspect-fuzz-"))
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None

    def __enter__(self) -> "Harness":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, cases: Iterable[Case], importer: Importer) -> Iterator[Result]:
        """Run cases in order; every one gives a result."""
        for case in cases:
            yield self.run_one(case, importer)

    def run_one(self, case: Case, importer: Importer) -> Result:
        """Run one case in a fresh folder."""
        folder = self._folder / "case"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        connection = self._worker()
        connection.send((case, folder, importer))
        try:
            if not connection.poll(self.limits.patience_seconds):
                self._stop()
                return Result(outcome=Outcome.SLOW, words=f"no answer in {self.limits.patience_seconds:g} s")
            return self._judge(connection.recv())
        except (EOFError, ConnectionError):
            self._stop()
            return Result(outcome=Outcome.DIED, words="the worker died")

    def _judge(self, seen: Observation) -> Result:
        outcome, words = _OF_ENDING[seen.ending], seen.words
        if outcome in GOOD and seen.stray:
            outcome, words = Outcome.WARNED, seen.stray
        if seen.cpu_seconds > self.limits.cpu_seconds:
            outcome, words = Outcome.SLOW, f"{seen.cpu_seconds:.1f} s; {words}"
        if seen.peak_bytes > self.limits.peak_bytes:
            outcome, words = Outcome.LARGE, f"{seen.peak_bytes / GIB:.2f} GiB; {words}"
        return Result(outcome=outcome, words=words, cpu_seconds=seen.cpu_seconds, peak_bytes=seen.peak_bytes)

    def _worker(self) -> Connection:
        if self._connection is None:
            context = multiprocessing.get_context("spawn")
            self._connection, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
            self._process.start()
            theirs.close()
            self._connection.recv()  # it has imported what it needs: no case pays for that
        return self._connection

    def _stop(self) -> None:
        if self._process is not None and self._connection is not None:
            self._process.kill()
            self._process.join()
            self._connection.close()
        self._process = self._connection = None


def _serve(connection: Connection) -> None:
    """Answer cases until the other side goes away."""
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    importlib.import_module("tests.fuzz.importing")
    connection.send("ready")
    while True:
        try:
            case, folder, importer = connection.recv()
        except EOFError:
            return
        connection.send(observe_import(case, folder, importer))
