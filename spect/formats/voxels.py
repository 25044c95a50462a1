"""What any volume or picture of an acquisition must hold to be counts, and what is mended with a note."""

import numpy as np
from numpy.typing import NDArray

from spect.errors import FormatError

# Filtered back-projection and resampling ring a little below zero; more than that is another quantity.
RINGING_SHARE = 0.1


def clean_counts(voxels: NDArray[np.float32], name: str) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Return finite counts >= 0 and what was mended; raise `FormatError` for what cannot be counts."""
    low, high = float(voxels.min()), float(voxels.max())
    if not np.isfinite([low, high]).all() or high <= 0:
        raise FormatError(f"{name} spans {low:g} to {high:g}; counts must be finite and not all zero")
    if low < -RINGING_SHARE * high:
        raise FormatError(f"{name} goes down to {low:g} (top {high:g}); counts are not negative: is it a difference?")
    notes = (f"negative values down to {low:g} became 0",) if low < 0 else ()
    return np.maximum(voxels, 0), notes
