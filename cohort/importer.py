"""Files of acquired scans to a cohort: read, label, fit into the field, de-identify, split by patient."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

import numpy as np

from cohort.deidentify import Pseudonyms
from cohort.import_report import FileOutcome, ImportReport
from cohort.labels import FileLabel, check_files_exist, load_labels
from cohort.scans import LabelledScans, read_scans
from cohort.splits import SHARES, split_patients
from cohort.store import Cohort, CohortDescription, build_cohort, is_cohort
from spect.conditions import Level, parse_pattern
from spect.errors import CohortError, ConditionError, FormatError, SlicesError
from spect.formats.planes import DEFAULT_MATRIX, DEFAULT_PLANES
from spect.formats.reader import SUFFIXES, has_slices_suffix
from spect.slices import FIELD_MM

MAX_SLICES = 100_000  # 6.5 GB in memory
_TOLD = 3  # reasons in the error when nothing could be read

Progress = Callable[[int, int], None]


class Scaling(StrEnum):
    """Whether intensities of different slices can be compared."""

    WHOLE_COHORT = "whole-cohort"  # counts as they are, on one scale
    PER_SLICE = "per-slice"  # each slice over its own maximum: mean counts become a shape, not a blood flow


_UNITS = {Scaling.WHOLE_COHORT: "counts per pixel", Scaling.PER_SLICE: "share of the slice's maximum"}
_PER_SLICE_WARNING = "each slice was scaled to its own maximum: mean counts tell its shape, not its blood flow"


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
    planes: Mapping[Level, float] = field(default_factory=lambda: DEFAULT_PLANES)
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
    """Read a file, or every file below a directory, into one cohort.

    A file of a directory that cannot be used is skipped, with the reason in the report; a single file raises it.

    Raises
    ------
    CohortError
        Nothing can be read, the labels are wrong, or the slices are too many to hold.
    FormatError
        The single file is not one of slices.
    """
    files = _find_files(source)
    labels = _labels_of(files, settings)
    kept: list[LabelledScans] = []
    outcomes: list[FileOutcome] = []
    for done, (name, path) in enumerate(files.items()):
        progress(done, len(files))
        outcome = FileOutcome(name=name, pseudonym=pseudonyms.file(name))
        try:
            scans = _read_labelled(name, path, labels, settings, pseudonyms)
        except (FormatError, SlicesError, ConditionError) as error:
            if path == source:
                raise FormatError(f"{name}: {error}") from None
            outcomes.append(replace(outcome, skipped=str(error)))
            continue
        kept.append(scans)
        outcomes.append(replace(outcome, slices=len(scans.counts), notes=scans.notes))
        if sum(len(one.counts) for one in kept) > MAX_SLICES:
            raise CohortError(f"{source} holds more than {MAX_SLICES} slices; import it in parts")
    progress(len(files), len(files))
    if not kept:
        raise CohortError(f"{source} gave no slice: {_told(outcomes)}")
    return _gather(kept, tuple(outcomes), settings)


def _read_labelled(
    name: str, path: Path, labels: Mapping[str, FileLabel], settings: ImportSettings, pseudonyms: Pseudonyms
) -> LabelledScans:
    label = labels.get(name)
    if settings.labels is not None and label is None:
        raise FormatError("no row of the labels names it")
    return read_scans(path, label, planes=settings.planes, matrix=settings.matrix, pseudonyms=pseudonyms)


def _told(outcomes: list[FileOutcome]) -> str:
    reasons = [f"{outcome.name}: {outcome.skipped}" for outcome in outcomes[:_TOLD]]
    return "; ".join(reasons + [f"and {len(outcomes) - _TOLD} more"] * (len(outcomes) > _TOLD))


def _find_files(source: Path) -> dict[str, Path]:
    """Return the files to read by their name relative to the source."""
    if source.is_file():
        return {source.name: source}
    if not source.is_dir():
        raise CohortError(f"{source} does not exist; give a file of slices or a directory of them")
    if is_cohort(source):
        raise CohortError(f"{source} is a cohort already; use it as it is")
    found = sorted(path for path in source.rglob("*") if path.is_file() and has_slices_suffix(path))
    if not found:
        raise CohortError(f"{source} holds no file named {', '.join(SUFFIXES)}; give the directory of the scans")
    return {path.relative_to(source).as_posix(): path for path in found}


def _labels_of(files: Mapping[str, Path], settings: ImportSettings) -> dict[str, FileLabel]:
    if settings.labels is not None:
        labels = load_labels(settings.labels)
        check_files_exist(labels, files.keys(), settings.labels)
        return labels
    if settings.pattern is not None:
        return {name: FileLabel(row=0, pattern=settings.pattern) for name in files}
    return {}


def _gather(
    kept: list[LabelledScans], outcomes: tuple[FileOutcome, ...], settings: ImportSettings
) -> tuple[Cohort, ImportReport]:
    counts = np.concatenate([one.counts for one in kept])
    if settings.scaling is Scaling.PER_SLICE:
        counts = counts / counts.max(axis=(1, 2), keepdims=True)
    conditions = [condition for one in kept for condition in one.conditions]
    patient = np.concatenate([one.patient for one in kept])
    pattern = np.array([str(condition.pattern) for condition in conditions])
    split = split_patients(patient, pattern, seed=settings.seed)
    cohort = build_cohort(
        {
            "counts": counts,
            "level": np.array([str(condition.level) for condition in conditions]),
            "pattern": pattern,
            "patient": patient,
            "split": split,
        },
        CohortDescription(
            name="imported",  # never the source's name: it may be a patient's
            pixel_spacing_mm=FIELD_MM / settings.matrix,
            intensity_unit=_UNITS[settings.scaling],
            intensity_scaling=settings.scaling.value,
            source="acquired",
            seed=settings.seed,
        ),
    )
    by_split = {name: len(set(patient[split == name].tolist())) for name, _ in SHARES}
    report = ImportReport(
        outcomes=outcomes,
        planes={str(level): height for level, height in settings.planes.items()},
        scaling=settings.scaling.value,
        slices=len(cohort),
        patients=len(set(patient.tolist())),
        patients_by_split=by_split,
        warnings=tuple(_warnings(settings, by_split)),
    )
    return cohort, report


def _warnings(settings: ImportSettings, by_split: Mapping[str, int]) -> list[str]:
    warnings = [_PER_SLICE_WARNING] if settings.scaling is Scaling.PER_SLICE else []
    empty = [name for name, patients in by_split.items() if patients == 0]
    if empty:
        warnings.append(f"too few patients to fill {' and '.join(empty)}; training needs more")
    return warnings
