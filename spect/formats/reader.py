"""One door for every file of slices: looks at the first bytes, not at the name, and calls the reader."""

from collections.abc import Mapping
from pathlib import Path

from spect.conditions import Level
from spect.errors import FormatError
from spect.formats import dicom, dicom_zip, nifti, npy, npz, picture
from spect.formats.parsed import ParsedSlices
from spect.formats.planes import DEFAULT_MATRIX

SUFFIXES = (".npz", ".npy", ".nii", ".nii.gz", ".dcm", ".ima", ".png", ".tif", ".tiff")
MAX_BYTES = npy.MAX_BYTES
_LONGEST_MAGIC = 132  # DICOM's stands behind a preamble


def parse_slices(
    source: Path | bytes,
    *,
    planes: Mapping[Level, float] | None = None,
    matrix: int = DEFAULT_MATRIX,
    name: str | None = None,
    max_bytes: int = MAX_BYTES,
) -> ParsedSlices:
    """Read slices from an npz, npy, NIfTI or DICOM file, a zip of synthetic DICOM, or from its bytes.

    `planes` and `matrix` cut a volume; where no planes are named a NIfTI volume is cut at MNI's, and a DICOM volume,
    which does not lie in MNI space, is refused. So is a picture, because only the labels of an import tell its left. A
    file that would need more than `max_bytes` of memory is refused before it is inflated. Raises `FormatError` for
    anything else, in one line that begins with `name`.
    """
    name = name or (source.name if isinstance(source, Path) else "the file")
    head = source[:_LONGEST_MAGIC] if isinstance(source, bytes) else _first_bytes(source, name)
    if dicom.is_dicom(head):  # first: its preamble may begin like a TIFF
        return dicom.read_slices(
            source, planes=planes, matrix=matrix, name=name, max_bytes=min(max_bytes, dicom.MAX_BYTES)
        )
    if head.startswith(b"PK") and dicom_zip.holds_dicom(source):
        return dicom_zip.read_slices(source, name=name, max_bytes=max_bytes)
    if head.startswith(b"PK"):
        return npz.read_slices(source, name=name, max_bytes=max_bytes)
    if head.startswith(npy.MAGIC):
        return npy.read_counts(source, name=name, max_bytes=max_bytes)
    if head.startswith(b"\x1f\x8b") or _begins_like_nifti(head):
        return nifti.read_slices(
            source, planes=planes, matrix=matrix, name=name, max_bytes=min(max_bytes, nifti.MAX_BYTES)
        )
    if picture.is_picture(head):
        raise FormatError(
            f"{name} is a picture, which tells neither its pixel spacing nor which side is left; "
            "take it in with `synspect cohort import`, whose labels do"
        )
    raise FormatError(f"{name} is not a file of slices: it begins like no known format; give npz, npy, NIfTI or DICOM")


def has_slices_suffix(path: Path) -> bool:
    """Whether the name promises slices."""
    return path.name.lower().endswith(SUFFIXES)


def is_dicom_file(path: Path, *, name: str) -> bool:
    """Whether the content says it is DICOM; raise `FormatError`, beginning with `name`, where it cannot be read."""
    return dicom.is_dicom(_first_bytes(path, name))


def _first_bytes(path: Path, name: str) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(_LONGEST_MAGIC)
    except FileNotFoundError:
        raise FormatError(f"{name} does not exist; check the path") from None
    except OSError as error:
        raise FormatError(f"{name} cannot be read ({error.strerror}); check the path and its rights") from None


def _begins_like_nifti(head: bytes) -> bool:
    return any(int.from_bytes(head[:4], order) in {348, 540} for order in ("little", "big"))
