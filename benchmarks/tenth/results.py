"""What the benchmark of few scans leaves on disk: what it was asked, and a file for each seed that is done."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from study.kept import check_same, open_kept, read_kept, write_kept
from study.plan import Scale

from training.config import TrainingConfig
from training.presets import PRESETS
from training.validation.lessons import Lesson

RECORD_NAME = "few-scans.json"
PRESET = "brain64"
MATRIX = 64

Taught = Literal["few", "few_synthetic", "few_gaussian", "all", "synthetic"]


class TenthRecord(BaseModel):
    """What all seeds share."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scale: Scale
    principal_scores: int
    slices: int  # synthetic, and Gaussian, a condition
    training_fingerprint: str
    training_source: str
    training_simulator_version: str | None
    test_fingerprint: str

    def config(self) -> TrainingConfig:
        """Return the settings of every training; raise `ConfigurationError` for one that cannot be.

        A run is judged once, at its end: some two dozen selection slices, of most conditions fewer than three, cannot
        choose between its states.
        """
        once = f"validate_every={self.scale.images}"
        scores = f"principal_scores={self.principal_scores}"
        return PRESETS[PRESET].changed_by([*self.scale.settings(), once, scores])


class SeedResult(BaseModel):
    """What became of a seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int
    outcome: Literal["measured", "no generator", "not measurable"]
    reason: str | None = None  # where nothing synthetic was measured
    tenth_fingerprint: str
    patients: int  # of the tenth
    slices_few: int  # training and selection slices of the tenth
    slices_trained: int  # of them, those that the generator learnt from
    slices_rest: int
    slices_synthetic: int
    slices_judged: int
    images_seen: int
    training_hours: float  # of what was kept
    measuring_hours: float
    machine: str
    precision: str
    trained_commit: str
    measured_commit: str
    changed_settings: dict[str, Any]  # of the preset, cadences among them
    finished_at: str
    lessons: dict[Taught, Lesson]  # without the synthetic ones where nothing synthetic was measured


class Tenths:
    """A directory of seeds: each with its cohort and its run, and the results of those that are done."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._results = path / "results"

    def open_for(self, wanted: TenthRecord) -> None:
        """Begin, or go on; raise `ConfigurationError` where something else was asked here."""
        open_kept(self.path / RECORD_NAME, wanted, (self.path, self._results))

    def check_same(self, wanted: TenthRecord) -> None:
        """Raise `ConfigurationError` where something else was asked here."""
        check_same(self.path / RECORD_NAME, wanted)

    def record(self) -> TenthRecord:
        """Read what the seeds share."""
        return read_kept(self.path / RECORD_NAME, TenthRecord)

    def seed_path(self, seed: int) -> Path:
        """Directory of a seed."""
        return self.path / f"seed{seed}"

    def cohort_path(self, seed: int) -> Path:
        """Where the tenth of a seed lies."""
        return self.seed_path(seed) / "cohort"

    def run_path(self, seed: int) -> Path:
        """Where the training of a seed lies."""
        return self.seed_path(seed) / "run"

    def lock_path(self, seed: int) -> Path:
        """Where the process that is at a seed says so."""
        return self._results / f".seed{seed}.lock"

    def result_path(self, seed: int) -> Path:
        """Where the result of a seed goes."""
        return self._results / f"seed{seed}.json"

    def save(self, result: SeedResult) -> None:
        """Write a result, whole or not at all."""
        write_kept(self.result_path(result.seed), result)

    def results(self) -> list[SeedResult]:
        """Read every result, by seed."""
        found = [read_kept(path, SeedResult) for path in self._results.glob("*.json")]
        return sorted(found, key=lambda result: result.seed)
