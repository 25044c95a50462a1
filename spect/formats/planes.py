"""Where the three levels lie in a volume, and how an upright axial slice is cut from it."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spect.conditions import Level, parse_level
from spect.errors import FormatError, RequestError
from spect.outline import trace_outline
from spect.slices import FIELD_MM, Counts

# MNI z in mm where the study's three levels lie (SCIENCE.md section 4).
DEFAULT_PLANES: Mapping[Level, float] = MappingProxyType(
    {Level.CEREBELLUM: -36.0, Level.BASAL_GANGLIA: 6.0, Level.CORTEX: 40.0}
)
# The middle of MNI's head in x and y, where the box of its usual templates has its own (91 x 109 voxels of 2 mm).
MNI_CENTRE_MM = (0.0, -18.0)
DEFAULT_MATRIX = 128
CROPPED_SHARE = 0.001  # of the counts, outside the field: less is noise
SAME_SPACING = 0.01  # headers and tables round

_OVERVIEW_MM = 4.0
_OVERVIEW_PIXELS = 512  # at most, however large a header says the volume is


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """One acquisition in millimetres: x to the patient's right, y to the front, z up, as NIfTI has it."""

    counts: NDArray[np.float32]  # (x, y, z)
    affine: NDArray[np.float64]  # (4, 4), voxel to mm
    centre_mm: tuple[float, float] | None = None  # x and y of the field's middle; None: the head's
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


def cut_planes(
    volume: Volume, heights_mm: tuple[float, ...], *, matrix: int, name: str = "the volume"
) -> tuple[Counts, tuple[str, ...]]:
    """Cut axial slices (n, matrix, matrix) over 256 mm, row 0 anterior, patient's left on image right.

    With them comes what is to be noted. The field is centred where `volume` says, else on the head as its outline
    shows it at these heights. Values are interpolated linearly in all three directions, which cannot overshoot below
    zero. Raises `FormatError` for a plane without counts.
    """
    low, high = _span(volume, axis=2)
    for z in heights_mm:
        if not low <= z <= high:
            raise FormatError(f"{name} has no counts at z = {z:g} mm; it spans {low:g} to {high:g} mm: choose --planes")
    spacing_mm = FIELD_MM / matrix
    overview = _look_over(volume, heights_mm)
    centre = volume.centre_mm or overview.head_centre_mm()
    offsets = (np.arange(matrix, dtype=np.float64) - (matrix - 1) / 2) * spacing_mm
    cut = _sample(volume, heights_mm, centre[0] - offsets, centre[1] - offsets)
    for z, one, whole in zip(heights_mm, cut, overview.counts, strict=True):
        if not one.any():
            where = f"outside the field of {FIELD_MM:g} mm: mend its place in space" if whole.any() else "nowhere"
            raise FormatError(f"{name} has its counts at z = {z:g} mm {where}; or choose --planes")
    return cut, (*_grid_notes(volume, spacing_mm), *overview.notes(centre))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Overview:
    """Planes of a whole volume, coarsely: enough to find the head and to see what a field leaves out."""

    counts: Counts  # (n, rows, columns), row 0 anterior, patient's left on image right
    x_mm: NDArray[np.float64]  # (columns,), falling
    y_mm: NDArray[np.float64]  # (rows,), falling
    pixel_spacing_mm: float

    def head_centre_mm(self) -> tuple[float, float]:
        """Return the middle of the head's outline; of the volume where there is none."""
        outline = trace_outline(self.counts.mean(axis=0), self.pixel_spacing_mm)
        x, y = self.x_mm, self.y_mm
        if outline is not None:
            x, y = x[outline.mask.any(axis=0)], y[outline.mask.any(axis=1)]
        return float(x[0] + x[-1]) / 2, float(y[0] + y[-1]) / 2

    def notes(self, centre_mm: tuple[float, float]) -> tuple[str, ...]:
        """Say how much lies outside the field, where it is more than noise."""
        inside = [
            np.abs(at - middle) <= FIELD_MM / 2
            for at, middle in zip((self.y_mm, self.x_mm), centre_mm[::-1], strict=True)
        ]
        total = float(self.counts.sum(dtype=np.float64))
        kept = float(self.counts[:, inside[0]][:, :, inside[1]].sum(dtype=np.float64))
        lost = (total - kept) / (total or 1.0)
        if lost <= CROPPED_SHARE:
            return ()
        return (f"cropped: {lost:.1%} of its counts lay outside the field of {FIELD_MM:g} mm",)


def _look_over(volume: Volume, heights_mm: tuple[float, ...]) -> _Overview:
    spans = [_span(volume, axis=axis) for axis in (0, 1)]
    longest = max(high - low for low, high in spans)
    spacing_mm = max(_OVERVIEW_MM, longest / _OVERVIEW_PIXELS)
    x, y = (_falling(low, high, spacing_mm) for low, high in spans)
    return _Overview(counts=_sample(volume, heights_mm, x, y), x_mm=x, y_mm=y, pixel_spacing_mm=spacing_mm)


def _falling(low: float, high: float, spacing_mm: float) -> NDArray[np.float64]:
    """Return places from high to low and one more on each side: what fills a volume still has an outline."""
    steps = np.arange(-1, int(np.ceil((high - low) / spacing_mm)) + 2, dtype=np.float64)
    return high - steps * spacing_mm


def _sample(
    volume: Volume, heights_mm: tuple[float, ...], x_mm: NDArray[np.float64], y_mm: NDArray[np.float64]
) -> Counts:
    to_voxel = np.linalg.inv(volume.affine)
    y, x = np.meshgrid(y_mm, x_mm, indexing="ij")
    cut = np.empty((len(heights_mm), len(y_mm), len(x_mm)), dtype=np.float32)
    for row, z in enumerate(heights_mm):
        places = np.stack([x, y, np.full_like(x, z), np.ones_like(x)]).reshape(4, -1)
        voxels = (to_voxel @ places)[:3].reshape(3, *x.shape)
        cut[row] = ndimage.map_coordinates(volume.counts, voxels, order=1, mode="constant", cval=0.0)
    return cut


def _span(volume: Volume, *, axis: int) -> tuple[float, float]:
    """Return from where to where the centres of the voxels lie, in mm along an axis of space."""
    ends = [(0, size - 1) for size in volume.counts.shape]
    corners = np.array([[*corner, 1] for corner in itertools.product(*ends)]) @ volume.affine.T
    return float(corners[:, axis].min()), float(corners[:, axis].max())


def _grid_notes(volume: Volume, spacing_mm: float) -> tuple[str, ...]:
    sizes = np.linalg.norm(volume.affine[:3, :3], axis=0)
    if np.allclose(volume.affine[:2, :2], np.diag([spacing_mm] * 2), atol=SAME_SPACING * spacing_mm):
        return ()
    words = " x ".join(f"{size:.3g}" for size in sizes)
    return (f"resampled from voxels of {words} mm to pixels of {spacing_mm:g} mm",)
