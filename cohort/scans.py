"""One file of acquired scans: which of its slices are kept, what each shows, and whose it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cohort.deidentify import Pseudonyms
from cohort.labels import FileLabel
from spect.conditions import Condition, Level, Pattern, parse_condition
from spect.errors import FormatError
from spect.formats.field import fit_to_field
from spect.formats.parsed import ParsedSlices, Words
from spect.formats.reader import parse_slices
from spect.slices import FIELD_MM, Counts

_BLOCK = 1024  # slices resampled at once


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledScans:
    """The slices of one file that a cohort keeps, in the field, labelled and de-identified."""

    counts: Counts  # (n, matrix, matrix)
    conditions: tuple[Condition, ...]  # n
    patient: Words  # (n,)
    notes: tuple[str, ...]


def read_scans(
    path: Path, label: FileLabel | None, *, planes: Mapping[Level, float], matrix: int, pseudonyms: Pseudonyms
) -> LabelledScans:
    """Read one file, labelled by itself, by `label`, or by both where they agree.

    The file's own name is kept out of every message. Raises `FormatError`, `SlicesError` or `ConditionError` for a
    file that gives no slice.
    """
    parsed = parse_slices(path, planes=planes, matrix=matrix, name="the file")
    if parsed.synthetic:
        raise FormatError("it is synthetic; a cohort holds scans of patients")
    level = _one_of(parsed.level, label.level if label else None, len(parsed), "level")
    pattern = _one_of(parsed.pattern, label.pattern if label else None, len(parsed), "pattern")
    wanted, notes = _usable(parsed, level, pattern, label)
    identifiers, more_notes = _identifiers(parsed, label, path)
    patient = np.array([pseudonyms.patient(identifier) for identifier in identifiers[wanted].tolist()])
    return LabelledScans(
        counts=_fit(parsed, wanted, matrix),
        conditions=tuple(parse_condition(*pair) for pair in zip(level[wanted], pattern[wanted], strict=True)),
        patient=patient,
        notes=(*parsed.notes, *notes, *more_notes),
    )


def _one_of(in_file: Words | None, asked: str | None, slices: int, what: str) -> Words:
    """Return the words of the file, or what the labels say of all its slices."""
    if in_file is None:
        if asked is None:
            raise FormatError(
                f"it does not say its {what}; give it with --labels" + " or --pattern" * (what != "level")
            )
        return np.full(slices, asked)
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
        notes.append(f"{int(absent.sum())} slice of CER x bilateral left out: the reference study holds none")
        wanted &= ~absent
    empty = wanted & ~parsed.counts.any(axis=(1, 2))
    if empty.any():
        notes.append(f"{int(empty.sum())} slices without any count left out")
        wanted &= ~empty
    if not wanted.any():
        raise FormatError("every slice is empty")
    return wanted, notes


def _identifiers(parsed: ParsedSlices, label: FileLabel | None, path: Path) -> tuple[Words, list[str]]:
    """Return who each slice shows: what the labels say, else the file, else one patient a file."""
    if label is not None and label.patient is not None:
        return np.full(len(parsed), label.patient), []
    if parsed.patient is not None:
        return parsed.patient, []
    notes = [] if len(parsed) <= len(Level) else ["names no patient: its slices count as one patient's"]
    return np.full(len(parsed), path.resolve().as_posix()), notes


def _fit(parsed: ParsedSlices, wanted: NDArray[np.bool_], matrix: int) -> Counts:
    counts = parsed.counts[wanted]
    spacing = parsed.pixel_spacing_mm or FIELD_MM / counts.shape[-1]
    blocks = range(0, len(counts), _BLOCK)
    fitted = [fit_to_field(counts[at : at + _BLOCK], pixel_spacing_mm=spacing, matrix=matrix) for at in blocks]
    return np.concatenate(fitted)
