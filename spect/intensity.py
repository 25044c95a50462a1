"""Map counts to the network's range and back; the only module that knows both."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spect.errors import IntensityError

# Room above the brightest training slice: tanh approaches 1 and never reaches it, and the brightest of 4,000 other
# patients was 1.18 times the brightest of 312 training patients (simulated).
HEADROOM = 1.25

ROUNDING = 1e-6  # share of max_counts: ten times what was seen of ONNX Runtime's tanh on a CPU


@dataclass(frozen=True, slots=True, kw_only=True)
class IntensityScale:
    """Linear map between counts per pixel in [0, max_counts] and the network's [-1, 1]."""

    max_counts: float

    def __post_init__(self) -> None:
        if not 0 < self.max_counts < np.inf:  # also refuses NaN
            raise IntensityError(f"max_counts must be positive and finite, got {self.max_counts!r}")

    @classmethod
    def above(cls, counts: NDArray[np.float32]) -> "IntensityScale":
        """Scale whose top stands `HEADROOM` times above the brightest of counts (n, rows, columns)."""
        return cls(max_counts=float(counts.max()) * HEADROOM)

    def to_model_images(self, counts: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map counts (n, rows, columns) to model images (n, 1, rows, columns)."""
        scaled = counts * np.float32(2 / self.max_counts) - np.float32(1)
        return scaled[:, None].astype(np.float32, copy=False)

    def to_counts(self, model_images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map model images (n, 1, rows, columns) to counts (n, rows, columns).

        What a kernel's tanh passes -1 by in rounding becomes 0; anything further below stays negative, to be refused.
        """
        scaled: NDArray[np.float32] = (model_images[:, 0] + np.float32(1)) * np.float32(self.max_counts / 2)
        scaled[(scaled < 0) & (scaled > -ROUNDING * self.max_counts)] = 0
        return scaled
