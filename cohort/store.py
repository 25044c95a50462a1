"""A cohort on disk: slices.npz (or numbered slices-*.npz) beside one cohort.json, written whole or not at all."""

import hashlib
import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spect.conditions import CONDITIONS, Condition, parse_condition
from spect.errors import CohortError, ConditionError, SlicesError
from spect.slices import check_counts

DESCRIPTION_NAME = "cohort.json"
SLICES_NAME = "slices.npz"
ORIENTATION = "row 0 anterior, patient's left on image right"
LABELS = ("level", "pattern", "patient", "split")
SPLITS = ("train", "selection", "test")
TRUTH_PREFIX = "truth_"
_SLICES_FILE = re.compile(r"slices(-\d+)?\.npz")


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
        if not 0 < self.pixel_spacing_mm < np.inf:
            raise CohortError(f"pixel_spacing_mm must be positive, got {self.pixel_spacing_mm!r}")
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
        sizes = {name: len(array) for name, array in self.arrays().items()}
        if len(set(sizes.values())) != 1:
            raise CohortError(f"every array of a cohort needs one entry a slice, got {sizes}")
        unknown = sorted(set(self.split.tolist()) - set(SPLITS))
        if unknown:
            raise CohortError(f"split must be one of {', '.join(SPLITS)}, got {', '.join(unknown)}")
        for level, pattern in sorted(set(zip(self.level.tolist(), self.pattern.tolist(), strict=True))):
            parse_condition(level, pattern)

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
    missing = [name for name in ("counts", *LABELS) if name not in arrays]
    if missing:
        raise CohortError(f"a cohort needs the arrays counts, {', '.join(LABELS)}; missing {', '.join(missing)}")
    try:
        cohort = Cohort(
            counts=check_counts(arrays["counts"]),
            **{name: np.asarray(arrays[name]).astype(np.str_) for name in LABELS},
            description=description,
            truth=MappingProxyType(
                {name.removeprefix(TRUTH_PREFIX): arrays[name] for name in arrays if name.startswith(TRUTH_PREFIX)}
            ),
        )
    except (SlicesError, ConditionError) as error:
        raise CohortError(str(error)) from error
    return replace(cohort, description=replace(description, fingerprint=compute_fingerprint(cohort)))


def compute_fingerprint(cohort: Cohort) -> str:
    """sha256 over pixel spacing, counts and labels; the same however the files are cut or compressed."""
    digest = hashlib.sha256(f"{cohort.description.pixel_spacing_mm:.6f} {cohort.counts.shape[1:]}".encode())
    digest.update(np.ascontiguousarray(cohort.counts, dtype="<f4").data)
    for name in LABELS:
        digest.update("\n".join([name, *getattr(cohort, name).tolist()]).encode())
    return digest.hexdigest()


def is_cohort(directory: Path) -> bool:
    """Whether `directory` holds a cohort."""
    return (directory / DESCRIPTION_NAME).is_file() and bool(_slices_files(directory))


def check_destination(directory: Path) -> None:
    """Raise `CohortError` where a cohort must not be written: over a file, someone's files or an imported cohort.

    A simulated cohort may be replaced: its seed makes it again.
    """
    if directory.exists() and not directory.is_dir():
        raise CohortError(f"{directory} is a file; name a directory for the cohort")
    if directory.is_dir() and any(directory.iterdir()) and not is_cohort(directory):
        raise CohortError(f"{directory} is not empty and holds no cohort; name a new or empty directory")
    if is_cohort(directory) and load_description(directory).source == "acquired":
        raise CohortError(f"{directory} holds an imported cohort, which is not replaced; name another or remove it")


def save_cohort(cohort: Cohort, directory: Path) -> None:
    """Write a cohort, replacing the one that is there; raise `CohortError` as `check_destination` does."""
    check_destination(directory)
    with _staged(directory) as staging:
        np.savez(staging / SLICES_NAME, allow_pickle=False, **cohort.arrays())
        described = json.dumps(asdict(cohort.description), indent=2)
        (staging / DESCRIPTION_NAME).write_text(described + "\n", encoding="utf-8")


def load_cohort(directory: Path) -> Cohort:
    """Read a cohort from one slices.npz or from numbered slices-*.npz.

    Raises
    ------
    CohortError
        The directory holds no cohort, a file is broken, or the slices are not those cohort.json describes.
    """
    description = load_description(directory)
    files = _slices_files(directory)
    if not files:
        raise CohortError(f"{directory} holds no {SLICES_NAME}; simulate or import the cohort again")
    parts = [_load_arrays(path) for path in files]
    if any(set(part) != set(parts[0]) for part in parts):
        raise CohortError(f"{directory}: its slices files hold different arrays; simulate or import the cohort again")
    try:
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    except ValueError as error:
        raise CohortError(f"{directory}: its slices files do not fit together ({error}); write it again") from error
    cohort = build_cohort(joined, description)
    if description.fingerprint != cohort.description.fingerprint:
        raise CohortError(
            f"{directory}: the slices have fingerprint {cohort.description.fingerprint[:12]}, {DESCRIPTION_NAME} says "
            f"{description.fingerprint[:12] or 'none'}; the files changed after they were written: write it again"
        )
    return cohort


@contextmanager
def _staged(directory: Path) -> Iterator[Path]:
    """Lend a hidden sibling that becomes `directory` when the block succeeds, and vanishes when it does not."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        yield staging
        staging.chmod(0o755)
        _publish(staging, directory)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _publish(staging: Path, directory: Path) -> None:
    if not directory.exists():
        staging.rename(directory)
        return
    for stale in [directory / DESCRIPTION_NAME, *_slices_files(directory)]:
        stale.unlink(missing_ok=True)
    # The description last: a directory without it is no cohort, so nobody reads half of one.
    for path in [*_slices_files(staging), staging / DESCRIPTION_NAME]:
        path.replace(directory / path.name)


def _slices_files(directory: Path) -> list[Path]:
    if not directory.is_dir():
        return []
    return sorted(path for path in directory.iterdir() if _SLICES_FILE.fullmatch(path.name))


def load_description(directory: Path) -> CohortDescription:
    """Read what a cohort says of itself, without its slices; raise `CohortError` where that cannot be read."""
    if not directory.is_dir():
        raise CohortError(f"{directory} is not a directory; make a cohort with `synspect cohort simulate {directory}`")
    path = directory / DESCRIPTION_NAME
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CohortError(f"{path} is missing; simulate or import the cohort again") from None
    except (OSError, ValueError) as error:
        raise CohortError(f"{path} is not readable JSON ({error}); simulate or import the cohort again") from error
    known = {entry.name for entry in fields(CohortDescription)}
    if not isinstance(loaded, dict) or not set(loaded) <= known:
        raise CohortError(f"{path} does not describe a cohort of this version of synspect; write the cohort again")
    try:
        return CohortDescription(**loaded)
    except TypeError as error:
        raise CohortError(f"{path}: {error}; simulate or import the cohort again") from error


def _load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise CohortError(f"{path} holds one array, not an npz archive; simulate or import the cohort again")
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise CohortError(
            f"{path} is not a readable npz file ({error}); simulate or import the cohort again"
        ) from error
