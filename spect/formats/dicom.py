"""Read reconstructed brain tomography from DICOM: NM multi-frame, and NM or PT series of single frames."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from spect.conditions import Level
from spect.errors import FormatError
from spect.formats.dicom_file import Attributes, is_dicom, load_dataset, stored_values
from spect.formats.dicom_geometry import check_transverse, order_planes, to_canonical, volume_affine
from spect.formats.dicom_header import ImageHeader, check_size, read_header
from spect.formats.nifti import MAX_BYTES
from spect.formats.parsed import ParsedSlices
from spect.formats.planes import DEFAULT_MATRIX, Volume, cut_planes
from spect.formats.voxels import clean_counts
from spect.slices import FIELD_MM

__all__ = ["MAX_BYTES", "group_series", "is_dicom", "read_series", "read_slices"]

_GROUPING = ("SeriesInstanceUID", "SOPInstanceUID", "NumberOfFrames")


def group_series(paths: Mapping[str, Path], *, max_bytes: int = MAX_BYTES) -> dict[str, tuple[Path, ...]]:
    """Gather single-frame files of one series under the first one's name; every other file stands alone.

    A series may lie in several folders; where one of its images lies there twice, it was exported twice, and each
    folder is a group. Only headers are read. A file that cannot be read stands alone too: reading it says why.
    """
    alone: dict[str, tuple[Path, ...]] = {}
    images_of: dict[str, dict[str, str]] = {}  # series, name, image
    for name in sorted(paths):
        series, image = _identity_of(paths[name], max_bytes)
        if series:
            images_of.setdefault(series, {})[name] = image
        else:
            alone[name] = (paths[name],)
    groups = [group for images in images_of.values() for group in _exports_of(images)]
    found = alone | {group[0]: tuple(paths[name] for name in group) for group in groups}
    return dict(sorted(found.items()))


def _exports_of(images: Mapping[str, str]) -> list[list[str]]:
    """Split the files (name, image) of one series into exports; each image without an identifier counts once."""
    known = [image for image in images.values() if image]
    if len(set(known)) == len(known):
        return [list(images)]
    folders: dict[PurePosixPath, list[str]] = {}
    for name in images:
        folders.setdefault(PurePosixPath(name).parent, []).append(name)
    return list(folders.values())


def read_slices(
    source: Path | bytes,
    *,
    planes: Mapping[Level, float] | None = None,
    matrix: int = DEFAULT_MATRIX,
    name: str | None = None,
    max_bytes: int = MAX_BYTES,
) -> ParsedSlices:
    """Read one file: the slice it is, without a level, or its volume cut at `planes`.

    Raises `FormatError` for anything but one reconstructed image whose left and right are stated; no message holds
    anything that names a patient.
    """
    name = name or "the DICOM file"  # a hospital's file names hold names and identifiers
    dataset = load_dataset(source, name=name, max_bytes=max_bytes)
    header = read_header(Attributes(dataset, name), max_bytes=max_bytes)
    if header.shape[0] > 1:
        _check_planes(planes, name)
    frames = _rescaled(stored_values(dataset, shape=header.shape, name=name), header)
    if header.shape[0] == 1:
        return _one_slice(frames, header, name)
    affine = volume_affine(header.plane, header.step)
    return _cut(frames, affine, header, planes or {}, matrix, name)


def read_series(
    paths: Sequence[Path],
    *,
    planes: Mapping[Level, float] | None,
    matrix: int = DEFAULT_MATRIX,
    name: str = "the series",
    max_bytes: int = MAX_BYTES,
) -> ParsedSlices:
    """Read the single-frame files of one series, in any order, as one volume cut at `planes`.

    One file alone is read as `read_slices` does. Raises `FormatError` for slices that are no single, whole volume.
    """
    if len(paths) == 1:
        return read_slices(paths[0], planes=planes, matrix=matrix, name=name, max_bytes=max_bytes)
    headers = [_header_of(path, name, max_bytes) for path in paths]
    _check_one_series(headers, name)
    shape = (len(headers), *headers[0].shape[1:])
    check_size(shape, name, max_bytes)
    order, step = order_planes([header.plane for header in headers], name)
    _check_planes(planes, name)
    volume = np.empty(shape, dtype=np.float32)
    for place, index in enumerate(order):
        dataset = load_dataset(paths[index], name=name, max_bytes=max_bytes)
        volume[place] = _rescaled(stored_values(dataset, shape=(1, *shape[1:]), name=name), headers[index])[0]
    first = headers[order[0]]
    return _cut(volume, volume_affine(first.plane, step), first, planes or {}, matrix, name)


def _identity_of(path: Path, max_bytes: int) -> tuple[str, str]:
    """Return the series a single-frame file belongs to, "" for every other file, and which image it is."""
    try:
        dataset = load_dataset(path, name=path.name, max_bytes=max_bytes, only=_GROUPING, pixels=False)
        attributes = Attributes(dataset, path.name)
        if attributes.whole("NumberOfFrames", 1) != 1:
            return "", ""
        return attributes.word("SeriesInstanceUID"), attributes.word("SOPInstanceUID")
    except FormatError:
        return "", ""


def _header_of(path: Path, name: str, max_bytes: int) -> ImageHeader:
    dataset = load_dataset(path, name=name, max_bytes=max_bytes, pixels=False)
    return read_header(Attributes(dataset, name), max_bytes=max_bytes)


def _check_one_series(headers: Sequence[ImageHeader], name: str) -> None:
    if not headers:
        raise FormatError(f"{name} holds no file; give the files of one series")
    first = headers[0]
    if any(header.shape[0] != 1 for header in headers):
        raise FormatError(f"{name} holds multi-frame files among others; import each of them alone")
    for what in ("series", "patient", "unit", "synthetic"):
        if any(getattr(header, what) != getattr(first, what) for header in headers):
            raise FormatError(f"{name} mixes slices that differ in their {what}; give one series alone")
    if any(header.shape != first.shape for header in headers):
        raise FormatError(f"{name} mixes slices of different matrices; export one reconstruction alone")


def _check_planes(planes: Mapping[Level, float] | None, name: str) -> None:
    if planes is None:
        raise FormatError(
            f"{name} is a volume in the scanner's coordinates, not MNI's, so its headers do not say where the levels "
            "lie; name their heights in mm with --planes or in the labels"
        )


def _rescaled(stored: NDArray[np.float32], header: ImageHeader) -> NDArray[np.float32]:
    """Return counts in slice order; what overflows is found by `clean_counts`."""
    ordered = stored if header.frame_order is None else stored[header.frame_order]
    with np.errstate(all="ignore"):
        counts: NDArray[np.float32] = ordered * np.float32(header.slope) + np.float32(header.intercept)
    return counts


def _one_slice(frame: NDArray[np.float32], header: ImageHeader, name: str) -> ParsedSlices:
    """Turn one transverse image upright by flips alone: its pixels keep their values."""
    check_transverse(header.plane, name)
    counts, notes = clean_counts(frame, name)
    voxels, _ = to_canonical(counts.transpose(2, 1, 0), volume_affine(header.plane, header.step))
    upright = np.ascontiguousarray(voxels.transpose(2, 1, 0)[:, ::-1, ::-1])
    return _parsed(upright, header, header.plane.row_spacing_mm, notes)


def _cut(
    frames: NDArray[np.float32],
    affine: NDArray[np.float64],
    header: ImageHeader,
    planes: Mapping[Level, float],
    matrix: int,
    name: str,
) -> ParsedSlices:
    counts, notes = clean_counts(frames, name)
    voxels, affine = to_canonical(counts.transpose(2, 1, 0), affine)
    volume = Volume(counts=voxels, affine=affine, notes=notes)
    slices, cut_notes = cut_planes(volume, tuple(planes.values()), matrix=matrix, name=name)
    return _parsed(
        slices, header, FIELD_MM / matrix, (*notes, *cut_notes), level=np.array([str(level) for level in planes])
    )


def _parsed(
    counts: NDArray[np.float32],
    header: ImageHeader,
    pixel_spacing_mm: float,
    notes: tuple[str, ...],
    level: NDArray[np.str_] | None = None,
) -> ParsedSlices:
    return ParsedSlices(
        counts=counts,
        level=level,
        patient=None if header.patient is None else np.full(len(counts), header.patient),
        birth_date=header.birth_date,
        pixel_spacing_mm=pixel_spacing_mm,
        intensity_unit=header.unit,
        synthetic=header.synthetic,
        notes=(*header.notes, *notes),
    )
