"""A measured sample of slices: counts with labels, patients, and everything the quantifier says of them."""

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray

from spect.errors import SlicesError
from spect.features import compute_features
from spect.outline import trace_outline
from spect.slices import Counts

Vector = NDArray[np.float64]

OUTLINE_AREA = "outline_area_mm2"
CHUNK_SLICES = 125  # small enough to share among cores, large enough to hide the hand-over
PARALLEL_FROM = 1000  # below this, starting processes costs more than it saves


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Slices with their labels and measures, all of length n."""

    counts: Counts  # (n, m, m)
    condition_index: NDArray[np.int64]  # (n,), Condition.index
    patient: NDArray[np.str_]  # (n,); a synthetic slice is its own patient
    outlines: NDArray[np.bool_]  # (n, m, m)
    measures: Mapping[str, Vector]  # the features and the outline's area, each (n,)
    pixel_spacing_mm: float

    def __post_init__(self) -> None:
        sizes = {len(self.counts), len(self.condition_index), len(self.patient), len(self.outlines)}
        sizes |= {len(values) for values in self.measures.values()}
        if len(sizes) != 1:
            raise SlicesError(f"every array of a sample needs one entry a slice, got lengths {sorted(sizes)}")

    def __len__(self) -> int:
        return len(self.counts)

    def take(self, rows: NDArray[np.intp]) -> "Sample":
        """Return the slices at these positions."""
        return Sample(
            counts=self.counts[rows],
            condition_index=self.condition_index[rows],
            patient=self.patient[rows],
            outlines=self.outlines[rows],
            measures={name: values[rows] for name, values in self.measures.items()},
            pixel_spacing_mm=self.pixel_spacing_mm,
        )


Measured = tuple[dict[str, Vector], NDArray[np.bool_]]


def measure_counts(counts: Counts, pixel_spacing_mm: float) -> Measured:
    """Features, outline area and outlines of counts (n, m, m), on this core."""
    measures = dict(compute_features(counts, pixel_spacing_mm=pixel_spacing_mm))
    traced = [trace_outline(one, pixel_spacing_mm) for one in counts]
    outlines = np.stack([found.mask for found in traced if found is not None])  # the features need an outline too
    measures[OUTLINE_AREA] = outlines.sum(axis=(1, 2)) * pixel_spacing_mm**2
    return measures, outlines


def measure_sample(
    counts: Counts,
    *,
    condition_index: NDArray[np.int64],
    patient: NDArray[np.str_],
    pixel_spacing_mm: float,
    workers: int | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Sample:
    """Measure counts (n, m, m), on all cores where there are many; `on_progress` hears of slices done."""
    chunks = [counts[first : first + CHUNK_SLICES] for first in range(0, len(counts), CHUNK_SLICES)]
    parts: list[Measured] = []
    for part in _measure_chunks(chunks, pixel_spacing_mm, workers=workers or os.cpu_count() or 1):
        parts.append(part)
        if on_progress is not None:
            on_progress(len(part[1]))
    return Sample(
        counts=counts,
        condition_index=condition_index,
        patient=patient,
        outlines=np.concatenate([outlines for _, outlines in parts]),
        measures={name: np.concatenate([measures[name] for measures, _ in parts]) for name in parts[0][0]},
        pixel_spacing_mm=pixel_spacing_mm,
    )


def _measure_chunks(chunks: list[Counts], pixel_spacing_mm: float, *, workers: int) -> Iterator[Measured]:
    spacings = [pixel_spacing_mm] * len(chunks)
    if workers == 1 or sum(map(len, chunks)) < PARALLEL_FROM:
        yield from map(measure_counts, chunks, spacings)
        return
    # Fresh processes: forking one that holds threads of torch or ONNX Runtime can hang.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(measure_counts, chunks, spacings)
