"""The small, sound scans that every damaged file starts from: a head brighter on the patient's left."""

import numpy as np

from tests.fuzz.case import Rng

AFFINE = np.array([[10.0, 0, 0, -80], [0, 10.0, 0, -95], [0, 0, 10.0, -72], [0, 0, 0, 1]])


def head_volume(rng: Rng) -> np.ndarray:
    """A head (x, y, z) of 17 x 21 x 18 voxels of 10 mm about the origin of `AFFINE`, as counts in int16."""
    x, y, z = (np.arange(n) * 10.0 + start for n, start in zip((17, 21, 18), AFFINE[:3, 3], strict=True))
    distance = (x[:, None, None] / 65) ** 2 + (y[:, None] / 85) ** 2 + (z / 95) ** 2
    bright = np.where(x[:, None, None] < 0, 110, 100) * float(rng.uniform(0.5, 2))
    return np.where(distance < 1, rng.poisson(np.broadcast_to(bright, distance.shape)), 0).astype(np.int16)


def head_slices(rng: Rng, slices: int = 3, matrix: int = 32) -> np.ndarray:
    """Slices (n, matrix, matrix) over 256 mm, row 0 anterior, as counts in float32."""
    places = (np.arange(matrix) - (matrix - 1) / 2) * 256 / matrix
    inside = (places[:, None] / 85) ** 2 + (places / 65) ** 2 < 1
    bright = inside * np.where(places > 0, 110, 100) * float(rng.uniform(0.5, 2))
    return rng.poisson(np.broadcast_to(bright, (slices, matrix, matrix))).astype(np.float32)
