"""The released model's own output, measured: what the drift check calls normal; drawn over all cores."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from registry.bundle.generator import ReleasedGenerator
from registry.bundle.manifest import Manifest
from spect.conditions import CONDITIONS, Condition
from spect.cores import count_cores
from spect.features import FEATURES, compute_features

OWN_OUTPUT_SEED = 20_000  # not the validation's: the profile describes other slices than the panel judged
CHUNK_SLICES = 250

Features = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class _Chunk:
    onnx_path: Path
    manifest_json: str
    condition_index: int
    start: int
    count: int


def measure_own_output(
    onnx_path: Path,
    manifest: Manifest,
    *,
    per_condition: int,
    workers: int | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> dict[Condition, Features]:
    """Generate slices 0 to per_condition - 1 of every condition from the graph and compute their features.

    Every process opens the graph once, with one thread; the result is the same for any number of them.
    """
    chunks = [
        _Chunk(onnx_path, manifest.model_dump_json(), condition.index, start, min(CHUNK_SLICES, per_condition - start))
        for condition in CONDITIONS
        for start in range(0, per_condition, CHUNK_SLICES)
    ]
    total = per_condition * len(CONDITIONS)
    parts: dict[Condition, list[Features]] = {condition: [] for condition in CONDITIONS}
    done = 0
    for chunk, features in zip(chunks, _measure_all(chunks, workers or count_cores()), strict=True):
        parts[CONDITIONS[chunk.condition_index]].append(features)
        done += chunk.count
        if on_progress is not None:
            on_progress("measuring the model's own output", done, total)
    return {
        condition: {name: np.concatenate([part[name] for part in measured]) for name in FEATURES}
        for condition, measured in parts.items()
    }


def _measure_all(chunks: list[_Chunk], workers: int) -> Iterator[Features]:
    if workers == 1:
        yield from map(_measure_chunk, chunks)
        return
    # Fresh processes: forking one that holds threads of torch or ONNX Runtime can hang.
    executor = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        yield from executor.map(_measure_chunk, chunks)
    finally:
        executor.shutdown(cancel_futures=True)


def _measure_chunk(chunk: _Chunk) -> Features:
    generator = _open_generator(chunk.onnx_path, chunk.manifest_json)
    batch = generator.generate(
        CONDITIONS[chunk.condition_index], seed=OWN_OUTPUT_SEED, start=chunk.start, count=chunk.count
    )
    return compute_features(batch.counts, pixel_spacing_mm=batch.pixel_spacing_mm)


@cache
def _open_generator(onnx_path: Path, manifest_json: str) -> ReleasedGenerator:
    return ReleasedGenerator.from_onnx(onnx_path, Manifest.model_validate_json(manifest_json), threads=1)
