"""Files of acquired scans to a cohort: read, label, fit into the field, de-identify, split by patient."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cohort.importing.deidentify import Pseudonyms
from cohort.importing.labels import FileLabel, load_labels
from cohort.importing.report import FileOutcome, ImportReport, count_of
from cohort.importing.scans import LabelledScans, read_scans
from cohort.importing.sources import FoundScans, LeftOut, Scan, find_scans, match_labels
from cohort.importing.splits import SHARES, split_patients
from cohort.quality import Duplicate, Flag, find_duplicates, find_upside_down, join_patients
from cohort.store import Cohort, CohortDescription, build_cohort
from spect.conditions import Level, parse_pattern
from spect.errors import CohortError, ConditionError, FormatError, SlicesError
from spect.formats.planes import DEFAULT_MATRIX
from spect.formats.units import GRAY_UNITS
from spect.slices import DEFAULT_UNIT, FIELD_MM

MAX_SLICES = 100_000  # 6.5 GB in memory
_TOLD = 3  # reasons in the error when nothing could be read

Progress = Callable[[int, int], None]


class Scaling(StrEnum):
    """Whether intensities of different slices can be compared."""

    WHOLE_COHORT = "whole-cohort"  # counts as they are, on one scale
    PER_SLICE = "per-slice"  # each slice over its own maximum: mean counts become a shape, not a blood flow


_PER_SLICE_UNIT = "share of the slice's maximum"
_PER_SLICE_WARNING = "each slice was scaled to its own maximum: mean counts tell its shape, not its blood flow"
_PICTURES_WARNING = "gray values compare only between pictures that were exported with one and the same window"


def parse_scaling(word: str) -> Scaling:
    """Turn "per-slice" into `Scaling.PER_SLICE`; raise `CohortError` naming the choices."""
    try:
        return Scaling(word)
    except ValueError:
        raise CohortError(f"unknown scaling {word!r}; use one of {', '.join(Scaling)}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportSettings:
    """How files become slices."""

    labels: Path | None = None
    pattern: str | None = None  # of every file, where there are no labels
    planes: Mapping[Level, float] | None = None  # None: MNI's for NIfTI, none for DICOM
    scaling: Scaling = Scaling.WHOLE_COHORT
    matrix: int = DEFAULT_MATRIX
    seed: int = 0  # of the split

    def __post_init__(self) -> None:
        if self.labels is not None and self.pattern is not None:
            raise CohortError("labels and a pattern were both given; put the pattern into the labels")
        if self.pattern is not None:
            parse_pattern(self.pattern)


def import_cohort(
    source: Path,
    settings: ImportSettings,
    pseudonyms: Pseudonyms,
    *,
    progress: Progress = lambda _done, _total: None,
) -> tuple[Cohort, ImportReport]:
    """Read a file, or every scan below a directory, into one cohort.

    A scan of a directory that cannot be used is skipped, with the reason in the report; a single file raises it.

    Raises
    ------
    CohortError
        Nothing can be read, the labels are wrong, the units do not fit, or the slices are too many to hold.
    FormatError
        The single file is not one of slices.
    """
    found = find_scans(source)
    labels = _labels_of(found, settings)
    kept: list[LabelledScans] = []
    outcomes = {
        one.position: replace(_outcome_of(one, labels, pseudonyms), skipped=one.reason) for one in found.left_out
    }
    held = 0
    for done, scan in enumerate(found.scans):
        progress(done, len(found.scans))
        outcome = _outcome_of(scan, labels, pseudonyms)
        try:
            scans = _read_labelled(scan, labels, settings, pseudonyms)
        except (FormatError, SlicesError, ConditionError) as error:
            if source.is_file():
                raise FormatError(f"{source.name}: {error}") from None  # the name that was typed
            outcomes[scan.position] = replace(outcome, skipped=str(error))
            continue
        kept.append(scans)
        outcomes[scan.position] = replace(outcome, slices=len(scans.counts), notes=scans.notes)
        held += len(scans.counts)
        if held > MAX_SLICES:
            raise CohortError(f"{source} holds more than {MAX_SLICES} slices; import it in parts")
    progress(len(found.scans), len(found.scans))
    told = [outcomes[position] for position in sorted(outcomes)]
    if not kept:
        raise CohortError(f"{source} gave no slice: {_told(told)}")
    return _gather(kept, told, found, settings)


def _outcome_of(one: Scan | LeftOut, labels: Mapping[str, FileLabel], pseudonyms: Pseudonyms) -> FileOutcome:
    """Say which scan it is without its name, which may be a patient's."""
    place = f"scan {one.position} in the order of names"
    if one.name in labels and labels[one.name].row is not None:
        place = f"scan {one.position} (row {labels[one.name].row} of the labels)"
    return FileOutcome(place=place, pseudonym=pseudonyms.file(one.name))


def _read_labelled(
    scan: Scan, labels: Mapping[str, FileLabel], settings: ImportSettings, pseudonyms: Pseudonyms
) -> LabelledScans:
    label = labels.get(scan.name)
    if settings.labels is not None and label is None:
        raise FormatError("no row of the labels names it")
    return read_scans(scan, label, planes=settings.planes, matrix=settings.matrix, pseudonyms=pseudonyms)


def _told(outcomes: list[FileOutcome]) -> str:
    reasons = [f"{outcome.place}: {outcome.skipped}" for outcome in outcomes[:_TOLD]]
    return "; ".join(reasons + [f"and {len(outcomes) - _TOLD} more"] * (len(outcomes) > _TOLD))


def _labels_of(found: FoundScans, settings: ImportSettings) -> dict[str, FileLabel]:
    if settings.labels is not None:
        return match_labels(load_labels(settings.labels), found)
    if settings.pattern is not None:
        return {scan.name: FileLabel(row=None, pattern=settings.pattern) for scan in found.scans}
    return {}


def _gather(
    kept: list[LabelledScans], outcomes: list[FileOutcome], found: FoundScans, settings: ImportSettings
) -> tuple[Cohort, ImportReport]:
    unit, warnings = _unit_of(kept, settings.scaling)
    counts = np.concatenate([one.counts for one in kept])
    if settings.scaling is Scaling.PER_SLICE:
        counts = counts / np.maximum(counts.max(axis=(1, 2), keepdims=True), np.finfo(np.float32).tiny)
    conditions = [condition for one in kept for condition in one.conditions]
    level = np.array([str(condition.level) for condition in conditions])
    pattern = np.array([str(condition.pattern) for condition in conditions])
    patient = np.concatenate([one.patient for one in kept])
    spacing = FIELD_MM / settings.matrix
    index = np.array([condition.index for condition in conditions])
    duplicates = find_duplicates(counts, index, pixel_spacing_mm=spacing)
    # Patients who share a scan go into one split together: a copy must not be both trained on and tested with.
    split = split_patients(join_patients(patient, duplicates), pattern, seed=settings.seed)
    cohort = build_cohort(
        {"counts": counts, "level": level, "pattern": pattern, "patient": patient, "split": split},
        CohortDescription(
            name="imported",  # never the source's name: it may be a patient's
            pixel_spacing_mm=spacing,
            intensity_unit=unit,
            intensity_scaling=settings.scaling.value,
            source="acquired",
            seed=settings.seed,
        ),
    )
    flags = [list(slice_flags) for one in kept for slice_flags in one.flags]
    for row in np.flatnonzero(find_upside_down(counts, level, pixel_spacing_mm=spacing)).tolist():
        flags[row].append(Flag.UPSIDE_DOWN.value)
    notes = [list(words) for words in flags]
    for pair in duplicates:
        words = "exact copy of an earlier slice" if pair.exact else "nearly an earlier slice"
        contradicts = index[pair.first] != index[pair.second]
        notes[pair.second].append(f"{words} with another label" if contradicts else words)
    changing = _patients_of_several(patient, pattern)
    for row in np.flatnonzero(np.isin(patient, changing)).tolist():
        notes[row].append("its patient has slices of another pattern")
    by_split = {name: len(set(patient[split == name].tolist())) for name, _ in SHARES}
    report = ImportReport(
        outcomes=_with_notes(outcomes, notes, level.tolist()),
        planes=None if settings.planes is None else {str(at): height for at, height in settings.planes.items()},
        scaling=settings.scaling.value,
        unit=unit,
        slices=len(cohort),
        patients=len(set(patient.tolist())),
        patients_by_split=by_split,
        ignored_files=len(found.ignored),
        flags=dict(Counter(word for words in flags for word in words)),
        duplicates=dict(Counter("exact" if pair.exact else "near" for pair in duplicates)),
        warnings=(
            *warnings,
            *_label_warnings(index, duplicates, changing),
            *_person_warnings(kept),
            *_warnings(kept, patient.tolist(), [(p.first, p.second) for p in duplicates], by_split),
        ),
    )
    return cohort, report


def _unit_of(kept: list[LabelledScans], scaling: Scaling) -> tuple[str, list[str]]:
    """Return the one unit of all scans and what to warn of; raise `CohortError` where they state different ones."""
    stated = Counter(one.unit for one in kept if one.unit is not None)
    if scaling is Scaling.PER_SLICE:
        return _PER_SLICE_UNIT, [_PER_SLICE_WARNING]
    if len(stated) > 1:
        told = ", ".join(f"{scans} in {unit}" for unit, scans in sorted(stated.items()))
        raise CohortError(f"the scans state different units ({told}); import each unit as a cohort of its own")
    unit = next(iter(stated), DEFAULT_UNIT)
    warnings = [_PICTURES_WARNING] if unit in GRAY_UNITS.values() else []
    silent = sum(one.unit is None for one in kept)
    if stated and silent:
        warnings.append(f"{count_of(silent, 'scan')} without an intensity unit, taken to be in {unit} as the others")
    return unit, warnings


def _with_notes(outcomes: list[FileOutcome], notes: list[list[str]], level: list[str]) -> tuple[FileOutcome, ...]:
    """Add what was found of slices to the outcome of their scan."""
    told, at = [], 0
    for outcome in outcomes:
        rows = range(at, at + outcome.slices)
        found = Counter(f"{level[row]}: {word}" for row in rows for word in notes[row])
        words = tuple(word if times == 1 else f"{word} ({times} slices)" for word, times in found.items())
        told.append(replace(outcome, notes=(*outcome.notes, *words)))
        at += outcome.slices
    return tuple(told)


def _patients_of_several(patient: NDArray[np.str_], pattern: NDArray[np.str_]) -> list[str]:
    """Return the patients whose slices are of more than one pattern."""
    patterns = Counter(name for name, _ in set(zip(patient.tolist(), pattern.tolist(), strict=True)))
    return [name for name, count in sorted(patterns.items()) if count > 1]


def _label_warnings(index: NDArray[np.int64], duplicates: tuple[Duplicate, ...], changing: list[str]) -> Iterator[str]:
    contradicting = sum(bool(index[pair.first] != index[pair.second]) for pair in duplicates)
    if contradicting:
        yield (
            f"{count_of(contradicting, 'slice')} copied exactly from a slice with another level or pattern: one of the "
            "two labels is wrong; mend it and import again"
        )
    if changing:
        yield (
            f"{count_of(len(changing), 'patient')} with more than one pattern: right only for a patient scanned more "
            "than once; check the labels"
        )


def _person_warnings(kept: list[LabelledScans]) -> Iterator[str]:
    """Warn where one number seems to stand for two people; neither is told."""
    births: dict[str, set[str]] = {}
    for one in kept:
        if one.birth is not None:
            for name in set(one.patient.tolist()):
                births.setdefault(name, set()).add(one.birth)
    shared = sum(len(of_patient) > 1 for of_patient in births.values())
    if shared:
        yield (
            f"{count_of(shared, 'patient')} with scans of different birth dates: two people may share a number; keep "
            "them apart in the column patient"
        )


def _warnings(
    kept: list[LabelledScans], patient: list[str], pairs: list[tuple[int, int]], by_split: Mapping[str, int]
) -> list[str]:
    warnings = []
    nameless = sum(not one.names_patient for one in kept)
    if nameless > 1:
        warnings.append(
            f"{nameless} scans name no patient and count as one patient each; give the column patient where some share"
        )
    shared = sum(patient[first] != patient[second] for first, second in pairs)
    if shared:
        warnings.append(
            f"{count_of(shared, 'slice')} repeating one of another patient; such patients were put into one split "
            "together"
        )
    empty = [name for name, patients in by_split.items() if patients == 0]
    if empty:
        warnings.append(f"too few patients to fill {' and '.join(empty)}; training needs more")
    return warnings
