"""Take slices out of an uploaded file: its bytes in, checked counts out. Runs in the measuring process."""

from dataclasses import dataclass

import numpy as np

from serving.settings import MAX_SLICES
from spect.drift import Comparability
from spect.errors import RequestError, SlicesError
from spect.formats.parsed import ParsedSlices, Words
from spect.formats.reader import parse_slices
from spect.scan_check import ScanSet
from spect.slices import FIELD_MM

_NAME = "the uploaded file"  # never the client's own name for it: that may be a patient's


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """The bytes of a file, the pixel spacing if the form says one, and the form's fields."""

    content: bytes
    pixel_spacing_mm: float | None
    fields: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadedSlices:
    """Slices of an upload with the pixel spacing they are measured at."""

    parsed: ParsedSlices
    pixel_spacing_mm: float
    pixel_spacing_source: str


def read_upload(upload: Upload, *, max_bytes: int) -> UploadedSlices:
    """Parse npz, npy or NIfTI bytes; raise `FormatError` or `SlicesError` for what cannot be measured."""
    parsed = parse_slices(upload.content, name=_NAME, max_bytes=max_bytes)
    if len(parsed) > MAX_SLICES:
        raise SlicesError(f"at most {MAX_SLICES} slices are measured at a time, got {len(parsed)}; split the file")
    if upload.pixel_spacing_mm is not None:
        return UploadedSlices(parsed=parsed, pixel_spacing_mm=upload.pixel_spacing_mm, pixel_spacing_source="field")
    if parsed.pixel_spacing_mm is not None:
        return UploadedSlices(parsed=parsed, pixel_spacing_mm=parsed.pixel_spacing_mm, pixel_spacing_source="file")
    assumed = FIELD_MM / parsed.counts.shape[-1]
    return UploadedSlices(parsed=parsed, pixel_spacing_mm=assumed, pixel_spacing_source="assumed")


def to_scan_set(upload: Upload, slices: UploadedSlices) -> ScanSet:
    """Turn an upload into scans that can be compared with a reference.

    Level, pattern and patient stand beside `counts` in the file; the form's `level` and `pattern` hold for all slices
    of a file without them, and without `patient` every slice counts as a patient's only one. The form's
    `intensity_unit`, else the file's, and `intensity_scaling` say what the counts were measured in; mean counts compare
    only then.
    """
    parsed, fields = slices.parsed, upload.fields
    return ScanSet(
        counts=parsed.counts,
        level=_label(parsed.level, "level", fields, len(parsed)),
        pattern=_label(parsed.pattern, "pattern", fields, len(parsed)),
        patient=np.arange(len(parsed)).astype(np.str_) if parsed.patient is None else parsed.patient,
        measured_in=Comparability(
            intensity_unit=fields.get("intensity_unit", parsed.intensity_unit or "unknown")[:60],
            intensity_scaling=fields.get("intensity_scaling", "whole-cohort")[:60],
            pixel_spacing_mm=slices.pixel_spacing_mm,
        ),
    )


def _label(in_file: Words | None, name: str, fields: dict[str, str], slices: int) -> Words:
    if in_file is not None:
        return in_file
    if name not in fields:
        raise RequestError(f"{name} is missing; give it beside counts in the file, or as a field of the form")
    return np.full(slices, fields[name][:40])
