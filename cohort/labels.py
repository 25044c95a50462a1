"""What a user says of the files to import: one row a file, every mistake told at once with its row and column."""

import csv
import io
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from spect.conditions import parse_condition, parse_level, parse_pattern
from spect.errors import CohortError, ConditionError

REQUIRED = ("file", "pattern")
OPTIONAL = ("level", "patient")
MAX_BYTES = 64 * 2**20
_SHOWN = 20  # mistakes told in full; a wrong separator makes one of every row


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLabel:
    """One row: what every slice of a file is; None where the file itself, or its planes, must say it."""

    row: int
    pattern: str
    level: str | None = None
    patient: str | None = None


def load_labels(path: Path) -> dict[str, FileLabel]:
    """Read a CSV with the columns file and pattern, and optionally level and patient.

    `file` is relative to the imported directory. Raises `CohortError` with every mistake, each with its row (the
    header is row 1) and column.
    """
    rows = _read_rows(path)
    header = [name.strip().lower() for name in next(rows, [])]
    _check_header(header, path)
    labels: dict[str, FileLabel] = {}
    mistakes: list[str] = []
    for number, cells in enumerate(rows, start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            mistakes.append(f"row {number}: {len(cells)} cells where the header has {len(header)}")
            continue
        row = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
        mistakes += [f"row {number}, column {column}: {words}" for column, words in _mistakes(row, labels)]
        labels[_normalised(row["file"])] = FileLabel(
            row=number, pattern=row["pattern"], level=row.get("level") or None, patient=row.get("patient") or None
        )
    if not labels and not mistakes:
        mistakes.append("row 2: no file is named")
    _raise_all(mistakes, path)
    return labels


def check_files_exist(labels: Mapping[str, FileLabel], names: Collection[str], path: Path) -> None:
    """Raise `CohortError` naming every row whose file is not among `names`."""
    absent = [label.row for name, label in labels.items() if name not in names]
    _raise_all([f"row {row}, column file: not among the files to import" for row in absent], path)


def _raise_all(mistakes: list[str], path: Path) -> None:
    if mistakes:
        more = f"; and {len(mistakes) - _SHOWN} more" if len(mistakes) > _SHOWN else ""
        raise CohortError(f"{path}: {'; '.join(mistakes[:_SHOWN])}{more}; mend the file and import again")


def _read_rows(path: Path) -> Iterator[list[str]]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CohortError(f"{path} has more than {MAX_BYTES} bytes; labels are one short row a file")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise CohortError(f"{path} cannot be read ({error.strerror}); give a CSV file with --labels") from None
    except UnicodeDecodeError:
        raise CohortError(f"{path} is not UTF-8 text; save the table as CSV, UTF-8") from None
    try:
        yield from csv.reader(io.StringIO(text, newline=""), strict=True)
    except csv.Error as error:
        raise CohortError(f"{path} is not a CSV file ({error}); save the table as CSV, comma separated") from None


def _check_header(header: list[str], path: Path) -> None:
    missing = [name for name in REQUIRED if name not in header]
    unknown = [repr(name) for name in header if name not in (*REQUIRED, *OPTIONAL)]
    twice = sorted({name for name in header if header.count(name) > 1})
    words = []
    if missing:
        words.append(f"column {' and '.join(missing)} missing")
    if unknown:
        words.append(f"unknown column {', '.join(unknown)[:200]}")
    if twice:
        words.append(f"column {', '.join(twice)} twice")
    if words:
        known = f"{', '.join(REQUIRED)} and optionally {', '.join(OPTIONAL)}"
        raise CohortError(f"{path}, row 1: {'; '.join(words)}; the columns are {known}, comma separated")


def _mistakes(row: Mapping[str, str], earlier: Mapping[str, FileLabel]) -> Iterator[tuple[str, str]]:
    """Yield column and words of each mistake in a row."""
    if not row["file"]:
        yield "file", "is empty"
    elif _normalised(row["file"]) in earlier:
        yield "file", "is named twice"
    if not row["pattern"]:
        yield "pattern", "is empty"
    yield from _condition_mistakes(row["pattern"], row.get("level", ""))


def _condition_mistakes(pattern: str, level: str) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with either word; where both are known, with the pair."""
    checks: list[tuple[str, Callable[[], object]]] = []
    if pattern:
        checks.append(("pattern", lambda: parse_pattern(pattern)))
    if level:
        checks.append(("level", lambda: parse_level(level)))
    wrong = [(column, str(error)) for column, check in checks if (error := _error_of(check)) is not None]
    if not wrong and len(checks) == 2 and (error := _error_of(lambda: parse_condition(level, pattern))) is not None:
        wrong = [("level", str(error))]
    yield from wrong


def _error_of(check: Callable[[], object]) -> ConditionError | None:
    try:
        check()
    except ConditionError as error:
        return error
    return None


def _normalised(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).as_posix()
