"""What the harness runs: an import as the command line does it, and readers broken on purpose to prove the harness."""

import logging
import sys
import time
import warnings
from pathlib import Path

import numpy as np

from cohort.importing.deidentify import Pseudonyms
from cohort.importing.importer import ImportSettings, import_cohort
from cohort.importing.report import check_import_destination, save_import
from spect.errors import CohortError

_PSEUDONYMS = Pseudonyms(key=bytes(32))


def import_files(source: Path, labels: Path | None, pattern: str | None, destination: Path) -> None:
    """Import scans and write the cohort and its report, by the calls of `synspect cohort import`."""
    check_import_destination(destination)
    cohort, report = import_cohort(source, ImportSettings(labels=labels, pattern=pattern), _PSEUDONYMS)
    save_import(cohort, report, destination)


def raises_an_error_of_python(source: Path, labels: Path | None, pattern: str | None, destination: Path) -> None:
    raise ValueError("cannot reshape array of size 7 into shape (3,3)")


def hangs(source: Path, labels: Path | None, pattern: str | None, destination: Path) -> None:
    time.sleep(3600)


def computes_for_ever(source: Path, labels: Path | None, pattern: str | None, destination: Path) -> None:
    ends = time.process_time() + 0.3
    while time.process_time() < ends:
        pass
    raise CohortError("the file was not read; try another one")


def takes_too_much_memory(source: Path, labels: Path | None, pattern: str | None, destination: Path) -> None:
    np.ones(2**28, dtype=np.uint8)
    raise CohortError("the file was not read; try another one")


def takes_all_memory(source: Path, labels: Path | None, pattern: str | None, destination: Path) -> None:
    np.ones(2**33, dtype=np.uint8)


def dies(source: Path, labels: Path | None, pattern: str | None, destination: Path) -> None:
    import os

    os.abort()


def warns(source: Path, labels: Path | None, pattern: str | None, destination: Path) -> None:
    warnings.warn("overflow encountered in cast", RuntimeWarning, stacklevel=2)
    raise CohortError("the file was not read; try another one")


def logs(source: Path, labels: Path | None, pattern: str | None, destination: Path) -> None:
    logging.getLogger("some.library").warning("invalid value for VR UI")
    raise CohortError("the file was not read; try another one")


def prints(source: Path, labels: Path | None, pattern: str | None, destination: Path) -> None:
    sys.stdout.write("Traceback (most recent call last)\n")
    raise CohortError("the file was not read; try another one")


def tells_a_story(source: Path, labels: Path | None, pattern: str | None, destination: Path) -> None:
    raise CohortError("the file was not read\nfor this reason:\nunknown")


def leaves_half_a_cohort(source: Path, labels: Path | None, pattern: str | None, destination: Path) -> None:
    destination.mkdir()
    (destination / "slices.npz").write_bytes(b"PK")
    raise CohortError("the file was not read; try another one")


def leaves_a_temporary_file(source: Path, labels: Path | None, pattern: str | None, destination: Path) -> None:
    (destination.parent / ".cohort-abc").write_bytes(b"PK")
    raise CohortError("the file was not read; try another one")


def writes_an_unsound_cohort(source: Path, labels: Path | None, pattern: str | None, destination: Path) -> None:
    import_files(source, labels, pattern, destination)
    with (destination / "slices.npz").open("r+b") as stream:
        stream.seek(3000)
        stream.write(b"\xff" * 8)
