"""The files that hold a cohort's slices: one slices.npz, or numbered ones where there are many; read and written here.

Knows names, order and sizes; what the arrays mean is `cohort.store`'s.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spect.errors import CohortError, FormatError
from spect.formats import npz

SLICES_NAME = "slices.npz"
# More are cut into several files: 67 MB each at matrix 64, 268 MB at 128, which bounds what a writer holds.
SLICES_PER_FILE = 4096
MAX_FILE_BYTES = 2**30  # inflated: four times what a file of so many slices of 128 x 128 holds
COUNTS = "counts"
# Stands in every file of slices, one word: taken out of its cohort, a file still says that it is no scan as acquired.
NOTICE, NOTICE_WORDS = "notice", "slices of a synspect cohort"
_SHARD_NAME = re.compile(r"slices-(\d+)\.npz")

Arrays = dict[str, NDArray[Any]]


class ShardWriter:
    """Gathers blocks of slices and writes them, in order, so many a file; holds one file's slices at most."""

    def __init__(self, directory: Path, *, slices_per_file: int | None = None) -> None:
        self._directory = directory
        self._slices_per_file = slices_per_file or SLICES_PER_FILE
        self._counts: NDArray[np.float32] | None = None  # (slices_per_file, rows, columns); pages come with use
        self._others: list[Arrays] = []
        self._held = 0
        self._files = 0

    def add(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take a block of slices: every array has one entry a slice, counts are float32 (n, rows, columns)."""
        start, slices = 0, len(arrays[COUNTS])
        while start < slices:
            end = min(slices, start + self._slices_per_file - self._held)
            self._hold({name: array[start:end] for name, array in arrays.items()})
            start = end
            if self._held == self._slices_per_file:
                self._write()

    def close(self) -> None:
        """Write what is held; a single file takes the plain name."""
        if self._held:
            self._write()
        if self._files == 1:
            (self._directory / _shard_name(0)).rename(self._directory / SLICES_NAME)

    def _hold(self, block: Arrays) -> None:
        counts = block.pop(COUNTS)
        if self._counts is None:
            self._counts = np.empty((self._slices_per_file, *counts.shape[1:]), dtype=np.float32)
        self._counts[self._held : self._held + len(counts)] = counts
        self._others.append(block)
        self._held += len(counts)

    def _write(self) -> None:
        if self._counts is None:
            return
        others = {name: np.concatenate([block[name] for block in self._others]) for name in self._others[0]}
        path = self._directory / _shard_name(self._files)
        notice = np.array(NOTICE_WORDS)
        np.savez(path, allow_pickle=False, **{COUNTS: self._counts[: self._held], NOTICE: notice}, **others)
        self._others, self._held, self._files = [], 0, self._files + 1


def _shard_name(number: int) -> str:
    return f"slices-{number:05d}.npz"


def find_slices_files(directory: Path) -> list[Path]:
    """Return the files of slices in a directory by their number; raise nothing, whatever is there."""
    if not directory.is_dir():
        return []
    numbered = [(number, path) for path in directory.iterdir() if (number := _number(path)) is not None]
    return [path for _, path in sorted(numbered)]


def _number(path: Path) -> int | None:
    if path.name == SLICES_NAME:
        return -1
    matched = _SHARD_NAME.fullmatch(path.name)
    return int(matched[1]) if matched else None


def check_complete(files: list[Path], directory: Path) -> None:
    """Raise `CohortError` where there is no file, one is missing in between, or two layouts lie side by side."""
    if not files:
        raise CohortError(f"{directory} holds no {SLICES_NAME}; simulate or import the cohort again")
    if len(files) == 1 and files[0].name == SLICES_NAME:
        return
    if files[0].name == SLICES_NAME:
        raise CohortError(f"{directory} holds {SLICES_NAME} and {files[1].name}; keep the files of one cohort only")
    for expected, path in enumerate(files):
        if _number(path) != expected:
            raise CohortError(
                f"{directory / _shard_name(expected)} is missing; bring it back or write the cohort again"
            )


def read_labels(files: list[Path]) -> Arrays:
    """Join every array but the counts, which are small."""
    parts = [_read(path, keep_counts=False) for path in files]
    for path, part in zip(files, parts, strict=True):
        if set(part) != set(parts[0]):
            raise CohortError(f"{path} holds other arrays than {files[0].name}; write the cohort again")
    try:
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    except ValueError as error:
        where = files[0].parent
        raise CohortError(f"{where}: its slices files do not fit together ({error}); write it again") from error


def read_counts(files: list[Path]) -> Iterator[NDArray[Any]]:
    """Yield the counts of every file, in order; one file's are in memory at a time."""
    for path in files:
        arrays = _read(path, keep_counts=True)
        if COUNTS not in arrays:
            raise CohortError(f"{path} holds no array {COUNTS}; simulate or import the cohort again")
        yield arrays[COUNTS]


def _read(path: Path, *, keep_counts: bool) -> Arrays:
    try:
        return npz.read_arrays(
            path, name="it", max_bytes=MAX_FILE_BYTES, wanted=_is_counts if keep_counts else _is_label
        )
    except FormatError as error:
        raise CohortError(f"{path}: {error}") from error


def _is_counts(name: str) -> bool:
    return name == COUNTS


def _is_label(name: str) -> bool:
    return name not in {COUNTS, NOTICE}
