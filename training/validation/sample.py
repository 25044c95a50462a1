"""A measured sample of slices: counts with labels, patients, and everything the quantifier says of them."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray

from cohort.description.measuring import THRESHOLDS
from spect.cores import count_cores
from spect.errors import QuantificationError, SlicesError
from spect.features import describe_slice
from spect.quantify import DEFAULT_THRESHOLD, Regions, check_measurable, mask_regions, measure, require_regions
from spect.slices import Counts
from training.validation.standard_space import StandardSlice, to_standard_space

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
    standard: StandardSlice  # (n, 48, 40), the slices in `standard_space`
    measures: Mapping[str, Vector]  # the features, the outline's area and what is read at each threshold, each (n,)
    pixel_spacing_mm: float

    def __post_init__(self) -> None:
        sizes = {len(self.counts), len(self.condition_index), len(self.patient), len(self.outlines), len(self.standard)}
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
            standard=self.standard[rows],
            measures={name: values[rows] for name, values in self.measures.items()},
            pixel_spacing_mm=self.pixel_spacing_mm,
        )


Measured = tuple[dict[str, Vector], NDArray[np.bool_], StandardSlice]


def log_ratio_at(threshold: float) -> str:
    """Name of the log left/right ratio read at a threshold."""
    return f"log_left_right_ratio_at_{round(100 * threshold)}_percent"


def mask_counts_at(threshold: float) -> str:
    """Name of the mean counts in the mirror union at a threshold."""
    return f"mean_counts_in_mask_at_{round(100 * threshold)}_percent"


def measure_counts(counts: Counts, pixel_spacing_mm: float) -> Measured:
    """Measures, outlines and standard slices of counts (n, m, m), on this core; outline and midline are found once."""
    stack = check_measurable(counts, pixel_spacing_mm=pixel_spacing_mm)
    rows, outlines, standard = [], [], []
    for index, one in enumerate(stack):
        regions = require_regions(index, one, pixel_spacing_mm, DEFAULT_THRESHOLD)
        rows.append(_measure_slice(index, one, regions))
        outlines.append(regions.outline.mask)
        standard.append(to_standard_space(one, regions))
    measures = {name: np.array([row[name] for row in rows], dtype=np.float64) for name in rows[0]}
    return measures, np.stack(outlines), np.stack(standard)


def _measure_slice(index: int, counts: NDArray[np.float32], regions: Regions) -> dict[str, float]:
    row = {**describe_slice(counts, regions), OUTLINE_AREA: regions.outline.area_mm2}
    for threshold in THRESHOLDS:
        masked = mask_regions(counts, regions.outline, regions.midline, threshold)
        if masked is None:
            raise QuantificationError(f"slice {index}: a hemisphere without counts above {threshold:g} of the slice's")
        measured = measure(masked, counts)
        row[log_ratio_at(threshold)] = float(np.log(measured.left_right_ratio))
        row[mask_counts_at(threshold)] = measured.mean_counts_in_mask
    return row


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
    for part in _measure_chunks(chunks, pixel_spacing_mm, workers=workers or count_cores()):
        parts.append(part)
        if on_progress is not None:
            on_progress(len(part[1]))
    return Sample(
        counts=counts,
        condition_index=condition_index,
        patient=patient,
        outlines=np.concatenate([outlines for _, outlines, _ in parts]),
        standard=np.concatenate([standard for _, _, standard in parts]),
        measures={name: np.concatenate([measures[name] for measures, _, _ in parts]) for name in parts[0][0]},
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
