"""Where DICOM slices lie in the patient, from their headers alone: left and right are stated or the file is refused.

DICOM's axes run to the patient's left, back and head (PS3.3 C.7.6.2.1.1); those of `Volume` to right, front and head.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from numpy.typing import NDArray

from spect.errors import FormatError, SlicesError
from spect.formats.dicom_file import Attributes, tag_words
from spect.formats.field import check_pixel_spacing

Vector = NDArray[np.float64]  # (3,)

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
DIRECTION_TOLERANCE = 0.01  # of a cosine: headers give six digits, some cameras three
POSITION_TOLERANCE_MM = 0.1  # headers give 0.01 mm and better
SPACING_TOLERANCE = 0.05  # of the distance of two slices: what moves a pixel by less than noise does
SHEAR_LIMIT = 0.9  # cosine between the stacking and the normal: a gantry's tilt, not another orientation
TILT_LIMIT = np.cos(np.deg2rad(20.0))  # transverse slices follow the orbitomeatal line at up to some 15 degrees


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """One image in the patient: all in mm and DICOM's axes (left, back, head)."""

    along_row: Vector  # unit, towards higher columns
    along_column: Vector  # unit, towards higher rows
    position: Vector  # centre of the first pixel
    row_spacing_mm: float  # between two rows
    column_spacing_mm: float

    @property
    def normal(self) -> Vector:
        """The direction behind the image, as seen by who looks at it."""
        return np.cross(self.along_row, self.along_column)


def read_plane(header: Attributes) -> Plane:
    """Read where the image lies; raise `FormatError` where the header does not say, or says two things."""
    places = [header, *header.items("DetectorInformationSequence")]
    orientation = _agreed(places, "ImageOrientationPatient", 6, DIRECTION_TOLERANCE)
    position = _agreed(places, "ImagePositionPatient", 3, POSITION_TOLERANCE_MM)
    row_spacing, column_spacing = _pixel_spacing(header)
    plane = Plane(
        along_row=_unit(orientation[:3], header.name),
        along_column=_unit(orientation[3:], header.name),
        position=position,
        row_spacing_mm=row_spacing,
        column_spacing_mm=column_spacing,
    )
    if abs(plane.along_row @ plane.along_column) > DIRECTION_TOLERANCE:
        raise FormatError(
            f"{header.name}: the cosines of {tag_words('ImageOrientationPatient')} are not at a right angle; "
            "export it again"
        )
    _check_patient_orientation(header, plane)
    return plane


def volume_affine(plane: Plane, step: Vector) -> NDArray[np.float64]:
    """Return the map (4, 4) from (column, row, slice) to mm right, front and head."""
    affine = np.eye(4)
    affine[:3, 0] = plane.along_row * plane.column_spacing_mm
    affine[:3, 1] = plane.along_column * plane.row_spacing_mm
    affine[:3, 2] = step
    affine[:3, 3] = plane.position
    ras: NDArray[np.float64] = LPS_TO_RAS @ affine
    return ras


def to_canonical(
    voxels: NDArray[np.float32], affine: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Reorder (column, row, slice) so that the axes are nearest to right, front and head; no value changes."""
    orientation = io_orientation(affine)
    turned: NDArray[np.float64] = affine @ inv_ornt_aff(orientation, voxels.shape)
    return apply_orientation(voxels, orientation), turned


def order_planes(planes: Sequence[Plane], name: str) -> tuple[list[int], Vector]:
    """Return the order of at least two parallel slices along their normal, and the step from one to the next in mm."""
    first = planes[0]
    for plane in planes[1:]:
        _check_parallel(first, plane, name)
    positions = np.stack([plane.position for plane in planes])
    order = np.argsort(positions @ first.normal, kind="stable")
    heights = (positions @ first.normal)[order]
    _check_even(np.diff(heights), name)
    step = (positions[order[-1]] - positions[order[0]]) / (len(planes) - 1)
    line = positions[order[0]] + np.arange(len(planes))[:, None] * step
    limit = POSITION_TOLERANCE_MM + SPACING_TOLERANCE * float(np.linalg.norm(step))
    straight = np.abs(positions[order] - line).max() <= limit
    if not straight or step @ first.normal < SHEAR_LIMIT * np.linalg.norm(step):
        raise FormatError(f"{name}: its slices are shifted against each other; export one volume without a shear")
    return order.tolist(), step


def frame_step(header: Attributes, plane: Plane) -> tuple[Vector, tuple[str, ...]]:
    """Return the step from frame to frame of a multi-frame image in mm, and what had to be assumed.

    A negative spacing stacks in front of the first slice, against the normal (PS3.3 C.8.4.15).
    """
    spacing = header.number("SpacingBetweenSlices")
    notes: tuple[str, ...] = ()
    if spacing is None:
        spacing = header.number("SliceThickness")
        if spacing is None or abs(plane.normal[0]) > 1 - TILT_LIMIT:  # then the sign would decide which side is left
            raise FormatError(
                f"{header.name} does not hold {tag_words('SpacingBetweenSlices')}, so how its slices are stacked is "
                "unknown; export it with that attribute"
            )
        notes = (f"{tag_words('SpacingBetweenSlices')} is missing: the slice thickness was taken, along the normal",)
    _check_spacing(abs(spacing), header.name)
    return plane.normal * spacing, notes


def check_transverse(plane: Plane, name: str) -> None:
    """Raise `FormatError` unless the image lies as near to the patient's axes as flips alone can set upright."""
    in_plane = float(np.abs(plane.along_row[:2]).max())
    if min(abs(plane.normal[2]), in_plane) < TILT_LIMIT:
        raise FormatError(f"{name} is one slice that is not transverse; give transverse slices or the whole volume")
    across, along = plane.column_spacing_mm, plane.row_spacing_mm
    if abs(across - along) > DIRECTION_TOLERANCE * along:
        raise FormatError(f"{name} has pixels of {across:g} x {along:g} mm; square pixels are needed: resample it")


def _agreed(places: Sequence[Attributes], keyword: str, count: int, tolerance: float) -> Vector:
    name = places[0].name
    found = [numbers for place in places if (numbers := place.numbers(keyword, count)) is not None]
    if not found:
        alone = "; its patient position alone does not say it" if places[0].word("PatientPosition") else ""
        raise FormatError(
            f"{name} does not hold {tag_words(keyword)}, so which side is left and where it lies is unknown{alone}; "
            "export it with that attribute"
        )
    if any(np.abs(np.subtract(other, found[0])).max() > tolerance for other in found[1:]):
        raise FormatError(f"{name} holds two {tag_words(keyword)} that differ; export one reconstruction alone")
    return np.array(found[0], dtype=np.float64)


def _unit(direction: Vector, name: str) -> Vector:
    length = float(np.linalg.norm(direction))
    if abs(length - 1) > DIRECTION_TOLERANCE:
        raise FormatError(
            f"{name}: {tag_words('ImageOrientationPatient')} holds a direction of length {length:g}, not 1; "
            "export it again"
        )
    return direction / length


def _pixel_spacing(header: Attributes) -> tuple[float, float]:
    spacing = header.numbers("PixelSpacing", 2)
    if spacing is None:
        raise FormatError(f"{header.name} does not hold {tag_words('PixelSpacing')}; export it with that attribute")
    for side in spacing:
        _check_spacing(side, header.name)
    return spacing[0], spacing[1]


def _check_spacing(spacing_mm: float, name: str) -> None:
    try:
        check_pixel_spacing(spacing_mm)
    except SlicesError as error:
        raise FormatError(f"{name}: {error}") from None


def _check_patient_orientation(header: Attributes, plane: Plane) -> None:
    """Refuse letters of PatientOrientation that contradict the cosines: one of the two has left and right swapped."""
    signed_axes = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "H": (2, 1), "F": (2, -1)}
    for word, direction in zip(header.words("PatientOrientation"), (plane.along_row, plane.along_column), strict=False):
        axis, sign = signed_axes.get(word.strip()[:1], (0, 0))
        if direction[axis] * sign < -DIRECTION_TOLERANCE:
            raise FormatError(
                f"{header.name}: {tag_words('PatientOrientation')} contradicts "
                f"{tag_words('ImageOrientationPatient')}, so which side is left is unknown; export it again"
            )


def _check_parallel(first: Plane, other: Plane, name: str) -> None:
    turned = max(np.abs(first.along_row - other.along_row).max(), np.abs(first.along_column - other.along_column).max())
    if turned > DIRECTION_TOLERANCE:
        raise FormatError(f"{name} mixes orientations: its slices are not parallel; export one orientation alone")
    ratios = (first.row_spacing_mm / other.row_spacing_mm, first.column_spacing_mm / other.column_spacing_mm)
    if np.abs(np.subtract(ratios, 1)).max() > DIRECTION_TOLERANCE:
        raise FormatError(f"{name} mixes pixel spacings; export one reconstruction alone")


def _check_even(gaps: NDArray[np.float64], name: str) -> None:
    """Raise `FormatError` for slices that share a place, are missing, or are unequally spaced."""
    usual = float(np.median(gaps))
    if gaps.min() <= POSITION_TOLERANCE_MM:
        raise FormatError(f"{name} has two slices at one place; export one volume alone, each slice once")
    _check_spacing(usual, name)
    multiples = gaps / usual
    if np.abs(multiples - 1).max() <= SPACING_TOLERANCE:
        return
    missing = int((np.round(multiples) - 1).clip(0).sum())
    if missing and np.abs(multiples - np.round(multiples)).max() <= SPACING_TOLERANCE * multiples.max():
        raise FormatError(f"{name} lacks {missing} of its slices ({usual:g} mm apart); copy the whole series")
    raise FormatError(
        f"{name} has slices {gaps.min():g} to {gaps.max():g} mm apart; equal distances are needed: resample it"
    )
