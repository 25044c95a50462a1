"""What the parts of a cohort must be: words, a spacing, one entry a slice, every patient in one split."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spect.errors import CohortError

TRUE_RATIO = "left_right_ratio"  # of flow, before the camera: what `describe` holds the measured ratio against
MAX_WORD = 200  # characters of a name, a unit or a label
SPACING_RANGE_MM = (0.01, 1000.0)  # beyond it nothing can be measured
_SHA256 = re.compile("[0-9a-f]{64}")


def check_word(name: str, word: object) -> None:
    """Raise `CohortError` where this is not one line of printable text: it is printed and drawn."""
    if not isinstance(word, str) or not word.isprintable() or len(word) > MAX_WORD:
        raise CohortError(f"{name} must be one printable line of at most {MAX_WORD} characters, got {_tell(word)}")


def check_spacing(spacing_mm: object) -> None:
    """Raise `CohortError` where this is no pixel spacing."""
    low, high = SPACING_RANGE_MM
    is_number = isinstance(spacing_mm, int | float) and not isinstance(spacing_mm, bool)
    if not is_number or not low <= spacing_mm <= high:  # type: ignore[operator]  # also refuses NaN
        raise CohortError(f"pixel_spacing_mm must be a number of {low:g} to {high:g} mm, got {_tell(spacing_mm)}")


def check_seed_or_none(seed: object) -> None:
    """Raise `CohortError` where this is neither a whole number nor None."""
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool)):
        raise CohortError(f"seed must be a whole number or null, got {_tell(seed)}")


def check_fingerprint(fingerprint: object) -> None:
    """Raise `CohortError` where this is neither a sha256 in hexadecimal digits nor empty."""
    if not isinstance(fingerprint, str) or (fingerprint and not _SHA256.fullmatch(fingerprint)):
        raise CohortError(f"fingerprint must be a sha256 of 64 hexadecimal digits, got {_tell(fingerprint)}")


def check_sizes(arrays: Mapping[str, NDArray[Any]]) -> None:
    """Raise `CohortError` where an array has not one entry a slice, a whole picture under the name counts."""
    shapes = {name: array.shape for name, array in arrays.items()}
    wrong = {name: shape for name, shape in shapes.items() if len(shape) != (3 if name == "counts" else 1)}
    if wrong or len({shape[0] for shape in shapes.values()}) != 1:
        told = ", ".join(f"{name} {shape}" for name, shape in (wrong or shapes).items())
        raise CohortError(f"every array of a cohort needs one entry a slice, got the shapes {told}; write it again")


def check_labels(labels: Mapping[str, NDArray[Any]]) -> None:
    """Raise `CohortError` where a label of a slice is no word, or none that can be printed."""
    for name, values in labels.items():
        if values.dtype.kind != "U":
            raise CohortError(f"{name} must hold words, got {values.dtype}; write the cohort again")
        try:
            words = np.unique(values).tolist()
        except ValueError:  # a number that is no character
            raise CohortError(f"{name} holds impossible characters; write the cohort again") from None
        for word in words:
            check_word(name, word)


def check_truth(truth: Mapping[str, NDArray[Any]]) -> None:
    """Raise `CohortError` where the simulator's true left/right ratio is not a positive number for every slice."""
    ratio = truth.get(TRUE_RATIO)
    if ratio is None:
        return
    if ratio.dtype.kind not in "uif" or not ((ratio > 0) & np.isfinite(ratio)).all():
        raise CohortError(f"truth_{TRUE_RATIO} must hold positive numbers; simulate the cohort again")


def check_patients(patient: NDArray[np.str_], split: NDArray[np.str_]) -> None:
    """Raise `CohortError` where slices of one patient lie in two splits: nobody is trained on and tested with."""
    pairs = set(zip(patient.tolist(), split.tolist(), strict=True))
    split_of: dict[str, str] = {}
    for name, one in sorted(pairs):
        if split_of.setdefault(name, one) != one:
            splits = len(pairs) - len({first for first, _ in pairs})
            more = "" if splits == 1 else f" (and {splits - 1} more like that)"
            raise CohortError(
                f"a patient has slices in {split_of[name]} and in {one}{more}; give all slices of a patient one split"
            )


def _tell(value: object) -> str:
    """Repeat a value in one short line."""
    told = ascii(value) if not isinstance(value, int) else f"{value:.6g}" if abs(value) < 2**1000 else "a huge number"
    return told if len(told) <= 60 else f"{told[:60]}..."
