"""What is known of a batch before any slice of it is made: all that a writer needs to begin.

Writers take a heading and the slices in consecutive parts, and yield the file in chunks: a batch of any size is written
with the memory of one part. A batch that is there as a whole is the same stream, of one part: the bytes are equal.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from spect.errors import SlicesError
from spect.slices import DEFAULT_UNIT, Counts, SyntheticBatch

LABELS = ("level", "pattern", "seed", "index")


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """Labels, size and origin of n slices that may not have been made yet."""

    level: NDArray[np.str_]  # (n,)
    pattern: NDArray[np.str_]  # (n,)
    seed: NDArray[np.int64]  # (n,)
    index: NDArray[np.int64]  # (n,)
    shape: tuple[int, int]  # rows, columns
    pixel_spacing_mm: float
    model_version: str
    model_sha256: str
    intensity_unit: str = DEFAULT_UNIT
    measured: tuple[str, ...] = ()  # what every part brings beside its counts

    def __post_init__(self) -> None:
        sizes = {len(getattr(self, name)) for name in LABELS}
        if len(sizes) != 1 or 0 in sizes:
            raise SlicesError(f"a heading needs one label a slice, and a slice, got lengths {sorted(sizes)}")

    def __len__(self) -> int:
        return len(self.index)

    @classmethod
    def of(cls, batch: SyntheticBatch) -> Self:
        """Return the heading of a batch that has been made."""
        rows, columns = batch.counts.shape[1:]
        return cls(
            level=batch.level,
            pattern=batch.pattern,
            seed=batch.seed,
            index=batch.index,
            shape=(rows, columns),
            pixel_spacing_mm=batch.pixel_spacing_mm,
            model_version=batch.model_version,
            model_sha256=batch.model_sha256,
            intensity_unit=batch.intensity_unit,
            measured=tuple(batch.measured),
        )

    def part(self, counts: Counts, *, first: int = 0) -> SyntheticBatch:
        """Put the labels of slices `first` and following beside their counts (k, rows, columns), not measured yet."""
        rows = slice(first, first + len(counts))
        return SyntheticBatch(
            counts=counts,
            level=self.level[rows],
            pattern=self.pattern[rows],
            seed=self.seed[rows],
            index=self.index[rows],
            pixel_spacing_mm=self.pixel_spacing_mm,
            model_version=self.model_version,
            model_sha256=self.model_sha256,
            intensity_unit=self.intensity_unit,
        )


Writer = Callable[[Heading, Iterable[SyntheticBatch]], Iterator[bytes]]


def check_parts(heading: Heading, parts: Iterable[SyntheticBatch]) -> Iterator[SyntheticBatch]:
    """Pass consecutive parts on; raise `SlicesError` where they are not, whole and in order, what the heading says."""
    done = 0
    for part in parts:
        rows = slice(done, done + len(part))
        done += len(part)
        same_labels = all(np.array_equal(getattr(part, name), getattr(heading, name)[rows]) for name in LABELS)
        same_origin = all(
            getattr(part, name) == getattr(heading, name)
            for name in ("pixel_spacing_mm", "model_version", "model_sha256", "intensity_unit")
        )
        if not same_labels or not same_origin or tuple(part.measured) != heading.measured:
            raise SlicesError(f"slices up to {done} of {len(heading)} are not those of the heading; make them again")
        if part.counts.shape[1:] != heading.shape:
            raise SlicesError(f"slices are {part.counts.shape[1:]}, the heading says {heading.shape}; make them again")
        yield part
    if done != len(heading):
        raise SlicesError(f"{done} slices came of {len(heading)}; make the whole batch again")


def join_parts(heading: Heading, parts: Iterable[SyntheticBatch]) -> SyntheticBatch:
    """Return the whole batch, for formats that need every slice before their first byte."""
    return SyntheticBatch.concatenate(list(check_parts(heading, parts)))


def write_whole(write: Writer, batch: SyntheticBatch) -> bytes:
    """Return the bytes of a batch that has been made."""
    return b"".join(write(Heading.of(batch), [batch]))
