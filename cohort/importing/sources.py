"""Which files below a source make one scan, and which row of the labels speaks of it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cohort.importing.labels import FileLabel, LabelTable, Mistake, normalised_name
from cohort.importing.walk import list_below
from cohort.store import is_cohort
from spect.errors import CohortError, FormatError
from spect.formats.dicom import group_series
from spect.formats.reader import SUFFIXES, has_slices_suffix, is_dicom_file


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """One file, or the single-frame DICOM files of one series."""

    name: str  # of its first file, relative to the source; may be a patient's: never told, never stored
    files: Mapping[str, Path]  # by such names
    position: int  # from 1, in the order of names of scans and of what was left out


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """What lies below a source and cannot be read as a scan: a folder nobody may open, a dangling link, a pipe."""

    name: str
    position: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundScans:
    """What lies at or below a source."""

    scans: tuple[Scan, ...]
    left_out: tuple[LeftOut, ...] = ()
    ignored: frozenset[str] = frozenset()  # names of files that are no slices by name or content


def find_scans(source: Path) -> FoundScans:
    """Return the file, or all scans below the directory; raise `CohortError` where there is none."""
    if source.is_file():
        return FoundScans(scans=(Scan(name=source.name, files={source.name: source}, position=1),))
    _check_directory(source)
    below = list_below(source)
    left_out = dict(below.left_out)
    dicom: dict[str, Path] = {}
    alone: dict[str, tuple[Path, ...]] = {}
    for name, path in below.files.items():
        try:
            if is_dicom_file(path, name="it"):
                dicom[name] = path
            elif has_slices_suffix(path):
                alone[name] = (path,)
        except FormatError as error:
            left_out[name] = str(error)
    if not dicom and not alone and not left_out:
        known = ", ".join(SUFFIXES)
        raise CohortError(f"{source} holds no DICOM file and none named {known}; give the directory of the scans")
    grouped = group_series(dicom) | alone
    position = {name: number for number, name in enumerate(sorted({*grouped, *left_out}), start=1)}
    name_of = {path: name for name, path in below.files.items()}
    return FoundScans(
        scans=tuple(
            Scan(name=name, files={name_of[path]: path for path in paths}, position=position[name])
            for name, paths in sorted(grouped.items())
        ),
        left_out=tuple(
            LeftOut(name=name, position=position[name], reason=reason) for name, reason in sorted(left_out.items())
        ),
        ignored=frozenset({*below.files} - {*dicom, *alone, *left_out}),
    )


def _check_directory(source: Path) -> None:
    if not source.exists():
        raise CohortError(f"{source} does not exist; give a file of slices or a directory of them")
    if not source.is_dir():
        raise CohortError(f"{source} is a pipe, a socket or a device; give a file of slices or a directory of them")
    if is_cohort(source):
        raise CohortError(f"{source} is a cohort already; use it as it is")


def match_labels(table: LabelTable, found: FoundScans) -> dict[str, FileLabel]:
    """Return the label of each scan, and of what was left out, by its name, where a row speaks of it.

    A row names a file of the scan, or a folder below which there is no other scan. Raises `CohortError` with every
    mistake of the table itself, and every row that names nothing, several scans, or a scan of which another row says
    otherwise.
    """
    named = _Named(found)
    labels: dict[str, FileLabel] = {}
    mistakes: list[Mistake] = []
    for name, row in table.rows.items():
        label = table.labels.get(name)  # None: the row has a mistake that is told already
        wrong, target = named.find(name)
        if not wrong and label is not None:
            wrong = _contradiction(label, labels.get(target))
        if wrong:
            mistakes.append(Mistake(row=row, column="file", words=wrong))
        elif label is not None:
            labels.setdefault(target, label)
    table.raise_all(mistakes)
    return labels


def _contradiction(label: FileLabel, earlier: FileLabel | None) -> str:
    if earlier is None or earlier.says_the_same_as(label):
        return ""
    return f"the same scan as in row {earlier.row}, with another label; keep one of them"


class _Named:
    """Finds what a name of the labels stands for."""

    def __init__(self, found: FoundScans) -> None:
        # Two files whose names differ only in how Unicode composes them have one name here.
        self._scans = _gathered((name, scan.name) for scan in found.scans for name in scan.files)
        self._folders = _gathered(
            (folder, scan.name) for scan in found.scans for folder in _folders_of(scan.files) if folder != "."
        )
        self._left_out = {normalised_name(one.name): one for one in found.left_out}
        self._ignored = {normalised_name(name) for name in found.ignored}

    def find(self, name: str) -> tuple[str, str]:
        """Return what is wrong with a name, "" where nothing is; and the name of the scan, or of what was left out."""
        if name in self._left_out:
            return "", self._left_out[name].name
        scans = self._scans.get(name) or self._folders.get(name, [])
        if len(scans) > 1:
            return f"stands for {len(scans)} scans; name one file of each", ""
        if scans:
            return "", scans[0]
        return self._why_none(name), ""

    def _why_none(self, name: str) -> str:
        if name in self._ignored:
            return "a file that is no slices by name or content"
        for folder in _folders_of([name]):
            if folder in self._left_out:
                return f"lies in what was not read: {self._left_out[folder].reason}"
        return "not among the files to import"


def _gathered(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the scans of each name, each once."""
    of: dict[str, dict[str, None]] = {}
    for name, scan in pairs:
        of.setdefault(normalised_name(name), {})[scan] = None
    return {name: list(scans) for name, scans in of.items()}


def _folders_of(names: Iterable[str]) -> Iterator[str]:
    yield from {folder.as_posix(): None for name in names for folder in PurePosixPath(name).parents}
