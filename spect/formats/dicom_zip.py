"""Read back the zip of synthetic DICOM slices that `dicom_write` writes, reading as if the file were hostile."""

import io
import zipfile
from pathlib import Path

import numpy as np

from spect.errors import FormatError
from spect.formats import dicom
from spect.formats.npz import BROKEN_ZIP
from spect.formats.parsed import ParsedSlices

MAX_MEMBERS = 16_384  # as many as one call can make
_SUFFIX = ".dcm"
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}  # whose inflation Python's zipfile bounds


def holds_dicom(source: Path | bytes) -> bool:
    """Whether the first file of a zip is DICOM by its name; False for what is no whole zip."""
    try:
        with _open(source) as archive:
            return archive.infolist()[0].filename.lower().endswith(_SUFFIX)
    except BROKEN_ZIP:
        return False


def read_slices(source: Path | bytes, *, name: str, max_bytes: int) -> ParsedSlices:
    """Read every slice, in the order of the archive; raise `FormatError` unless all are synthetic and of one kind.

    Scans of patients are refused: their files are one volume, which a folder tells, and not slices without a place.
    """
    try:
        with _open(source) as archive:
            _check_members(archive, name, max_bytes)
            slices = [_read(archive, member, name, max_bytes) for member in archive.infolist()]
    except BROKEN_ZIP:  # whose words quote the names of members
        raise FormatError(f"{name} is not a whole zip of DICOM files; copy or download it again") from None
    first = slices[0]
    kinds = {(one.counts.shape[1:], one.pixel_spacing_mm, one.intensity_unit) for one in slices}
    if len(kinds) > 1:
        raise FormatError(f"{name} mixes slices of different matrices, pixel spacings or units; give those of one kind")
    return ParsedSlices(
        counts=np.concatenate([one.counts for one in slices]),
        patient=np.concatenate([one.patient for one in slices if one.patient is not None]),
        pixel_spacing_mm=first.pixel_spacing_mm,
        intensity_unit=first.intensity_unit,
        synthetic=True,
        notes=tuple(sorted({note for one in slices for note in one.notes})),
    )


def _open(source: Path | bytes) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(source) if isinstance(source, bytes) else source)


def _check_members(archive: zipfile.ZipFile, name: str, max_bytes: int) -> None:
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise FormatError(f"{name} holds {len(members)} files; at most {MAX_MEMBERS} are read: split it")
    total = sum(member.file_size for member in members)
    if 2 * total > max_bytes:  # stored in 16 bits, held in 32
        raise FormatError(f"{name} would take {2 * total} bytes; at most {max_bytes} are read: split it")
    if any(member.compress_type not in _METHODS or not member.filename.lower().endswith(_SUFFIX) for member in members):
        raise FormatError(f"{name} holds files that are no DICOM or are packed in a strange way; zip DICOM files alone")


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str, max_bytes: int) -> ParsedSlices:
    one = dicom.read_slices(archive.read(member), name=f"{name}: one of its files", max_bytes=max_bytes)
    if not one.synthetic:
        raise FormatError(f"{name} is a zip of scans; unpack it and import the folder, which keeps series together")
    return one
