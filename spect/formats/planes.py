"""Where the three levels lie in a volume, and how an upright axial slice is cut from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spect.conditions import Level, parse_level
from spect.errors import FormatError, RequestError
from spect.slices import FIELD_MM, Counts

# MNI z in mm where the study's three levels lie (SCIENCE.md section 4).
DEFAULT_PLANES: Mapping[Level, float] = MappingProxyType(
    {Level.CEREBELLUM: -36.0, Level.BASAL_GANGLIA: 6.0, Level.CORTEX: 40.0}
)
DEFAULT_MATRIX = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """One acquisition in millimetres: x to the patient's right, y to the front, z up, as NIfTI has it."""

    counts: NDArray[np.float32]  # (x, y, z)
    affine: NDArray[np.float64]  # (4, 4), voxel to mm
    notes: tuple[str, ...] = ()


def parse_planes(text: str) -> dict[Level, float]:
    """Turn "CER=-36,BG=6,COR=40" into levels and their z in mm; raise `RequestError` saying which part is wrong."""
    planes: dict[Level, float] = {}
    for part in text.split(","):
        word, _, height = part.partition("=")
        try:
            planes[parse_level(word.strip())] = float(height)
        except ValueError:
            raise RequestError(f"--planes: {part.strip()!r} is no plane; write it like CER=-36,BG=6,COR=40") from None
    if not all(np.isfinite(list(planes.values()))) or len(planes) != text.count(",") + 1:
        raise RequestError(f"--planes: every level once, with a height in mm, got {text!r}")
    return planes


def cut_planes(volume: Volume, heights_mm: tuple[float, ...], *, matrix: int, name: str = "the volume") -> Counts:
    """Cut axial slices (n, matrix, matrix) over 256 mm, row 0 anterior, patient's left on image right.

    The field is centred on the volume; values are interpolated linearly in all three directions, which cannot
    overshoot below zero.
    """
    to_voxel = np.linalg.inv(volume.affine)
    corners = volume.affine @ np.array([*((np.array(volume.counts.shape) - 1) / 2), 1.0])
    offsets = (np.arange(matrix) - (matrix - 1) / 2) * FIELD_MM / matrix
    y, x = np.meshgrid(corners[1] - offsets, corners[0] - offsets, indexing="ij")
    cut = np.empty((len(heights_mm), matrix, matrix), dtype=np.float32)
    for row, z in enumerate(heights_mm):
        places = np.stack([x, y, np.full_like(x, z), np.ones_like(x)]).reshape(4, -1)
        voxels = (to_voxel @ places)[:3].reshape(3, matrix, matrix)
        cut[row] = ndimage.map_coordinates(volume.counts, voxels, order=1, mode="constant", cval=0.0)
        if not cut[row].any():
            low, high = _heights(volume)
            raise FormatError(f"{name} has no counts at z = {z:g} mm; it spans {low:g} to {high:g} mm: choose --planes")
    return cut


def _heights(volume: Volume) -> tuple[float, float]:
    ends = [volume.affine @ [0, 0, z, 1] for z in (0, volume.counts.shape[2] - 1)]
    return float(ends[0][2]), float(ends[1][2])
