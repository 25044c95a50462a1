"""Read volumes and cut them at the three levels; read and write stacks of slices as NIfTI (x, y, 1, n)."""

import json
import logging
import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import OrientationError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from spect.conditions import Level
from spect.errors import FormatError, SlicesError
from spect.formats.field import check_pixel_spacing
from spect.formats.parsed import ParsedSlices
from spect.formats.planes import DEFAULT_MATRIX, DEFAULT_PLANES, Volume, cut_planes
from spect.slices import FIELD_MM, SyntheticBatch, check_counts

MAX_BYTES = 2**30  # inflated, and as float64: a whole-body SPECT has a tenth of it
# Filtered back-projection and resampling ring a little below zero; more than that is another quantity.
RINGING_SHARE = 0.1

_HEADER_SIZES = {348: nibabel.Nifti1Image, 540: nibabel.Nifti2Image}
_COMMENT = 6  # NIfTI extension code of plain text

_NIBABEL_LOG = logging.getLogger("nibabel.global")
_NIBABEL_ERRORS = (
    HeaderDataError,
    WrapStructError,
    ImageFileError,
    OrientationError,
    ArithmeticError,
    ValueError,
    TypeError,
    OSError,
    EOFError,
)

_Checked = TypeVar("_Checked")


def read_slices(
    source: Path | bytes,
    *,
    planes: Mapping[Level, float] = DEFAULT_PLANES,
    matrix: int = DEFAULT_MATRIX,
    name: str | None = None,
    max_bytes: int = MAX_BYTES,
) -> ParsedSlices:
    """Read a volume (x, y, z) cut at `planes`, or the slices of a stack (x, y, 1, n), upright either way.

    Raises `FormatError` for anything but one readable volume or stack whose left and right are known.
    """
    name = name or (source.name if isinstance(source, Path) else "the NIfTI file")
    image = _load_image(source, name, max_bytes)
    if len(image.shape) in {3, 4} and image.shape[2] == 1:
        return _read_stack(image, name)
    volume = _read_volume(image, name)
    return ParsedSlices(
        counts=cut_planes(volume, tuple(planes.values()), matrix=matrix, name=name),
        level=np.array([str(level) for level in planes]),
        pixel_spacing_mm=FIELD_MM / matrix,
        synthetic=_is_synthetic(image),
        notes=volume.notes,
    )


def to_bytes(batch: SyntheticBatch) -> bytes:
    """Encode a batch as an uncompressed NIfTI stack (x, y, 1, n), marked synthetic, its labels in a text extension."""
    stack = np.ascontiguousarray(batch.counts[:, ::-1, ::-1].transpose(2, 1, 0)[:, :, None, :])
    spacing = batch.pixel_spacing_mm
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:2, 3] = -spacing * (np.array(stack.shape[:2]) - 1) / 2
    image = nibabel.Nifti1Image(stack, affine)
    image.header.set_xyzt_units("mm")
    version = f"model {batch.model_version} {batch.model_sha256[:12]}"
    image.header["descrip"] = f"SYNTHETIC, research use only; synspect {version}".encode()[:79]
    labels = {field: getattr(batch, field).tolist() for field in ("level", "pattern", "seed", "index")}
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(_COMMENT, json.dumps(labels).encode()))
    encoded: bytes = image.to_bytes()
    return encoded


def _load_image(source: Path | bytes, name: str, max_bytes: int) -> nibabel.Nifti1Image:
    content = _inflate(source, name, max_bytes)
    for order in ("little", "big"):
        size = int.from_bytes(content[:4], order)
        if size in _HEADER_SIZES:
            break
    else:
        raise FormatError(f"{name} is not a NIfTI file: it does not begin with a NIfTI header; check what it is")
    with _readable(name):
        image = _HEADER_SIZES[size].from_bytes(content)
        _check_shape(image, name, len(content), max_bytes)
        _check_orientation(image, name)
        return nibabel.as_closest_canonical(image)


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turn whatever NiBabel finds wrong into one `FormatError`, and its log lines into silence."""
    _NIBABEL_LOG.addFilter(_drop)
    try:
        # A header of nonsense overflows NiBabel's arithmetic; what comes of it is checked afterwards.
        with np.errstate(all="ignore"):
            yield
    except _NIBABEL_ERRORS as error:
        reason = " ".join(str(error).split())
        raise FormatError(f"{name} is not a readable NIfTI file ({reason}); copy or convert it again") from None
    finally:
        _NIBABEL_LOG.removeFilter(_drop)


def _drop(_record: logging.LogRecord) -> bool:
    return False


def _check_shape(image: nibabel.Nifti1Image, name: str, available: int, max_bytes: int) -> None:
    """Refuse a header that promises more than the file holds, or more than may be read, before reading it."""
    voxels = math.prod(image.shape)
    if min(image.shape, default=0) < 1 or voxels * image.get_data_dtype().itemsize > available:
        raise FormatError(f"{name} is cut short: its header promises {image.shape} voxels; copy it again")
    if voxels * 8 > max_bytes:
        raise FormatError(f"{name} has {voxels} voxels; at most {max_bytes // 8} are read: split it")


def _inflate(source: Path | bytes, name: str, max_bytes: int) -> bytes:
    """Return the file's bytes, inflated where it is gzip, never more than `max_bytes`."""
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    if size > max_bytes:
        raise FormatError(f"{name} has {size} bytes; at most {max_bytes} are read: split it")
    content = source if isinstance(source, bytes) else source.read_bytes()
    if content[:2] != b"\x1f\x8b":
        return content
    inflater = zlib.decompressobj(wbits=31)
    try:
        inflated = inflater.decompress(content, max_bytes)
    except zlib.error as error:
        raise FormatError(f"{name} is not a whole gzip file ({error}); copy or download it again") from None
    if inflater.unconsumed_tail:
        raise FormatError(f"{name} would inflate to more than {max_bytes} bytes; split it")
    if not inflater.eof:
        raise FormatError(f"{name} is cut short: the gzip stream does not end; copy or download it again")
    return inflated


def _check_orientation(image: nibabel.Nifti1Image, name: str) -> None:
    if image.header["sform_code"] == 0 and image.header["qform_code"] == 0:
        raise FormatError(f"{name} does not say which side is left (qform and sform are unset); set one of them")
    if not np.isfinite(image.affine).all() or abs(np.linalg.det(image.affine[:3, :3])) < 1e-6:
        raise FormatError(f"{name} has no usable affine; convert it again from the original")


def _read_volume(image: nibabel.Nifti1Image, name: str) -> Volume:
    shape = tuple(side for axis, side in enumerate(image.shape) if axis < 3 or side != 1)
    if len(shape) != 3:
        raise FormatError(f"{name} has shape {image.shape}; one volume (x, y, z) is needed: split the series first")
    voxels, notes = _read_voxels(image, name)
    affine = np.asarray(image.affine, dtype=np.float64)
    for spacing in np.linalg.norm(affine[:3, :3], axis=0):
        _checked(check_pixel_spacing, float(spacing), name)
    return Volume(counts=voxels.reshape(shape), affine=affine, notes=notes)


def _read_stack(image: nibabel.Nifti1Image, name: str) -> ParsedSlices:
    voxels, notes = _read_voxels(image, name)
    across, down = np.linalg.norm(image.affine[:3, :2], axis=0)
    if abs(across - down) > 0.01 * down:
        raise FormatError(f"{name} has pixels of {across:g} x {down:g} mm; square pixels are needed: resample it")
    upright = voxels.reshape(*voxels.shape[:2], -1).transpose(2, 1, 0)[:, ::-1, ::-1]
    return ParsedSlices(
        counts=_checked(check_counts, np.ascontiguousarray(upright), name),
        pixel_spacing_mm=_checked(check_pixel_spacing, float(down), name),
        synthetic=_is_synthetic(image),
        notes=notes,
    )


def _read_voxels(image: nibabel.Nifti1Image, name: str) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    if image.get_data_dtype().kind not in "buif":
        raise FormatError(f"{name} holds {image.get_data_dtype()} voxels; counts must be real numbers")
    with _readable(name):
        voxels = np.asarray(image.dataobj, dtype=np.float32)
    notes = []
    if np.isnan(voxels).any():  # how SPM and FSL write "outside the mask"
        notes.append(f"{np.isnan(voxels).mean():.1%} of the voxels were NaN and became 0")
        voxels = np.nan_to_num(voxels, nan=0.0, posinf=np.inf, neginf=-np.inf)
    low, high = float(voxels.min()), float(voxels.max())
    if not np.isfinite([low, high]).all() or high <= 0:
        raise FormatError(f"{name} spans {low:g} to {high:g}; counts must be finite and not all zero")
    if low < -RINGING_SHARE * high:
        raise FormatError(f"{name} goes down to {low:g} (top {high:g}); counts are not negative: is it a difference?")
    if low < 0:
        notes.append(f"negative values down to {low:g} became 0")
    return np.maximum(voxels, 0), tuple(notes)


def _checked(check: Callable[[_Checked], _Checked], value: _Checked, name: str) -> _Checked:
    try:
        return check(value)
    except SlicesError as error:
        raise FormatError(f"{name}: {error}") from None


def _is_synthetic(image: nibabel.Nifti1Image) -> bool:
    return bytes(image.header["descrip"].item()).upper().startswith(b"SYNTHETIC")
