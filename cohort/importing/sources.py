"""Which files below a source make one scan, and which row of the labels speaks of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cohort.importing.labels import FileLabel, raise_all
from cohort.store import is_cohort
from spect.errors import CohortError
from spect.formats.dicom import group_series
from spect.formats.reader import SUFFIXES, has_slices_suffix, is_dicom_file


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """One file, or the single-frame DICOM files of one series."""

    name: str  # of its first file, relative to the source; may be a patient's: never told, never stored
    files: Mapping[str, Path]  # by such names
    position: int  # from 1, in the order of names


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundScans:
    """What lies at or below a source."""

    scans: tuple[Scan, ...]
    ignored: int  # files of a directory that are no slices by name or content


def find_scans(source: Path) -> FoundScans:
    """Return the file, or all scans below the directory; raise `CohortError` where there is none."""
    if source.is_file():
        return FoundScans(scans=(Scan(name=source.name, files={source.name: source}, position=1),), ignored=0)
    if not source.is_dir():
        raise CohortError(f"{source} does not exist; give a file of slices or a directory of them")
    if is_cohort(source):
        raise CohortError(f"{source} is a cohort already; use it as it is")
    files = {path.relative_to(source).as_posix(): path for path in sorted(source.rglob("*")) if path.is_file()}
    dicom = {name: path for name, path in files.items() if is_dicom_file(path)}
    alone = {name: (path,) for name, path in files.items() if name not in dicom and has_slices_suffix(path)}
    if not dicom and not alone:
        known = ", ".join(SUFFIXES)
        raise CohortError(f"{source} holds no DICOM file and none named {known}; give the directory of the scans")
    grouped = sorted((group_series(dicom) | alone).items())
    name_of = {path: name for name, path in files.items()}
    scans = tuple(
        Scan(name=name, files={name_of[path]: path for path in paths}, position=position)
        for position, (name, paths) in enumerate(grouped, start=1)
    )
    return FoundScans(scans=scans, ignored=len(files) - len(dicom) - len(alone))


def match_labels(labels: Mapping[str, FileLabel], scans: Sequence[Scan], path: Path) -> dict[str, FileLabel]:
    """Return the label of each scan by the scan's name, where a row speaks of it.

    A row names a file of the scan, or a folder below which there is no other scan. Raises `CohortError` with every
    row that names nothing, several scans, or a scan of which another row says otherwise.
    """
    by_file = {name: scan for scan in scans for name in scan.files}
    by_folder = _scans_of_folders(scans)
    found: dict[str, FileLabel] = {}
    mistakes: list[str] = []
    for name, label in labels.items():
        named = [by_file[name]] if name in by_file else by_folder.get(name, [])
        wrong = _mistake(label, named, found)
        if wrong:
            mistakes.append(f"row {label.row}, column file: {wrong}")
        else:
            found.setdefault(named[0].name, label)
    raise_all(mistakes, path)
    return found


def _scans_of_folders(scans: Sequence[Scan]) -> dict[str, list[Scan]]:
    of: dict[str, list[Scan]] = {}
    for scan in scans:
        folders = {folder.as_posix() for name in scan.files for folder in PurePosixPath(name).parents}
        for folder in folders - {"."}:
            of.setdefault(folder, []).append(scan)
    return of


def _mistake(label: FileLabel, named: Sequence[Scan], found: Mapping[str, FileLabel]) -> str | None:
    if not named:
        return "not among the files to import"
    if len(named) > 1:
        return f"a folder of {len(named)} scans; name one file of each"
    earlier = found.get(named[0].name)
    if earlier is not None and not earlier.says_the_same_as(label):
        return f"the same scan as in row {earlier.row}, with another label; keep one of them"
    return None
