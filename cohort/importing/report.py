"""What an import read, mended, flagged and skipped; files go by place and pseudonym, never by name."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cohort.staging import staged
from cohort.store import Cohort, check_destination, save_cohort
from spect.atomic import write_atomically
from spect.errors import CohortError

REPORT_NAME = "import-report.json"
_SHOWN = 3  # scans named beside a note that many share


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOutcome:
    """One scan: how many slices it gave, or why it gave none."""

    place: str  # such as "scan 3 (row 4 of the labels)": a name may be a patient's
    pseudonym: str
    slices: int = 0
    notes: tuple[str, ...] = ()  # mended, resampled, cropped, flagged
    skipped: str | None = None  # the reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """Everything a user should know of an import."""

    outcomes: tuple[FileOutcome, ...]
    planes: dict[str, float] | None  # None: none were named; MNI's for NIfTI
    scaling: str
    unit: str
    slices: int
    patients: int
    patients_by_split: dict[str, int]
    ignored_files: int = 0  # neither slices by name nor by content
    flags: dict[str, int] | None = None  # slices by flag
    duplicates: dict[str, int] | None = None  # pairs: exact, near
    warnings: tuple[str, ...] = ()

    @property
    def read(self) -> tuple[FileOutcome, ...]:
        """Scans that gave slices."""
        return tuple(outcome for outcome in self.outcomes if outcome.skipped is None)

    @property
    def skipped(self) -> tuple[FileOutcome, ...]:
        """Scans that gave none."""
        return tuple(outcome for outcome in self.outcomes if outcome.skipped is not None)

    def lines(self) -> Iterator[str]:
        """Yield what is told on screen; what many scans share is told once."""
        splits = ", ".join(f"{name} {count}" for name, count in self.patients_by_split.items())
        slices, patients = count_of(self.slices, "slice"), count_of(self.patients, "patient")
        yield f"{slices} of {patients} ({splits}) from {count_of(len(self.read), 'scan')}, in {self.unit}"
        if self.ignored_files:
            yield f"ignored: {count_of(self.ignored_files, 'file')} without slices by name or content"
        noted: dict[str, list[str]] = {}
        for outcome in self.read:
            for note in outcome.notes:
                noted.setdefault(note, []).append(outcome.place)
        yield from (f"note: {_places(places)}: {note}" for note, places in noted.items())
        yield from (f"skipped: {outcome.place}: {outcome.skipped}" for outcome in self.skipped)
        yield from (f"warning: {warning}" for warning in self.warnings)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types, without a file's name."""
        return {
            "slices": self.slices,
            "patients": self.patients,
            "patients_by_split": self.patients_by_split,
            "planes_mm": self.planes,
            "intensity_scaling": self.scaling,
            "intensity_unit": self.unit,
            "read": [
                {
                    "place": outcome.place,
                    "file": outcome.pseudonym,
                    "slices": outcome.slices,
                    "notes": list(outcome.notes),
                }
                for outcome in self.read
            ],
            "skipped": [
                {"place": outcome.place, "file": outcome.pseudonym, "reason": outcome.skipped}
                for outcome in self.skipped
            ],
            "ignored_files": self.ignored_files,
            "flags": self.flags or {},
            "duplicates": self.duplicates or {},
            "warnings": list(self.warnings),
        }


def count_of(number: int, thing: str) -> str:
    """Return "1 scan" or "2 scans"."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _places(places: list[str]) -> str:
    more = f" and {len(places) - _SHOWN} more, named in {REPORT_NAME}" if len(places) > _SHOWN else ""
    return ", ".join(places[:_SHOWN]) + more


def save_report(report: ImportReport, directory: Path) -> None:
    """Write import-report.json into a cohort, whole or not at all."""
    write_atomically(directory / REPORT_NAME, json.dumps(report.to_dict(), indent=2).encode() + b"\n")


def save_import(cohort: Cohort, report: ImportReport, directory: Path) -> None:
    """Write cohort and report at once, into a new or empty directory or over a simulated cohort.

    A process that is killed leaves no directory of that name; what it hid beside it, the next import removes. Raises
    `CohortError` as `check_destination` does, and where the cohort to replace has other files beside it.
    """
    check_import_destination(directory)
    with staged(directory, _publish) as staging:
        save_cohort(cohort, staging / "cohort")
        save_report(report, staging / "cohort")


def check_import_destination(directory: Path) -> None:
    """Raise `CohortError` where an import must not be written."""
    check_destination(directory)
    if directory.is_dir() and any(_is_other(path) for path in directory.iterdir()):
        raise CohortError(f"{directory} holds other files beside its cohort; name a new or empty directory")


def _is_other(path: Path) -> bool:
    return path.name not in ("cohort.json", REPORT_NAME) and not (path.match("slices*.npz") and path.is_file())


def _publish(staging: Path, directory: Path) -> None:
    if directory.exists() and any(directory.iterdir()):
        directory.rename(staging / "replaced")  # a simulated cohort, which its seed makes again
    (staging / "cohort").rename(directory)
