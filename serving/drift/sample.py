"""Which of the served slices the drift monitor measures, and how much of a machine it may take."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spect.conditions import Condition
from spect.errors import ConfigurationError

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: SplitMix64's step


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorSettings:
    """What an operator can set of the monitor.

    Attributes
    ----------
    sample_every
        One slice in this many is measured; 1 measures all.
    window_slices
        Slices of a window: 32, 64, ... 2048. Larger windows see smaller drift, later. Where the model's profile does
        not support the size, its next smaller one is taken.
    cpu_share
        Of one core, for measuring, in each worker.
    queue_slices
        Slices that may wait to be measured; 512 of 128 x 128 take 33 MB.
    """

    sample_every: int = 64
    window_slices: int = 512
    cpu_share: float = 0.05
    queue_slices: int = 512

    def __post_init__(self) -> None:
        if self.sample_every < 1 or self.window_slices < 1 or self.queue_slices < 1:
            raise ConfigurationError(
                f"sample_every, window_slices and queue_slices must be at least 1, got {self.sample_every}, "
                f"{self.window_slices} and {self.queue_slices}"
            )
        if not 0 < self.cpu_share <= 1:
            raise ConfigurationError(f"cpu_share must be above 0 and at most 1, got {self.cpu_share}")


def choose_rows(condition: Condition, seed: int, indices: NDArray[np.int64], sample_every: int) -> NDArray[np.int64]:
    """Choose which of a seed's slices are measured: those whose hash is divisible by `sample_every`.

    A hash instead of a draw: a slice is chosen or passed over alike in every worker and whenever it is made again.
    """
    start = np.array([seed], dtype=np.uint64) + np.array([condition.index], dtype=np.uint64) * _GOLDEN
    hashed = _mix(_mix(start) ^ _mix(indices.astype(np.uint64)))
    return np.flatnonzero(hashed % np.uint64(sample_every) == 0)


def _mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64 bits, modulo 2^64: the finaliser of SplitMix64 (Steele, Lea & Flood 2014)."""
    value = value + _GOLDEN
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
