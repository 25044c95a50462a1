"""Flag slices a person should look at, and find scans that occur twice; nothing is dropped for a flag.

Limits were measured on 452 simulated slices of 200 patients at 4 mm, and on the three planes of SPM's SPECT.nii.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spect.formats.field import fit_to_field
from spect.outline import SIGMA_PER_FWHM, trace_outline
from spect.slices import Counts

# Simulated 62 to 261 cm2, the template up to 270; heads differ by a fifth and windows of pictures by more.
AREA_CM2 = (30.0, 400.0)
# Of the pixels over 15 % of the top, those at the top: at most 0.3 % unclipped; cut at 90 % of the top, 95 % have more.
CLIPPED_SHARE = 0.01
# Different patients of one condition correlate up to 0.993; a copy with 5 % of noise, in 8 bits or on another matrix by
# 0.9998. A copy shifted by a millimetre (0.9989) is not found.
NEAR_CORRELATION = 0.999
MAX_COMPARED = 20_000  # slices of a condition: the comparison grows by the square
# Fewer say too little about what is usual: of 8, 4 % of upright slices were flagged; of 20 and more, 0 to 3 %.
MINIMUM_TO_COMPARE = 20

_DESCRIPTOR = 32  # pixels a side, of 8 mm
_BLUR_MM = 9.4
_TOP = 0.999
_BLOCK = 2048

Flags = tuple[str, ...]


class Flag(StrEnum):
    """What a person should look at."""

    NO_BRAIN = "no brain found"
    AREA = "brain of an implausible area"
    CLIPPED = "clipped at the top"
    CROPPED = "cropped by the edge of the picture"
    UPSIDE_DOWN = "perhaps upside down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """Two slices that show the same scan; exact ones may be of two conditions, one of which is wrong then."""

    first: int
    second: int
    exact: bool  # False: the same but for noise, scale or resampling


def flag_slices(counts: Counts, *, pixel_spacing_mm: float) -> tuple[Flags, ...]:
    """Return what stands out in each slice by itself, in the pixels it was acquired in."""
    return tuple(tuple(_flags_of(one, pixel_spacing_mm)) for one in counts)


def _flags_of(counts: NDArray[np.float32], pixel_spacing_mm: float) -> Iterator[str]:
    top = float(counts.max())
    if not top > 0:
        yield Flag.NO_BRAIN.value
        return
    if np.count_nonzero(counts >= _TOP * top) > CLIPPED_SHARE * np.count_nonzero(counts > 0.15 * top):
        yield Flag.CLIPPED.value
    outline = trace_outline(counts, pixel_spacing_mm)
    if outline is None:
        yield Flag.NO_BRAIN.value
        return
    low, high = AREA_CM2
    if not low <= outline.area_mm2 / 100 <= high:
        yield Flag.AREA.value
    mask = outline.mask
    if mask[[0, -1]].any() or mask[:, [0, -1]].any():
        yield Flag.CROPPED.value


def find_upside_down(counts: Counts, level: NDArray[np.str_], *, pixel_spacing_mm: float) -> NDArray[np.bool_]:
    """Return (n,) which slices resemble the others of their level more when front and back are exchanged.

    Simulated: 0 to 2 % of upright slices are flagged (CER 0.7, BG 0, COR 2.1), 95 to 100 % of turned ones where a tenth
    is turned. A level turned as a whole, or with fewer than `MINIMUM_TO_COMPARE` slices, is not found. No outline shape
    serves as an absolute measure: simulated brains widen to the back, SPM's template at BG and COR does not.
    """
    found = np.zeros(len(counts), dtype=bool)
    for word in sorted(set(level.tolist())):
        rows = np.flatnonzero(level == word)
        if len(rows) >= MINIMUM_TO_COMPARE:
            found[rows] = _turned(np.stack([_centred(counts[row], pixel_spacing_mm) for row in rows]))
    return found


def _turned(slices: NDArray[np.float64]) -> NDArray[np.bool_]:
    others = slices.sum(axis=0) - slices
    upright = (slices * others).sum(axis=(1, 2))
    turned: NDArray[np.bool_] = (slices[:, ::-1] * others).sum(axis=(1, 2)) > upright
    return turned


def _centred(counts: NDArray[np.float32], pixel_spacing_mm: float) -> NDArray[np.float64]:
    """Return the brain alone, moved to the middle, small and standardised: turning it moves it nowhere."""
    outline = trace_outline(counts, pixel_spacing_mm)
    if outline is None:
        return np.zeros((_DESCRIPTOR, _DESCRIPTOR))
    rows, columns = np.nonzero(outline.mask)
    middle = np.array([rows.min() + rows.max(), columns.min() + columns.max()]) / 2
    moved = ndimage.shift(counts * outline.parts, (np.array(counts.shape) - 1) / 2 - middle, order=1)
    small = fit_to_field(moved[None], pixel_spacing_mm=pixel_spacing_mm, matrix=_DESCRIPTOR)[0].astype(np.float64)
    return _standardised(small)


def _standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    spread = values - values.mean()
    norm = float(np.linalg.norm(spread))
    standardised: NDArray[np.float64] = spread / (norm or 1.0)
    return standardised


def find_duplicates(counts: Counts, condition: NDArray[np.int64], *, pixel_spacing_mm: float) -> tuple[Duplicate, ...]:
    """Return pairs of slices equal in every pixel, and pairs of one condition that correlate over `NEAR_CORRELATION`.

    Each slice is paired with the first that it repeats. Conditions of more than `MAX_COMPARED` slices are searched for
    exact copies only.
    """
    found = list(_exact(counts))
    exact = {pair.second for pair in found}
    for index in sorted(set(condition.tolist())):
        rows = np.flatnonzero(condition == index)
        if len(rows) <= MAX_COMPARED:
            found += _near(counts, rows[[row not in exact for row in rows.tolist()]], pixel_spacing_mm)
    return tuple(sorted(found, key=lambda pair: (pair.second, pair.first)))


def _exact(counts: Counts) -> Iterator[Duplicate]:
    first_of: dict[bytes, int] = {}
    for row in range(len(counts)):
        digest = hashlib.sha256(np.ascontiguousarray(counts[row]).data).digest()
        first = first_of.setdefault(digest, row)
        if first != row:
            yield Duplicate(first=first, second=row, exact=True)


def _near(counts: Counts, rows: NDArray[np.int64], pixel_spacing_mm: float) -> Iterator[Duplicate]:
    if not len(rows):
        return
    described = np.stack([_described(counts[row], pixel_spacing_mm) for row in rows.tolist()])
    for start in range(0, len(rows), _BLOCK):
        alike = described[start : start + _BLOCK] @ described[: start + _BLOCK].T > NEAR_CORRELATION
        for offset in np.flatnonzero(alike.sum(axis=1) > 1).tolist():
            first, second = int(np.flatnonzero(alike[offset])[0]), start + offset
            if first < second:
                yield Duplicate(first=int(rows[first]), second=int(rows[second]), exact=False)


def _described(counts: NDArray[np.float32], pixel_spacing_mm: float) -> NDArray[np.float32]:
    blurred = ndimage.gaussian_filter(counts, _BLUR_MM * SIGMA_PER_FWHM / pixel_spacing_mm)
    small = fit_to_field(blurred[None], pixel_spacing_mm=pixel_spacing_mm, matrix=_DESCRIPTOR)[0]
    described: NDArray[np.float32] = _standardised(small.astype(np.float64)).ravel().astype(np.float32)
    return described


def join_patients(patient: NDArray[np.str_], duplicates: tuple[Duplicate, ...]) -> NDArray[np.str_]:
    """Return patients (n,) with those that share a scan under one name: no copy is trained on and tested with."""
    stands_for: dict[str, str] = {}

    def name_of(one: str) -> str:
        while one in stands_for:
            one = stands_for[one]
        return one

    for pair in duplicates:
        low, high = sorted((name_of(str(patient[pair.first])), name_of(str(patient[pair.second]))))
        if low != high:
            stands_for[high] = low
    return np.array([name_of(one) for one in patient.tolist()])
