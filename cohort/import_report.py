"""What an import read, mended and skipped; on screen by the files' names, on disk by their pseudonyms."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spect.atomic import write_atomically

REPORT_NAME = "import-report.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOutcome:
    """One file: how many slices it gave, or why it gave none."""

    name: str  # may name a patient: shown, never stored
    pseudonym: str
    slices: int = 0
    notes: tuple[str, ...] = ()
    skipped: str | None = None  # the reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """Everything a user should know of an import."""

    outcomes: tuple[FileOutcome, ...]
    planes: dict[str, float]
    scaling: str
    slices: int
    patients: int
    patients_by_split: dict[str, int]
    warnings: tuple[str, ...] = ()

    @property
    def read(self) -> tuple[FileOutcome, ...]:
        """Files that gave slices."""
        return tuple(outcome for outcome in self.outcomes if outcome.skipped is None)

    @property
    def skipped(self) -> tuple[FileOutcome, ...]:
        """Files that gave none."""
        return tuple(outcome for outcome in self.outcomes if outcome.skipped is not None)

    def lines(self) -> Iterator[str]:
        """Yield what is told on screen."""
        splits = ", ".join(f"{name} {count}" for name, count in self.patients_by_split.items())
        yield f"{self.slices} slices of {self.patients} patients ({splits}) from {len(self.read)} files"
        yield from (f"note: {outcome.name}: {note}" for outcome in self.read for note in outcome.notes)
        yield from (f"skipped: {outcome.name}: {outcome.skipped}" for outcome in self.skipped)
        yield from (f"warning: {warning}" for warning in self.warnings)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types, without a file's name."""
        return {
            "slices": self.slices,
            "patients": self.patients,
            "patients_by_split": self.patients_by_split,
            "planes_mm": self.planes,
            "intensity_scaling": self.scaling,
            "read": [
                {"file": outcome.pseudonym, "slices": outcome.slices, "notes": list(outcome.notes)}
                for outcome in self.read
            ],
            "skipped": [{"file": outcome.pseudonym, "reason": outcome.skipped} for outcome in self.skipped],
            "warnings": list(self.warnings),
        }


def save_report(report: ImportReport, directory: Path) -> None:
    """Write import-report.json into a cohort, whole or not at all."""
    write_atomically(directory / REPORT_NAME, json.dumps(report.to_dict(), indent=2).encode() + b"\n")
