"""Numbers that a user asks for: whole or real and within bounds, or one sentence that says what was got."""

import math

import numpy as np

from spect.errors import RequestError


def check_whole(name: str, value: object, *, low: int, high: int, hint: str = "") -> int:
    """Return an integer from `low` to `high`; raise `RequestError` for anything else."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or not low <= value <= high:
        raise RequestError(f"{name} must be an integer from {low} to {high}, got {value!r:.60}{hint}")
    return int(value)


def check_length_mm(name: str, value: object) -> float:
    """Return a length above zero; raise `RequestError` for anything else."""
    length_mm = check_real(name, value)
    if not 0 < length_mm < math.inf:
        raise RequestError(f"{name} must be a positive length in mm, got {value!r:.60}")
    return length_mm


def check_real(name: str, value: object) -> float:
    """Return a number, of any size; raise `RequestError` for what is none."""
    if not isinstance(value, int | float | np.integer | np.floating) or isinstance(value, bool):
        raise RequestError(f"{name} must be a number, got {value!r:.60}")
    return float(value)
