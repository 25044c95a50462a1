"""The pictures beside a cohort: their names, written all or none, and gone when the cohort is replaced."""

import contextlib
import errno
from collections.abc import Mapping
from pathlib import Path

from spect.atomic import write_atomically
from spect.errors import CohortError

FIGURES_NAME = "figures"
CONTACT_SHEET = "contact-sheet.png"
QUANTITIES = "mean-counts-left-right.png"
MEAN_SLICES = "mean-slices.png"
ASYMMETRY = "asymmetry.png"
_COMPARED = "compared-"  # two cohorts in one picture: never over the picture of one


def name_compared(name: str) -> str:
    """Return the name of the picture that shows two cohorts."""
    return f"{_COMPARED}{name}"


def write_pictures(directory: Path, pictures: Mapping[str, bytes]) -> list[Path]:
    """Write pictures into a directory, which is made where there is none; return their paths.

    Raises
    ------
    CohortError
        The directory cannot be made.
    OSError
        A picture cannot be written; it is named, and no empty directory stays.
    """
    is_new = not directory.exists()
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise CohortError(f"{directory} cannot be made ({error.strerror}); name another with --out") from error
    try:
        return [_write(directory / name, content) for name, content in pictures.items()]
    except OSError:
        if is_new:
            remove_pictures(directory)
        raise


def _write(path: Path, content: bytes) -> Path:
    try:
        write_atomically(path, content)
    except OSError as error:  # the error of a write names no file
        raise OSError(error.errno, error.strerror, str(path)) from error
    return path


def remove_pictures(directory: Path) -> None:
    """Remove the pictures that `describe` draws, and the directory if nothing else is in it."""
    for name in (CONTACT_SHEET, QUANTITIES, MEAN_SLICES, ASYMMETRY):
        for path in (directory / name, directory / name_compared(name)):
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # someone's own files are in it, or it is not there
        directory.rmdir()
