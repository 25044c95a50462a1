"""Read volumes and cut them at the three levels; read and write stacks of slices as NIfTI (x, y, 1, n)."""

import io
import json
import logging
import math
import threading
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
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
from spect.formats.heading import LABELS, Heading, check_parts
from spect.formats.npy import to_values
from spect.formats.parsed import ParsedSlices
from spect.formats.planes import DEFAULT_MATRIX, DEFAULT_PLANES, MNI_CENTRE_MM, Volume, cut_planes
from spect.formats.voxels import clean_counts
from spect.slices import FIELD_MM, SyntheticBatch, check_counts

# Inflated, and as float64: 33 million voxels, ten times a brain at 1 mm. Reading holds some four copies of it.
MAX_BYTES = 2**28

_HEADER_SIZES = {348: nibabel.Nifti1Image, 540: nibabel.Nifti2Image}
# NIfTI-1 codes of spaces in which the heights of the study's levels hold: Talairach, MNI 152, another template.
_TEMPLATE_SPACES = {3, 4, 5}
_MNI_SPACES = {3, 4}  # in which the middle of the head is known too
_SAME_DIRECTION = float(np.cos(np.deg2rad(45)))
_COMMENT = 6  # NIfTI extension code of plain text

_NIBABEL_LOG = logging.getLogger("nibabel.global")
# What silences warnings belongs to the whole process: two threads at once would restore each other's silence.
_SILENCE = threading.RLock()
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
    planes: Mapping[Level, float] | None = None,
    matrix: int = DEFAULT_MATRIX,
    name: str | None = None,
    max_bytes: int = MAX_BYTES,
) -> ParsedSlices:
    """Read a volume (x, y, z) cut at `planes`, or the slices of a stack (x, y, 1, n), upright either way.

    Without planes a volume is cut at MNI's heights; where its header does not say that it lies in a template's space,
    a note tells that those are heights in its own millimetres. A series of volumes (x, y, z, t) is refused: whether
    its frames are to be summed, and which, is not for a reader to guess.

    Raises `FormatError` for anything but one readable volume or stack whose left and right are known.
    """
    name = name or (source.name if isinstance(source, Path) else "the NIfTI file")
    stored = _load_image(source, name, max_bytes)
    with _readable(name):
        image = nibabel.as_closest_canonical(stored)
    if len(image.shape) in {3, 4} and image.shape[2] == 1:
        return _read_stack(image, name)
    volume = _read_volume(image, name, centre_mm=MNI_CENTRE_MM if _space_of(stored) in _MNI_SPACES else None)
    heights = DEFAULT_PLANES if planes is None else planes
    counts, cut_notes = cut_planes(volume, tuple(heights.values()), matrix=matrix, name=name)
    return ParsedSlices(
        counts=counts,
        level=np.array([str(level) for level in heights]),
        pixel_spacing_mm=FIELD_MM / matrix,
        synthetic=_is_synthetic(image),
        notes=(*volume.notes, *cut_notes, *(_space_notes(stored) if planes is None else ())),
    )


def write(heading: Heading, parts: Iterable[SyntheticBatch]) -> Iterator[bytes]:
    """Yield a batch as an uncompressed NIfTI stack (x, y, 1, n), marked synthetic, its labels in a text extension.

    The slices lie on the slowest axis: those of unrelated synthetic patients are no volume.
    """
    yield _stack_header(heading)
    for part in check_parts(heading, parts):
        yield to_values(part.counts[:, ::-1, ::-1])


def _stack_header(heading: Heading) -> bytes:
    rows, columns = heading.shape
    spacing = heading.pixel_spacing_mm
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:2, 3] = -spacing * (np.array([columns, rows]) - 1) / 2
    empty = np.broadcast_to(np.float32(0), (columns, rows, 1, len(heading)))  # of no memory: for its shape and type
    header = nibabel.Nifti1Image(empty, affine).header
    header.set_xyzt_units("mm")
    header.set_slope_inter(1.0, 0.0)
    version = f"model {heading.model_version} {heading.model_sha256[:12]}"
    header["descrip"] = f"SYNTHETIC, research use only; synspect {version}".encode()[:79]
    labels = {field: getattr(heading, field).tolist() for field in LABELS}
    header.extensions.append(nibabel.nifti1.Nifti1Extension(_COMMENT, json.dumps(labels).encode()))
    buffer = io.BytesIO()
    header.write_to(buffer)
    return buffer.getvalue().ljust(header.get_data_offset(), b"\0")


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
        return image


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turn whatever NiBabel finds wrong into one `FormatError`, and its log lines into silence.

    Its own words may quote a header's text.
    """
    # A header of nonsense overflows NiBabel's arithmetic; what comes of it is checked afterwards.
    with _SILENCE, warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # such as of an extension whose size is odd: none is used
        _NIBABEL_LOG.addFilter(_drop)
        try:
            yield
        except _NIBABEL_ERRORS:
            raise FormatError(
                f"{name} is not a readable NIfTI file: it has a broken header; copy or convert it again"
            ) from None
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
    inflated = bytearray()
    while content:  # a gzip file may be a chain of streams: each is inflated, none beyond what is left of the limit
        inflater = zlib.decompressobj(wbits=31)
        try:
            inflated += inflater.decompress(content, max_bytes + 1 - len(inflated))
        except zlib.error:
            raise FormatError(f"{name} is not a whole gzip file; copy or download it again") from None
        if len(inflated) > max_bytes:
            raise FormatError(f"{name} would inflate to more than {max_bytes} bytes; split it")
        if not inflater.eof:
            raise FormatError(f"{name} is cut short: the gzip stream does not end; copy or download it again")
        content = inflater.unused_data.lstrip(b"\0")  # as gzip does: tapes pad with zeros
    return bytes(inflated)


def _check_orientation(image: nibabel.Nifti1Image, name: str) -> None:
    if image.header["sform_code"] == 0 and image.header["qform_code"] == 0:
        raise FormatError(f"{name} does not say which side is left (qform and sform are unset); set one of them")
    if not np.isfinite(image.affine).all() or abs(np.linalg.det(image.affine[:3, :3])) < 1e-6:
        raise FormatError(f"{name} has no usable affine; convert it again from the original")
    _check_forms_agree(image, name)


def _check_forms_agree(image: nibabel.Nifti1Image, name: str) -> None:
    """Refuse two forms that name different sides; a registration turns a head, but not by half a right angle."""
    if image.header["sform_code"] == 0 or image.header["qform_code"] == 0:
        return
    with _readable(name):
        directions = [_directions(form) for form in (image.header.get_sform(), image.header.get_qform())]
        agreement = np.diag(directions[1] @ np.linalg.inv(directions[0]))
    if not (agreement > _SAME_DIRECTION).all():  # also refuses NaN
        raise FormatError(
            f"{name} says twice where its axes point, and its qform contradicts its sform, so which side is left is "
            "unknown; set both alike"
        )


def _directions(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the unit vectors (3, 3) along which the voxels run, one a column."""
    axes: NDArray[np.float64] = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return axes


def _space_of(image: nibabel.Nifti1Image) -> int:
    """Return the code of the form whose affine is used; reordering the voxels loses it."""
    return int(image.header["sform_code"]) or int(image.header["qform_code"])


def _space_notes(image: nibabel.Nifti1Image) -> tuple[str, ...]:
    if _space_of(image) in _TEMPLATE_SPACES:
        return ()
    return ("its header does not place it in MNI space: the levels were cut at heights in its own millimetres",)


def _read_volume(image: nibabel.Nifti1Image, name: str, *, centre_mm: tuple[float, float] | None) -> Volume:
    shape = tuple(side for axis, side in enumerate(image.shape) if axis < 3 or side != 1)
    if len(shape) != 3:
        raise FormatError(f"{name} has shape {image.shape}; one volume (x, y, z) is needed: split the series first")
    voxels, notes = _read_voxels(image, name)
    affine = np.asarray(image.affine, dtype=np.float64)
    for spacing in np.linalg.norm(affine[:3, :3], axis=0):
        _checked(check_pixel_spacing, float(spacing), name)
    return Volume(counts=voxels.reshape(shape), affine=affine, centre_mm=centre_mm, notes=notes)


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
    counts, more_notes = clean_counts(voxels, name)
    return counts, (*notes, *more_notes)


def _checked(check: Callable[[_Checked], _Checked], value: _Checked, name: str) -> _Checked:
    try:
        return check(value)
    except SlicesError as error:
        raise FormatError(f"{name}: {error}") from None


def _is_synthetic(image: nibabel.Nifti1Image) -> bool:
    return bytes(image.header["descrip"].item()).upper().startswith(b"SYNTHETIC")
