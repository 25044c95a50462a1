"""One scan as it was acquired: which of its slices are kept, what each shows, whose it is, and what stands out."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cohort.importing.deidentify import Pseudonyms
from cohort.importing.labels import FileLabel, Left
from cohort.importing.sources import Scan
from cohort.quality import flag_slices
from spect.conditions import Condition, Level, Pattern, parse_condition
from spect.errors import FormatError
from spect.formats import dicom, picture
from spect.formats.field import check_pixel_spacing, fit_to_field
from spect.formats.parsed import ParsedSlices, Words
from spect.formats.planes import CROPPED_SHARE, DEFAULT_PLANES, SAME_SPACING
from spect.formats.reader import is_dicom_file, parse_slices
from spect.formats.units import GRAY_UNITS, KNOWN_UNITS
from spect.slices import FIELD_MM, Counts, mirror_left_right

# A file of some kilobytes can claim any size: what one scan may take is bounded, about 1 GiB at its peak.
_MAX_BYTES = 2**28  # of its values as float32
_MAX_SLICES = 2048
_THE_SCAN = "the file"  # the name of a file may be a patient's


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledScans:
    """The slices of one scan that a cohort keeps, in the field, labelled and de-identified."""

    counts: Counts  # (n, matrix, matrix)
    conditions: tuple[Condition, ...]  # n
    patient: Words  # (n,)
    flags: tuple[tuple[str, ...], ...]  # n
    unit: str | None  # what the file says its counts are
    names_patient: bool  # the labels or the file say whose it is
    birth: str | None  # pseudonym of a birth date, to compare; never written
    notes: tuple[str, ...]


def read_scans(
    scan: Scan, label: FileLabel | None, *, planes: Mapping[Level, float] | None, matrix: int, pseudonyms: Pseudonyms
) -> LabelledScans:
    """Read one scan, labelled by itself, by `label`, or by both where they agree.

    No message names the file or quotes its text. Raises `FormatError`, `SlicesError` or `ConditionError` for one that
    gives no slice.
    """
    parsed = _parse(scan, label, planes, matrix)
    if len(parsed) > _MAX_SLICES:
        raise FormatError(f"it holds {len(parsed)} slices; at most {_MAX_SLICES} of one file are read: split it")
    if parsed.synthetic:
        raise FormatError("it is synthetic; a cohort holds scans of patients")
    if parsed.of_cohort:
        raise FormatError("it is a piece of a cohort, simulated or imported before; use that cohort as it is")
    parsed, spacing, notes = _placed(parsed, label)
    level = _one_of(parsed.level, label.level if label else None, len(parsed), "level", tuple(Level))
    pattern = _one_of(parsed.pattern, label.pattern if label else None, len(parsed), "pattern", tuple(Pattern))
    wanted, left_out = _usable(parsed, level, pattern, label)
    identifiers, of_patients = _identifiers(parsed, label, scan)
    kept = parsed.counts[wanted]
    return LabelledScans(
        counts=_fit(kept, spacing, matrix),
        conditions=tuple(parse_condition(*pair) for pair in zip(level[wanted], pattern[wanted], strict=True)),
        patient=np.array([pseudonyms.patient(identifier) for identifier in identifiers[wanted].tolist()]),
        flags=flag_slices(kept, pixel_spacing_mm=spacing),
        unit=_unit(parsed),
        birth=None if parsed.birth_date is None else pseudonyms.birth(parsed.birth_date),
        names_patient=parsed.patient is not None or (label is not None and label.patient is not None),
        notes=(*parsed.notes, *notes, *left_out, *of_patients, *_fitting_notes(kept, spacing, matrix)),
    )


def _parse(scan: Scan, label: FileLabel | None, planes: Mapping[Level, float] | None, matrix: int) -> ParsedSlices:
    paths = tuple(scan.files.values())
    is_dicom = is_dicom_file(paths[0], name=_THE_SCAN)
    asked = _planes_of(label, planes, is_dicom=is_dicom)
    if is_dicom:
        return dicom.read_series(paths, planes=asked, matrix=matrix, name=_THE_SCAN)
    if picture.is_picture(_head(paths[0])):
        return picture.read_slices(paths[0], name=_THE_SCAN, max_bytes=_MAX_BYTES)
    return parse_slices(paths[0], planes=asked, matrix=matrix, name=_THE_SCAN, max_bytes=_MAX_BYTES)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(8)
    except OSError as error:
        raise FormatError(f"{_THE_SCAN} cannot be read ({error.strerror}); check its rights") from None


def _planes_of(
    label: FileLabel | None, planes: Mapping[Level, float] | None, *, is_dicom: bool
) -> Mapping[Level, float] | None:
    """Return the heights to cut at: the row's, else the option's, else MNI's; None for DICOM, which is not in MNI."""
    chosen = label.planes if label is not None and label.planes else planes
    if not chosen:
        chosen = None if is_dicom else DEFAULT_PLANES
    if chosen is None or label is None or label.level is None:
        return chosen
    return {level: height for level, height in chosen.items() if level == label.level} or chosen


def _placed(parsed: ParsedSlices, label: FileLabel | None) -> tuple[ParsedSlices, float, list[str]]:
    """Return the slices with the patient's left on image right, their pixel spacing, and what was assumed."""
    left = label.left if label else None
    if not parsed.left_known and left is None:
        raise FormatError("it cannot say which side is the patient's left; say it in the column left of the labels")
    if parsed.left_known and left is Left.IMAGE_LEFT:
        raise FormatError("it states left and right itself; leave its cell in the column left empty")
    if left is Left.IMAGE_LEFT:
        parsed = replace(parsed, counts=mirror_left_right(parsed.counts))
    spacing, notes = _spacing(parsed, label.pixel_spacing_mm if label else None)
    return parsed, check_pixel_spacing(spacing), notes


def _spacing(parsed: ParsedSlices, asked: float | None) -> tuple[float, list[str]]:
    stated = parsed.pixel_spacing_mm
    if stated is not None and asked is not None and abs(stated - asked) > SAME_SPACING * stated:
        raise FormatError("it states another pixel spacing itself; leave its cell in the column pixel_spacing_mm empty")
    if stated is not None or asked is not None:
        return stated or asked or 0.0, []
    if parsed.intensity_unit in GRAY_UNITS.values():
        raise FormatError("a picture knows no pixel spacing; give it in the column pixel_spacing_mm of the labels")
    return FIELD_MM / parsed.counts.shape[-1], [f"states no pixel spacing: its width was taken as {FIELD_MM:g} mm"]


def _one_of(in_file: Words | None, asked: str | None, slices: int, what: str, known: tuple[str, ...]) -> Words:
    """Return the words of the file, or what the labels say of all its slices."""
    if in_file is None:
        if asked is None:
            raise FormatError(
                f"it does not say its {what}; give it with --labels" + " or --pattern" * (what != "level")
            )
        return np.full(slices, asked)
    if not np.isin(in_file, known).all():
        raise FormatError(f"it holds a {what} that is none of {', '.join(known)}; mend the file")
    if what == "pattern" and asked is not None and (in_file != asked).any():
        raise FormatError(f"it says {what} {in_file[in_file != asked][0]}, the labels say {asked}; mend one of them")
    return in_file


def _usable(
    parsed: ParsedSlices, level: Words, pattern: Words, label: FileLabel | None
) -> tuple[NDArray[np.bool_], list[str]]:
    """Return which slices are kept, and what is said of those that are not."""
    wanted = np.ones(len(parsed), dtype=bool)
    if label is not None and label.level is not None:
        wanted = level == label.level
        if not wanted.any():
            raise FormatError(f"it has no slice at level {label.level}; mend the labels or --planes")
    notes = []
    absent = wanted & (level == Level.CEREBELLUM.value) & (pattern == Pattern.BILATERAL.value)
    if absent.any() and not (absent == wanted).all():  # a whole volume of a bilateral patient: its other levels count
        left_out = int(absent.sum())
        notes.append(
            f"{left_out} slice{'s' * (left_out > 1)} of CER x bilateral left out: the reference study holds none"
        )
        wanted &= ~absent
    empty = wanted & ~parsed.counts.any(axis=(1, 2))
    if empty.any():
        left_out = int(empty.sum())
        notes.append(f"{left_out} slice{'s' * (left_out > 1)} without any count left out")
        wanted &= ~empty
    if not wanted.any():
        raise FormatError("every slice is empty")
    return wanted, notes


def _identifiers(parsed: ParsedSlices, label: FileLabel | None, scan: Scan) -> tuple[Words, list[str]]:
    """Return who each slice shows: what the labels say, else the file, else one patient a scan."""
    if label is not None and label.patient is not None:
        return np.full(len(parsed), label.patient), []
    if parsed.patient is not None:
        return parsed.patient, []
    notes = [] if len(parsed) <= len(Level) else ["names no patient: its slices count as one patient's"]
    return np.full(len(parsed), next(iter(scan.files.values())).resolve().as_posix()), notes


def _unit(parsed: ParsedSlices) -> str | None:
    if parsed.intensity_unit is not None and parsed.intensity_unit not in KNOWN_UNITS:
        raise FormatError(f"it states an intensity unit that is none of {', '.join(KNOWN_UNITS)}; convert it")
    return parsed.intensity_unit


def _fit(counts: Counts, spacing: float, matrix: int) -> Counts:
    slices = fit_to_field(counts, pixel_spacing_mm=spacing, matrix=matrix)
    empty = int((~slices.any(axis=(1, 2))).sum())
    if empty:
        raise FormatError(f"{empty} of its slices lie outside the field of {FIELD_MM:g} mm; check its pixel spacing")
    return slices


def _fitting_notes(counts: Counts, spacing: float, matrix: int) -> list[str]:
    rows, columns = counts.shape[1:]
    if (rows, columns) == (matrix, matrix) and abs(rows * spacing - FIELD_MM) <= 1:
        return []
    notes = [f"resampled from {rows} x {columns} pixels of {spacing:g} mm"]
    inside = tuple(np.abs(np.arange(side) - (side - 1) / 2) * spacing <= FIELD_MM / 2 for side in (rows, columns))
    total = float(counts.sum(dtype=np.float64))
    lost = 1 - float(counts[:, inside[0]][:, :, inside[1]].sum(dtype=np.float64)) / total
    if lost > CROPPED_SHARE:
        notes.append(f"cropped: {lost:.1%} of its counts lay outside the field of {FIELD_MM:g} mm")
    return notes
