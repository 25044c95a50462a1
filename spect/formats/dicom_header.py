"""What a DICOM image says of itself apart from its place: its size, order, scale, unit, and whose it is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spect.errors import FormatError
from spect.formats.dicom_file import Attributes, tag_words
from spect.formats.dicom_geometry import Plane, Vector, frame_step, read_plane
from spect.formats.dicom_kind import check_kind, is_nuclear_medicine
from spect.formats.units import DEFAULT_SUV, DICOM_UNITS, SUV, SUV_UNITS, UCUM_CODES

SYNTHETIC_TYPE = ("DERIVED", "SECONDARY")
SYNTHETIC_PATIENT = "SYNTHETIC-"
# What else may vary from frame to frame; in a reconstruction only the slice does.
_OTHER_VECTORS = (
    "EnergyWindowVector",
    "DetectorVector",
    "PhaseVector",
    "RotationVector",
    "RRIntervalVector",
    "TimeSlotVector",
    "AngularViewVector",
    "TimeSliceVector",
)
_BYTES_A_VOXEL = 8  # stored and as float32 at once


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageHeader:
    """One image of a supported kind, every attribute checked."""

    shape: tuple[int, int, int]  # frames, rows, columns
    frame_order: NDArray[np.int64] | None  # (frames,) positions in the file, first slice first
    plane: Plane
    step: Vector  # from frame to frame, mm in DICOM's axes; of no meaning for one frame
    slope: float
    intercept: float
    unit: str | None
    patient: str | None  # the number, with who issued it where that is said: two hospitals may count alike
    birth_date: str | None  # to compare, never to show
    series: str  # its UID: to compare, never to show
    synthetic: bool
    notes: tuple[str, ...] = ()


def read_header(attributes: Attributes, *, max_bytes: int) -> ImageHeader:
    """Check an image's attributes; raise `FormatError` for another kind, another size or a place left unsaid."""
    check_kind(attributes)
    shape = (attributes.whole("NumberOfFrames", 1), attributes.whole("Rows"), attributes.whole("Columns"))
    check_size(shape, attributes.name, max_bytes)
    plane = read_plane(attributes)
    step, notes = frame_step(attributes, plane) if shape[0] > 1 else (plane.normal, ())
    order, more_notes = _frame_order(attributes, shape[0])
    slope, intercept = _rescale(attributes)
    patient, issuer = attributes.word("PatientID"), attributes.word("IssuerOfPatientID")
    image_type = tuple(word.strip() for word in attributes.words("ImageType")[:2])
    return ImageHeader(
        shape=shape,
        frame_order=order,
        plane=plane,
        step=step,
        slope=slope,
        intercept=intercept,
        unit=_unit(attributes),
        patient=f"{patient}\\{issuer}" if patient and issuer else patient or None,
        birth_date=attributes.word("PatientBirthDate") or None,
        series=attributes.word("SeriesInstanceUID"),
        synthetic=image_type == SYNTHETIC_TYPE and patient.startswith(SYNTHETIC_PATIENT),
        notes=(*notes, *more_notes),
    )


def check_size(shape: tuple[int, int, int], name: str, max_bytes: int) -> None:
    """Refuse what would need more than `max_bytes`, before anything is allocated."""
    voxels = shape[0] * shape[1] * shape[2]
    if voxels * _BYTES_A_VOXEL > max_bytes:
        raise FormatError(f"{name} has {voxels} voxels; at most {max_bytes // _BYTES_A_VOXEL} are read: split it")


def _unit(attributes: Attributes) -> str | None:
    """Return the unit, None where none is stated; any text that is no unit of the standard is refused, unquoted."""
    word = attributes.word("Units")
    if not word:
        return _mapped_unit(attributes)
    kind, known, keyword = word, DICOM_UNITS, "Units"
    if word == SUV:
        kind, known, keyword = attributes.word("SUVType") or DEFAULT_SUV, SUV_UNITS, "SUVType"
    if kind not in known:
        raise FormatError(
            f"{attributes.name}: {tag_words(keyword)} is none of the standard's, so what its values measure is "
            "unknown; export it in Bq/mL or counts"
        )
    return known[kind]


def _mapped_unit(attributes: Attributes) -> str | None:
    """Return the unit of a Real World Value Mapping, where the NM class states one, if it is one of ours."""
    codes = [
        code.word("CodeValue")
        for mapping in attributes.items("RealWorldValueMappingSequence")
        for code in mapping.items("MeasurementUnitsCodeSequence")
        if code.word("CodingSchemeDesignator") == "UCUM"
    ]
    known = [unit for unit, code in UCUM_CODES.items() if code in codes]
    return known[0] if len(known) == 1 else None


def _rescale(attributes: Attributes) -> tuple[float, float]:
    """Return slope and intercept; NM need not have them, PT must: its slices are scaled one by one."""
    slope = attributes.number("RescaleSlope")
    if slope is None and not is_nuclear_medicine(attributes):
        raise FormatError(
            f"{attributes.name} does not hold {tag_words('RescaleSlope')}, without which PT slices cannot be compared; "
            "export it again"
        )
    if slope is not None and slope <= 0:
        raise FormatError(f"{attributes.name}: {tag_words('RescaleSlope')} must be positive; export it again")
    intercept = attributes.number("RescaleIntercept")
    return 1.0 if slope is None else slope, intercept or 0.0


def _frame_order(attributes: Attributes, frames: int) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    if frames == 1:
        return None, ()
    _check_one_volume(attributes)
    vector = attributes.numbers("SliceVector")
    if vector is None:
        return None, (f"{tag_words('SliceVector')} is missing: the frames were taken in the order they are stored",)
    if sorted(vector) != list(range(1, frames + 1)):
        raise FormatError(
            f"{attributes.name}: {tag_words('SliceVector')} must number its {frames} frames, each once; export it again"
        )
    return np.argsort(vector), ()


def _check_one_volume(attributes: Attributes) -> None:
    for keyword in _OTHER_VECTORS:
        if len(set(attributes.numbers(keyword) or ())) > 1:
            raise FormatError(
                f"{attributes.name} holds several volumes: its frames differ in {tag_words(keyword)}; export them apart"
            )
