"""What a file of slices gave: counts and whatever labels stood beside them; every reader returns it."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spect.slices import Counts

Words = NDArray[np.str_]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedSlices:
    """Slices read from one file; a label the file does not hold is None."""

    counts: Counts  # (n, rows, columns)
    level: Words | None = None  # (n,)
    pattern: Words | None = None  # (n,)
    patient: Words | None = None  # (n,)
    birth_date: str | None = field(default=None, repr=False)  # to tell two people of one number apart; never stored
    pixel_spacing_mm: float | None = None
    intensity_unit: str | None = None
    synthetic: bool = False  # the file says it came from a generator
    of_cohort: bool = False  # the file is a piece of a cohort, simulated or imported
    left_known: bool = True  # False: neither the file nor its format says which side is the patient's left
    notes: tuple[str, ...] = ()  # what reading had to mend, for the user to know

    def __len__(self) -> int:
        return len(self.counts)
