"""A cohort on disk: files of slices beside one cohort.json, written whole or not at all."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohort.contents import (
    LABELS,
    SPLITS,
    Cohort,
    CohortDescription,
    Fingerprint,
    assemble,
    build_cohort,
    check_names,
    parse_counts,
)
from cohort.pictures import FIGURES_NAME, remove_pictures
from cohort.shards import COUNTS, ShardWriter, check_complete, find_slices_files, read_counts, read_labels
from cohort.staging import check_place, staged
from spect.errors import CohortError
from spect.slices import Counts

# What a cohort is comes along with where it lies: most who need the one need the other.
__all__ = [
    "SPLITS",
    "Cohort",
    "CohortDescription",
    "CohortWriter",
    "build_cohort",
    "check_destination",
    "is_cohort",
    "load_cohort",
    "load_description",
    "save_cohort",
    "write_cohort",
]

DESCRIPTION_NAME = "cohort.json"
_MAX_DESCRIPTION = 2**16  # bytes


def is_cohort(directory: Path) -> bool:
    """Whether `directory` holds a cohort."""
    return (directory / DESCRIPTION_NAME).is_file() and bool(find_slices_files(directory))


def check_destination(directory: Path) -> None:
    """Raise `CohortError` where a cohort cannot or must not be written: over someone's files or an imported cohort.

    A simulated cohort may be replaced: its seed makes it again.
    """
    check_place(directory)
    if directory.is_dir() and any(directory.iterdir()) and not is_cohort(directory):
        remains = _describe_remains(directory)
        raise CohortError(f"{directory} is not empty and holds no cohort{remains}; name a new or empty directory")
    if is_cohort(directory) and load_description(directory).source == "acquired":
        raise CohortError(f"{directory} holds an imported cohort, which is not replaced; name another or remove it")


def _describe_remains(directory: Path) -> str:
    """Name slices without a description; whose they are is not known, so they are the user's to remove."""
    files = find_slices_files(directory)
    return f" ({files[0].name} without {DESCRIPTION_NAME})" if files else ""


class CohortWriter:
    """Writes a cohort block by block, holding one file of slices at most; made by `write_cohort`."""

    def __init__(self, directory: Path, description: CohortDescription) -> None:
        self._directory = directory
        self._description = description
        self._shards = ShardWriter(directory)
        self._digest = Fingerprint(description.pixel_spacing_mm)

    def add(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take the next slices: arrays named as in slices.npz."""
        counts = parse_counts(arrays[COUNTS])
        self._digest.add(counts)
        self._digest.add_labels(arrays)
        self._shards.add({**arrays, COUNTS: counts})

    def close(self) -> None:
        """Write what is held, then the description with the fingerprint of everything."""
        self._shards.close()
        described = asdict(replace(self._description, fingerprint=self._digest.finish()))
        (self._directory / DESCRIPTION_NAME).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")


@contextmanager
def write_cohort(directory: Path, description: CohortDescription) -> Iterator[CohortWriter]:
    """Lend a writer whose cohort takes its place, over one that is there, when the block succeeds; else nothing does.

    Raises
    ------
    CohortError
        As `check_destination` does.
    OSError
        The disk is full.
    """
    check_destination(directory)
    with staged(directory, _publish) as staging:
        writer = CohortWriter(staging, description)
        yield writer
        writer.close()


def save_cohort(cohort: Cohort, directory: Path) -> None:
    """Write a cohort, replacing the one that is there; raise as `write_cohort` does."""
    with write_cohort(directory, cohort.description) as writer:
        writer.add(cohort.arrays())


def load_cohort(directory: Path) -> Cohort:
    """Read a cohort, in one file of slices or in many; at most one file's slices are in memory twice.

    Raises
    ------
    CohortError
        The directory holds no cohort, a file is missing or broken, or the slices are not those cohort.json describes.
    """
    description = load_description(directory)
    files = find_slices_files(directory)
    check_complete(files, directory)
    others = read_labels(files)
    check_names([COUNTS, *others])
    digest = Fingerprint(description.pixel_spacing_mm)
    counts = _join_counts(files, len(others[LABELS[0]]), digest)
    cohort = assemble(counts, others, description, digest)
    if description.fingerprint != cohort.description.fingerprint:
        raise CohortError(
            f"{directory}: the slices have fingerprint {cohort.description.fingerprint[:12]}, {DESCRIPTION_NAME} says "
            f"{description.fingerprint[:12] or 'none'}; a file is missing, or is not as it was written: write it again"
        )
    return cohort


def _join_counts(files: list[Path], slices: int, digest: Fingerprint) -> Counts:
    """Fill one array of all counts, file by file."""
    joined: Counts | None = None
    filled = 0
    for path, read in zip(files, read_counts(files), strict=True):
        counts = parse_counts(read)
        digest.add(counts)
        if joined is None:
            if len(files) == 1:
                return counts
            joined = _make_room((slices, *counts.shape[1:]))
        if filled + len(counts) > slices:
            raise CohortError(f"{path} holds more slices than labels; write the cohort again")
        joined[filled : filled + len(counts)] = counts
        filled += len(counts)
    if joined is None or filled != slices:
        raise CohortError(f"{files[0].parent} has {slices} labels for {filled} slices; write the cohort again")
    return joined


def _make_room(shape: tuple[int, ...]) -> Counts:
    try:
        return np.empty(shape, dtype=np.float32)
    except MemoryError:
        needed = 4 * math.prod(shape) / 1e9
        raise CohortError(f"{shape[0]} slices need {needed:.0f} GB of memory at once; use a smaller cohort") from None


def _publish(staging: Path, directory: Path) -> None:
    if not directory.exists():
        staging.rename(directory)
        return
    for stale in [directory / DESCRIPTION_NAME, *find_slices_files(directory)]:
        stale.unlink(missing_ok=True)
    remove_pictures(directory / FIGURES_NAME)  # of the cohort that was here
    # The description last: a directory without it is no cohort, so nobody reads half of one.
    for path in [*find_slices_files(staging), staging / DESCRIPTION_NAME]:
        path.replace(directory / path.name)


def load_description(directory: Path) -> CohortDescription:
    """Read what a cohort says of itself, without its slices; raise `CohortError` where that cannot be read."""
    if not directory.is_dir():
        raise CohortError(f"{directory} is not a directory; make a cohort with `synspect cohort simulate {directory}`")
    path = directory / DESCRIPTION_NAME
    try:
        with path.open("rb") as file:
            loaded = json.loads(file.read(_MAX_DESCRIPTION))  # what is longer ends in mid-air, and is refused
    except FileNotFoundError:
        raise CohortError(f"{path} is missing; simulate or import the cohort again") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CohortError(f"{path} is not readable JSON ({error}); simulate or import the cohort again") from error
    known = {entry.name for entry in fields(CohortDescription)}
    if not isinstance(loaded, dict) or not set(loaded) <= known:
        raise CohortError(f"{path} does not describe a cohort of this version of synspect; write the cohort again")
    try:
        return CohortDescription(**loaded)
    except (TypeError, CohortError) as error:
        raise CohortError(f"{path}: {error}; simulate or import the cohort again") from None
