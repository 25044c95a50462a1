"""Time the quantifier on one core: `python benchmarks/quantifier.py`."""

import time
from collections.abc import Callable

import numpy as np

from spect.features import compute_features
from spect.quantify import quantify, union_masks
from spect.slices import FIELD_MM, Counts

SLICES = 50
ROUNDS = 5


def main() -> None:
    rng = np.random.default_rng(0)
    print(f"{'matrix':>8} {'quantify':>10} {'union_masks':>12} {'features':>10}   ms of CPU a slice, best of {ROUNDS}")
    for matrix in (64, 128):
        counts = make_slices(rng, matrix)
        spacing = FIELD_MM / matrix
        times = [best_time_ms(work, counts, spacing) for work in (quantify, union_masks, compute_features)]
        print(f"{matrix:>8} {times[0]:>10.2f} {times[1]:>12.2f} {times[2]:>10.2f}")


def best_time_ms(work: Callable[..., object], counts: Counts, spacing: float) -> float:
    best = np.inf
    for _ in range(ROUNDS):
        start = time.process_time()
        work(counts, pixel_spacing_mm=spacing)
        best = min(best, time.process_time() - start)
    return 1000 * best / len(counts)


def make_slices(rng: np.random.Generator, matrix: int) -> Counts:
    """Make noisy ellipses of brain size, turned and shifted."""
    axis = (np.arange(matrix) - (matrix - 1) / 2) * FIELD_MM / matrix
    x, y = np.meshgrid(axis, axis)
    slices = []
    for angle, shift in zip(rng.uniform(-0.1, 0.1, SLICES), rng.uniform(-8, 8, SLICES), strict=True):
        across, along = x * np.cos(angle) + y * np.sin(angle) - shift, y * np.cos(angle) - x * np.sin(angle)
        inside = 1 / (1 + np.exp((np.hypot(across / 66, along / 84) - 1) * 30))
        slices.append(40 * inside * (1 + 0.08 * rng.standard_normal(x.shape)).clip(0))
    return np.array(slices, dtype=np.float32)


if __name__ == "__main__":
    main()
