"""What a cohort is: slices of patients with labels and a description, checked once, and its fingerprint."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cohort.checks import (
    check_fingerprint,
    check_labels,
    check_patients,
    check_seed_or_none,
    check_sizes,
    check_spacing,
    check_truth,
    check_word,
)
from cohort.shards import COUNTS
from spect.conditions import CONDITIONS, Condition, parse_condition
from spect.errors import CohortError, ConditionError, SlicesError
from spect.slices import Counts, check_counts

ORIENTATION = "row 0 anterior, patient's left on image right"
LABELS = ("level", "pattern", "patient", "split")
SPLITS = ("train", "selection", "test")
TRUTH_PREFIX = "truth_"


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortDescription:
    """What cohort.json says: all that is true of every slice of the cohort."""

    name: str  # the preset, or what an importer calls its source
    pixel_spacing_mm: float
    intensity_unit: str
    intensity_scaling: Literal["whole-cohort", "per-slice"]
    source: Literal["simulated", "acquired"]
    simulator_version: str | None = None
    seed: int | None = None
    orientation: str = ORIENTATION
    fingerprint: str = ""  # sha256; filled in by `build_cohort`

    def __post_init__(self) -> None:
        check_word("name", self.name)
        check_word("intensity_unit", self.intensity_unit)
        check_word("simulator_version", "" if self.simulator_version is None else self.simulator_version)
        check_spacing(self.pixel_spacing_mm)
        check_seed_or_none(self.seed)
        check_fingerprint(self.fingerprint)
        if self.intensity_scaling not in ("whole-cohort", "per-slice"):
            raise CohortError(f"intensity_scaling must be whole-cohort or per-slice, got {self.intensity_scaling!r}")
        if self.source not in ("simulated", "acquired"):
            raise CohortError(f"source must be simulated or acquired, got {self.source!r}")
        if self.orientation != ORIENTATION:
            raise CohortError(f"orientation must be {ORIENTATION!r}, got {self.orientation!r}; import the scans again")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """Slices of patients with their labels; every array has one entry a slice.

    `truth` holds what the simulator alone knows (side, territory, severity, ...); it is empty for acquired scans.
    """

    counts: NDArray[np.float32]  # (n, rows, columns)
    level: NDArray[np.str_]  # (n,)
    pattern: NDArray[np.str_]  # (n,)
    patient: NDArray[np.str_]  # (n,)
    split: NDArray[np.str_]  # (n,), train | selection | test
    description: CohortDescription
    truth: Mapping[str, NDArray[Any]] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        check_sizes(self.arrays())
        unknown = sorted(set(self.split.tolist()) - set(SPLITS))
        if unknown:
            raise CohortError(f"split must be one of {', '.join(SPLITS)}, got {', '.join(unknown)}")
        for level, pattern in sorted(set(zip(self.level.tolist(), self.pattern.tolist(), strict=True))):
            parse_condition(level, pattern)
        check_patients(self.patient, self.split)

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def matrix(self) -> int:
        """Rows (and columns) of a slice."""
        return int(self.counts.shape[1])

    @property
    def condition_index(self) -> NDArray[np.int64]:
        """`Condition.index` of every slice, (n,)."""
        index = {(str(condition.level), str(condition.pattern)): condition.index for condition in CONDITIONS}
        pairs = zip(self.level.tolist(), self.pattern.tolist(), strict=True)
        return np.array([index[pair] for pair in pairs], dtype=np.int64)

    def conditions(self) -> tuple[Condition, ...]:
        """Conditions that occur, in their fixed order."""
        present = set(self.condition_index.tolist())
        return tuple(condition for condition in CONDITIONS if condition.index in present)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Every array under its name in slices.npz."""
        truth = {f"{TRUTH_PREFIX}{name}": values for name, values in self.truth.items()}
        return {"counts": self.counts, **{name: getattr(self, name) for name in LABELS}, **truth}

    def select(self, *, split: str | None = None, condition: Condition | None = None) -> "Cohort":
        """Return the slices of one split, one condition, or both; the description keeps naming the whole cohort."""
        kept = np.ones(len(self), dtype=bool)
        if split is not None:
            kept &= self.split == split
        if condition is not None:
            kept &= (self.level == condition.level) & (self.pattern == condition.pattern)
        return self.take(np.flatnonzero(kept))

    def take(self, rows: NDArray[np.int64]) -> "Cohort":
        """Return the slices at `rows`, in that order."""
        return replace(
            self,
            counts=self.counts[rows],
            **{name: getattr(self, name)[rows] for name in LABELS},
            truth=MappingProxyType({name: values[rows] for name, values in self.truth.items()}),
        )


def build_cohort(arrays: Mapping[str, NDArray[Any]], description: CohortDescription) -> Cohort:
    """Check arrays named as in slices.npz and return them as a cohort whose description carries their fingerprint.

    Raises
    ------
    CohortError
        An array is missing, misshapen, or holds labels nobody knows.
    """
    check_names(arrays)
    digest = Fingerprint(description.pixel_spacing_mm)
    counts = parse_counts(arrays[COUNTS])
    digest.add(counts)
    return assemble(counts, arrays, description, digest)


def check_names(names: Collection[str]) -> None:
    """Raise `CohortError` where an array that every cohort has is not among these names."""
    missing = [name for name in (COUNTS, *LABELS) if name not in names]
    if missing:
        raise CohortError(f"a cohort needs the arrays counts, {', '.join(LABELS)}; missing {', '.join(missing)}")


def parse_counts(counts: NDArray[Any]) -> Counts:
    """Return counts as `check_counts` does; raise `CohortError` where they are none."""
    try:
        return check_counts(counts)
    except SlicesError as error:
        raise CohortError(str(error)) from error


def assemble(
    counts: Counts, others: Mapping[str, NDArray[Any]], description: CohortDescription, digest: "Fingerprint"
) -> Cohort:
    """Join checked counts, the other arrays and a description that takes the finished fingerprint."""
    labels = {name: np.asarray(others[name]) for name in LABELS}
    check_labels(labels)
    truth = {name.removeprefix(TRUTH_PREFIX): others[name] for name in others if name.startswith(TRUTH_PREFIX)}
    check_sizes({COUNTS: counts, **labels, **{f"{TRUTH_PREFIX}{name}": values for name, values in truth.items()}})
    check_truth(truth)
    digest.add_labels(labels)
    try:
        return Cohort(
            counts=counts,
            **labels,
            description=replace(description, fingerprint=digest.finish()),
            truth=MappingProxyType(truth),
        )
    except ConditionError as error:
        raise CohortError(str(error)) from error


class Fingerprint:
    """sha256 over pixel spacing, counts and labels, taken as slices come; the same however they are cut in files."""

    def __init__(self, pixel_spacing_mm: float) -> None:
        self._digest = hashlib.sha256()
        self._pixel_spacing_mm = pixel_spacing_mm
        self._shape: tuple[int, ...] | None = None  # of a slice
        # Labels come after all counts: kept as text, a few bytes a slice.
        self._labels = {name: bytearray(name.encode()) for name in LABELS}

    def add(self, counts: Counts) -> None:
        """Take the next slices (n, rows, columns); raise `CohortError` where their shape changes."""
        if self._shape is None:
            self._shape = counts.shape[1:]
            self._digest.update(f"{self._pixel_spacing_mm:.6f} {self._shape}".encode())
        if counts.shape[1:] != self._shape:
            raise CohortError(f"every slice of a cohort needs one shape, got {self._shape} and {counts.shape[1:]}")
        self._digest.update(np.ascontiguousarray(counts, dtype="<f4").data)

    def add_labels(self, labels: Mapping[str, NDArray[Any]]) -> None:
        """Take the labels of the next slices."""
        for name, text in self._labels.items():
            text.extend("".join(f"\n{label}" for label in labels[name].tolist()).encode())

    def finish(self) -> str:
        """Return the digest of everything taken."""
        for text in self._labels.values():
            self._digest.update(text)
        return self._digest.hexdigest()
