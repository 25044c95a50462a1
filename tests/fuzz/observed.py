"""Inside the worker: run one import and note how it ended, what it took, and what it left behind."""

import os
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from cohort.store import load_cohort
from spect.errors import SynspectError
from tests.fuzz.case import Case

LONGEST_MESSAGE = 8000  # characters: twenty mistakes of a labels file at once
_VAGUE = ("traceback", "errno", "object at 0x")

# Source, labels, the pattern of every file, and the directory to write; raises what an import raises.
Importer = Callable[[Path, Path | None, str | None, Path], None]


class Ending(StrEnum):
    """How an import ended, whatever it took."""

    COHORT = "cohort"
    ERROR = "error"
    UNCLEAR = "unclear"
    CRASHED = "crashed"
    WRONG = "wrong"
    LEFTOVERS = "leftovers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one import did."""

    ending: Ending
    words: str
    stray: str  # warnings, logs and prints
    cpu_seconds: float
    peak_bytes: int


def observe_import(case: Case, folder: Path, importer: Importer) -> Observation:
    """Write a case below `folder`, import it, and look at what came of it."""
    source, labels = case.write(folder)
    out, scratch = folder / "out", folder / "scratch"
    out.mkdir()
    scratch.mkdir()
    destination = out / "cohort"
    tempfile.tempdir = str(scratch)
    said: list[str] = []
    before = _reset_peak()
    started = time.process_time()
    with _heard(said, folder):
        ending, words = _run(importer, source, labels, case.pattern, destination)
    seconds, peak = time.process_time() - started, _peak() - before
    tempfile.tempdir = None
    if ending is Ending.COHORT:
        ending, words = _check_cohort(destination)
    left = [path.name for parent in (out, scratch) for path in parent.iterdir()]
    if ending is Ending.COHORT and left != ["cohort"]:
        ending, words = Ending.LEFTOVERS, f"left beside the cohort: {left}"
    if ending in {Ending.ERROR, Ending.UNCLEAR} and left:
        ending, words = Ending.LEFTOVERS, f"left after an error: {left}"
    return Observation(ending=ending, words=words, stray="; ".join(said), cpu_seconds=seconds, peak_bytes=peak)


def _run(
    importer: Importer, source: Path, labels: Path | None, pattern: str | None, destination: Path
) -> tuple[Ending, str]:
    try:
        importer(source, labels, pattern, destination)
    except SynspectError as error:
        words = str(error)
        return (Ending.ERROR if _is_clear(words) else Ending.UNCLEAR), words
    except BaseException:  # noqa: BLE001 - whatever else comes out of an import is the bug looked for
        return Ending.CRASHED, traceback.format_exc()
    return Ending.COHORT, ""


def _is_clear(words: str) -> bool:
    """One line of printable characters that names no innards."""
    if not 10 < len(words) <= LONGEST_MESSAGE or not words.isprintable():
        return False
    return not any(vague in words.lower() for vague in _VAGUE)


def _check_cohort(directory: Path) -> tuple[Ending, str]:
    try:
        cohort = load_cohort(directory)  # which checks shapes, labels and the fingerprint
    except SynspectError as error:
        return Ending.WRONG, str(error)
    if not np.isfinite(cohort.counts).all() or cohort.counts.min() < 0:
        return Ending.WRONG, "counts are not finite or negative"
    if not cohort.counts.any(axis=(1, 2)).all():
        return Ending.WRONG, "a slice holds no count"
    if cohort.counts.shape[1:] != (128, 128):
        return Ending.WRONG, f"slices of {cohort.counts.shape[1:]}"
    return Ending.COHORT, f"{len(cohort)} slices"


@contextmanager
def _heard(said: list[str], folder: Path) -> Iterator[None]:
    """Collect warnings, and everything written to the standard streams, also by C code and by logging."""
    path = folder / "heard.txt"
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with path.open("wb") as stream, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, original in enumerate(kept, start=1):
                os.dup2(original, number)
                os.close(original)
    said += [f"{one.category.__name__}: {one.message}" for one in caught]
    if heard := path.read_bytes():
        said.append(repr(heard[:500]))


def _reset_peak() -> int:
    """Return the memory held now, and start the kernel's high-water mark again from there (where it allows that)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return _status("VmRSS")
    return _status("VmHWM")


def _peak() -> int:
    return _status("VmHWM")


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    return 0
