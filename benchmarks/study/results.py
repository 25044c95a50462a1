"""What a study leaves on disk: what it was asked, and a file for each arm that is done; all tables come from these."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from study.kept import check_same, open_kept, read_kept, write_kept
from study.plan import ABLATIONS, Arm, Configuration, Scale

from registry.bundle.panel import Measurement, Panel

STUDY_NAME = "study.json"


class StudyRecord(BaseModel):
    """What all arms of a study share."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scale: Scale
    training_fingerprint: str
    training_source: str
    training_simulator_version: str | None
    test_fingerprint: str
    is_quick: bool  # fewer slices than figures may rest on


class ArmResult(BaseModel):
    """What became of an arm."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    arm: Arm
    outcome: Literal["measured", "no generator", "not measurable"]
    reason: str | None = None  # where it was not measured
    images_seen: int
    training_slices: int
    training_hours: float  # of what was kept
    validation_hours: float
    machine: str
    precision: str
    git_commit: str
    changed_settings: dict[str, Any]  # of the preset, cadences among them
    finished_at: str
    panel: Panel | None = None
    against_training: tuple[Measurement, ...] = ()  # P values as the reference study took them

    def find(self, metric: str, cell: str) -> Measurement | None:
        """Return a measurement that has a value."""
        found = self.panel.find(metric, cell) if self.panel else None
        return found if found is not None and found.value is not None else None


class Study:
    """A directory of runs and results."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.runs = path / "runs"
        self.figures = path / "figures"
        self._results = path / "results"

    def open_for(self, wanted: StudyRecord) -> None:
        """Begin the study, or go on with it; raise `ConfigurationError` where another one lies there."""
        open_kept(self.path / STUDY_NAME, wanted, (self.runs, self._results, self.figures))

    def check_same(self, wanted: StudyRecord) -> None:
        """Raise `ConfigurationError` where a study of another size or other cohorts lies here."""
        check_same(self.path / STUDY_NAME, wanted)

    def record(self) -> StudyRecord:
        """Read what the arms share."""
        return read_kept(self.path / STUDY_NAME, StudyRecord)

    def result_path(self, arm: Arm) -> Path:
        """Where the result of an arm goes."""
        return self._results / f"{arm.name}.json"

    def lock_path(self, arm: Arm) -> Path:
        """Where the process that is at an arm says so."""
        return self.runs / f".{arm.name}.lock"

    def save(self, result: ArmResult) -> None:
        """Write a result, whole or not at all."""
        write_kept(self.result_path(result.arm), result)

    def results(self) -> list[ArmResult]:
        """Read every result: the study by dataset, configuration and seed, then the ablations in their order."""
        found = [read_kept(path, ArmResult) for path in self._results.glob("*.json")]
        order = list(ABLATIONS)

        def place(result: ArmResult) -> tuple[Any, ...]:
            arm = result.arm
            known = order.index(arm.change) if arm.change in order else len(order)
            return (arm.change is not None, arm.dataset, arm.configuration != "paper", known, arm.change, arm.seed)

        return sorted(found, key=place)


def pick(results: Sequence[ArmResult], dataset: str, configuration: Configuration) -> list[ArmResult]:
    """Return the arms of one dataset and configuration, a seed each; no ablation."""
    return [
        result
        for result in results
        if (result.arm.dataset, result.arm.configuration, result.arm.change) == (dataset, configuration, None)
    ]


def ablated(results: Sequence[ArmResult]) -> list[ArmResult]:
    """Return the ablations."""
    return [result for result in results if result.arm.change is not None]


def first_measured(results: Sequence[ArmResult], dataset: str) -> ArmResult | None:
    """Return an arm of a dataset whose panel holds null and floor: they hang on cohorts and dataset, not on the arm."""
    return next((result for result in results if result.panel and result.arm.dataset == dataset), None)
