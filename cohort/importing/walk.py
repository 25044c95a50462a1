"""What lies below a directory: its files, and everything else that is there, each with the reason it is not read."""

import stat
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from cohort.store import is_cohort
from spect.errors import CohortError


@dataclass(frozen=True, slots=True, kw_only=True)
class Below:
    """Names are relative to the directory and may be a patient's."""

    files: dict[str, Path]  # regular ones
    left_out: dict[str, str]  # the reason by name


def list_below(directory: Path) -> Below:
    """List all that lies below, links to folders followed, each folder once however many links lead to it.

    Raises `CohortError` where the directory itself cannot be opened.
    """
    below = Below(files={}, left_out={})
    seen: set[tuple[int, int]] = set()
    folders, links = [directory], deque[Path]()
    while folders or links:
        # Links last: a folder that lies here goes by its own name, not by that of a link to it.
        folder = folders.pop() if folders else links.popleft()
        try:
            status = folder.stat()
            entries = sorted(folder.iterdir())
        except OSError as error:
            if folder == directory:
                raise CohortError(f"{directory} cannot be opened ({error.strerror}); check its rights") from None
            reason = f"it is a folder that cannot be opened ({error.strerror}); check its rights"
            below.left_out[_name(folder, directory)] = reason
            continue
        if (status.st_dev, status.st_ino) in seen:
            below.left_out[_name(folder, directory)] = "it is a link to a folder that is read already"
        elif folder != directory and is_cohort(folder):
            below.left_out[_name(folder, directory)] = "it is a cohort, which is used as it is and not imported again"
        else:
            for path in entries:
                _sort(path, _name(path, directory), below, folders, links)
        seen.add((status.st_dev, status.st_ino))
    return below


def _sort(path: Path, name: str, below: Below, folders: list[Path], links: deque[Path]) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        told = (
            "it is a link to nothing"
            if isinstance(error, FileNotFoundError)
            else f"it leads to no file ({error.strerror})"
        )
        below.left_out[name] = f"{told}; mend or remove it"
        return
    if stat.S_ISDIR(mode):
        (links if path.is_symlink() else folders).append(path)
    elif stat.S_ISREG(mode):
        below.files[name] = path
    else:
        below.left_out[name] = "it is no file but a pipe, a socket or a device; copy its content to a file"


def _name(path: Path, directory: Path) -> str:
    return path.relative_to(directory).as_posix()
