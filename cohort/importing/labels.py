"""What a user says of the files to import: one row a scan, every mistake told at once with its row and column.

No message quotes a cell: in a table whose columns slipped, any cell may hold a patient's name.
"""

import csv
import io
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from spect.conditions import Level, Pattern, parse_condition, parse_level, parse_pattern
from spect.errors import CohortError, ConditionError, SlicesError
from spect.formats.field import SPACING_RANGE_MM, check_pixel_spacing

REQUIRED = ("file", "pattern")
PLANE_COLUMNS: Mapping[str, Level] = MappingProxyType({f"{level.value.lower()}_mm": level for level in Level})
OPTIONAL = ("level", "patient", "pixel_spacing_mm", "left", *PLANE_COLUMNS)
MAX_BYTES = 64 * 2**20
MAX_CELL = 1024  # characters
HIGHEST_MM = 2000.0  # no scanner's bed is longer either way
_SHOWN = 20  # mistakes told in full; a wrong separator makes one of every row


class Left(StrEnum):
    """On which side of the picture the patient's left is."""

    IMAGE_RIGHT = "image-right"  # the radiological convention, and the cohort's
    IMAGE_LEFT = "image-left"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLabel:
    """One row: what every slice of a scan is; None or empty where the file itself, or an option, must say it."""

    row: int | None  # None: not of a table, but of an option
    pattern: str
    level: str | None = None
    patient: str | None = None
    pixel_spacing_mm: float | None = None
    left: Left | None = None
    planes: Mapping[Level, float] = field(default_factory=lambda: MappingProxyType({}))

    def says_the_same_as(self, other: "FileLabel") -> bool:
        """Whether two rows differ in nothing but the file they name."""
        return _contents(self) == _contents(other)


def _contents(label: FileLabel) -> tuple[object, ...]:
    planes = sorted(label.planes.items())
    return (label.pattern, label.level, label.patient, label.pixel_spacing_mm, label.left, planes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """What is wrong in a row, and in which of its columns; None: in the whole row."""

    row: int
    words: str
    column: str | None = None

    def __str__(self) -> str:
        where = f"row {self.row}" if self.column is None else f"row {self.row}, column {self.column}"
        return f"{where}: {self.words}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelTable:
    """The rows of a table by the normalised name of the file each speaks of, and its mistakes, not yet raised."""

    path: Path
    rows: Mapping[str, int]  # the first row of every name
    labels: Mapping[str, FileLabel]  # of rows without a mistake
    mistakes: tuple[Mistake, ...]

    def raise_all(self, more: Sequence[Mistake] = ()) -> None:
        """Raise `CohortError` with every mistake and `more` of them by row, or the first twenty and a count."""
        told = [str(one) for one in sorted([*self.mistakes, *more], key=lambda one: one.row)]
        if told:
            rest = f"; and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
            raise CohortError(f"{self.path}: {'; '.join(told[:_SHOWN])}{rest}; mend the file and import again")


def load_labels(path: Path) -> LabelTable:
    """Read a CSV with the columns `REQUIRED` and any of `OPTIONAL`; the header is row 1.

    `file` is relative to the imported directory. Raises `CohortError` for what is no table with such columns; what is
    wrong in its rows is kept, to be raised at once with what the files say against them.
    """
    rows = _read_rows(path)
    header = [name.strip().lower() for name in next(rows, [])]
    _check_header(header, path)
    first_rows: dict[str, int] = {}
    labels: dict[str, FileLabel] = {}
    mistakes: list[Mistake] = []
    for number, cells in enumerate(rows, start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            mistakes.append(Mistake(row=number, words=f"{len(cells)} cells where the header has {len(header)}"))
            continue
        row = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
        wrong = [Mistake(row=number, column=column, words=words) for column, words in _mistakes(row, first_rows)]
        mistakes += wrong
        if row["file"]:
            first_rows.setdefault(normalised_name(row["file"]), number)
        if not wrong:
            labels[normalised_name(row["file"])] = _to_label(row, number)
    if not labels and not mistakes:
        mistakes.append(Mistake(row=2, words="no file is named"))
    return LabelTable(path=path, rows=first_rows, labels=labels, mistakes=tuple(mistakes))


def normalised_name(name: str) -> str:
    """Return a file's name with forward slashes and composed letters: macOS writes an umlaut as two of them."""
    return unicodedata.normalize("NFC", PurePosixPath(name.replace("\\", "/")).as_posix())


def _to_label(row: Mapping[str, str], number: int) -> FileLabel:
    spacing, left = row.get("pixel_spacing_mm"), row.get("left")
    planes = {level: float(row[column]) for column, level in PLANE_COLUMNS.items() if row.get(column)}
    return FileLabel(
        row=number,
        pattern=row["pattern"],
        level=row.get("level") or None,
        patient=row.get("patient") or None,
        pixel_spacing_mm=float(spacing) if spacing else None,
        left=Left(left) if left else None,
        planes=MappingProxyType(planes),
    )


def _read_rows(path: Path) -> Iterator[list[str]]:
    try:
        with path.open("rb") as stream:  # a device or a pipe has no size: what is read is bounded, not what is promised
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise CohortError(f"{path} has more than {MAX_BYTES} bytes; labels are one short row a file")
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise CohortError(f"{path} cannot be read ({error.strerror}); give a CSV file with --labels") from None
    except UnicodeDecodeError:
        raise CohortError(f"{path} is not UTF-8 text; save the table as CSV, UTF-8") from None
    try:
        yield from csv.reader(io.StringIO(text, newline=""), strict=True)
    except csv.Error:
        raise CohortError(f"{path} is not a CSV file; save the table as CSV, comma separated, UTF-8") from None


def _check_header(header: list[str], path: Path) -> None:
    missing = [name for name in REQUIRED if name not in header]
    unknown = [str(place) for place, name in enumerate(header, 1) if name not in (*REQUIRED, *OPTIONAL)]
    twice = sorted(name for name in (*REQUIRED, *OPTIONAL) if header.count(name) > 1)
    words = []
    if missing:
        words.append(f"column {' and '.join(missing)} missing")
    if unknown:
        words.append(f"the name in place {', '.join(unknown)[:200]} is unknown")
    if twice:
        words.append(f"column {', '.join(twice)} twice")
    if words:
        known = f"{', '.join(REQUIRED)} and optionally {', '.join(OPTIONAL)}"
        raise CohortError(f"{path}, row 1: {'; '.join(words)}; the columns are {known}, comma separated")


def _mistakes(row: Mapping[str, str], earlier: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Yield column and words of each mistake in a row."""
    if not row["file"]:
        yield "file", "is empty"
    elif normalised_name(row["file"]) in earlier:
        yield "file", f"is named in row {earlier[normalised_name(row['file'])]} already"
    yield from ((column, f"is longer than {MAX_CELL} characters") for column in row if len(row[column]) > MAX_CELL)
    if not row["pattern"]:
        yield "pattern", "is empty"
    yield from _condition_mistakes(row["pattern"], row.get("level", ""))
    yield from _measure_mistakes(row)


def _condition_mistakes(pattern: str, level: str) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with either word; where both are known, with the pair."""
    known_pattern = not pattern or _holds(lambda: parse_pattern(pattern))
    known_level = not level or _holds(lambda: parse_level(level))
    if not known_pattern:
        yield "pattern", f"is none of {', '.join(Pattern)}"
    if not known_level:
        yield "level", f"is none of {', '.join(Level)}"
    if pattern and level and known_pattern and known_level and not _holds(lambda: parse_condition(level, pattern)):
        yield "level", f"{level} x {pattern} is a condition the reference study does not hold"


def _measure_mistakes(row: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    spacing = row.get("pixel_spacing_mm", "")
    if spacing and not _holds(lambda: check_pixel_spacing(float(spacing))):
        low, high = SPACING_RANGE_MM
        yield "pixel_spacing_mm", f"is no length from {low:g} to {high:g}; write it like 3.3"
    if row.get("left", "") not in ("", *Left):
        yield "left", f"is neither {Left.IMAGE_RIGHT} nor {Left.IMAGE_LEFT}: the side where the patient's left is"
    for column in PLANE_COLUMNS:
        if row.get(column) and not _is_height(row[column]):
            yield column, "is no height in mm; write it like -36"
    named = [level.value for column, level in PLANE_COLUMNS.items() if row.get(column)]
    if named and row.get("level") and row["level"] not in named:
        yield "level", f"is not among the planes of its row ({', '.join(named)})"


def _is_height(text: str) -> bool:
    try:
        return abs(float(text)) <= HIGHEST_MM  # also refuses NaN
    except ValueError:
        return False


def _holds(check: Callable[[], object]) -> bool:
    try:
        check()
    except (ConditionError, SlicesError, ValueError):
        return False
    return True
