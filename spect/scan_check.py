"""Check a set of new scans against a released model's reference: measure, group by condition, judge, sum up."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spect.conditions import CONDITIONS, Condition, parse_condition
from spect.drift import Comparability, judge_scans
from spect.errors import QuantificationError, SlicesError
from spect.features import FEATURES, compute_features
from spect.judgement import DriftVerdict, Judgement, worst_verdict
from spect.profile import ReferenceProfile
from spect.slices import FIELD_MM, Counts, check_counts, resample_to_matrix

Progress = Callable[[int], None]
FIELD_TOLERANCE_MM = 1.0  # headers round their spacings


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanSet:
    """Slices of patients with what is needed to compare them; arrays have one entry a slice."""

    counts: Counts  # (n, rows, columns)
    level: NDArray[np.str_]  # (n,)
    pattern: NDArray[np.str_]  # (n,)
    patient: NDArray[np.str_]  # (n,); any word that keeps patients apart
    measured_in: Comparability

    def __post_init__(self) -> None:
        check_counts(self.counts)
        sizes = {len(array) for array in (self.counts, self.level, self.pattern, self.patient)}
        if len(sizes) != 1:
            raise SlicesError(f"counts, level, pattern and patient need one entry a slice, got lengths {sorted(sizes)}")
        for level, pattern in set(zip(self.level.tolist(), self.pattern.tolist(), strict=True)):
            parse_condition(level, pattern)

    def __len__(self) -> int:
        return len(self.counts)

    def rows_of(self, condition: Condition) -> NDArray[np.int64]:
        """Rows of one condition."""
        return np.flatnonzero((self.level == condition.level) & (self.pattern == condition.pattern))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanCheck:
    """The judgements of all conditions that occur in a set of scans."""

    judgements: tuple[Judgement, ...]
    slices: int
    unmeasurable: int  # slices without a brain outline; they are in no judgement

    @property
    def verdict(self) -> DriftVerdict:
        """The worst of all judgements."""
        return worst_verdict(judgement.verdict for judgement in self.judgements)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "verdict": str(self.verdict),
            "slices": self.slices,
            "unmeasurable": self.unmeasurable,
            "judgements": [judgement.to_dict() for judgement in self.judgements],
        }


def check_scans(profile: ReferenceProfile, scans: ScanSet, *, progress: Progress | None = None) -> ScanCheck:
    """Judge a set of scans; conditions that do not occur in it, or not in the profile, are left out.

    Scans of finer pixels than the profile's, over the same field of view, are resampled to its pixels. Coarser ones
    lack the detail that features describe: they are not comparable, nor are those of another spacing and field.
    `progress` is called with 1 after every slice. Raises `SlicesError` where none of the conditions is known.
    """
    known = [condition for condition in CONDITIONS if str(condition) in profile.conditions]
    present = [condition for condition in known if len(scans.rows_of(condition))]
    if not present:
        raise SlicesError(f"no slice is of a condition the profile knows: {', '.join(profile.conditions)}")
    matrix = _matrix_of_profile(profile, scans)
    measured_in = scans.measured_in
    if matrix is not None:
        measured_in = replace(measured_in, pixel_spacing_mm=profile.pixel_spacing_mm)
    judgements: list[Judgement] = []
    unmeasurable = 0
    for condition in present:
        rows = scans.rows_of(condition)
        stacks = ((row, _resample(scans.counts[row : row + 1], matrix)) for row in rows.tolist())
        features, measured = _measure(stacks, measured_in.pixel_spacing_mm, progress or (lambda _: None))
        unmeasurable += len(rows) - len(measured)
        judgements += judge_scans(
            profile, condition, features, patients=scans.patient[measured], measured_in=measured_in
        )
    return ScanCheck(judgements=tuple(judgements), slices=len(scans), unmeasurable=unmeasurable)


def _matrix_of_profile(profile: ReferenceProfile, scans: ScanSet) -> int | None:
    """Return the matrix at which finer scans have the profile's spacing; None where they are measured as they are."""
    rows, columns = scans.counts.shape[1:]
    spacing = scans.measured_in.pixel_spacing_mm
    has_its_field = rows == columns and abs(rows * spacing - FIELD_MM) <= FIELD_TOLERANCE_MM
    matrix = round(FIELD_MM / profile.pixel_spacing_mm)
    is_finer = not scans.measured_in.has_spacing_of(profile) and rows >= matrix
    return matrix if has_its_field and is_finer else None


def _resample(counts: Counts, matrix: int | None) -> Counts:
    return counts if matrix is None else resample_to_matrix(counts, matrix)


def _measure(
    stacks: Iterable[tuple[int, Counts]], pixel_spacing_mm: float, progress: Progress
) -> tuple[Mapping[str, NDArray[np.float64]], NDArray[np.int64]]:
    """Measure stacks of one slice under their rows, and return the features of the measurable, and their rows."""
    measured = list(_measure_each(stacks, pixel_spacing_mm, progress))
    kept = np.array([row for row, _ in measured], dtype=np.int64)
    return {name: np.array([features[name] for _, features in measured]) for name in FEATURES}, kept


def _measure_each(
    stacks: Iterable[tuple[int, Counts]], pixel_spacing_mm: float, progress: Progress
) -> Iterator[tuple[int, dict[str, float]]]:
    for row, counts in stacks:
        try:
            measured = compute_features(counts, pixel_spacing_mm=pixel_spacing_mm)
        except QuantificationError:
            measured = {}
        progress(1)
        features = {name: float(values[0]) for name, values in measured.items()}
        if features and np.isfinite(list(features.values())).all():
            yield row, features
