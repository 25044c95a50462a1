"""Results of a study made by hand, and a study's directory around them."""

from collections.abc import Sequence
from pathlib import Path

from study.plan import Arm, Scale
from study.results import ArmResult, Study, StudyRecord

from registry.bundle.panel import Panel

RECORD = StudyRecord(
    scale=Scale(matrix=64, width=16, images=16_000),
    training_fingerprint="a",
    training_source="simulated",
    training_simulator_version="2",
    test_fingerprint="b",
    is_quick=False,
)


def build_arm(dataset: str = "A", configuration: str = "ours", seed: int = 0, change: str | None = None) -> Arm:
    """Build an arm; ours on dataset A unless said otherwise."""
    return Arm.model_validate({"dataset": dataset, "configuration": configuration, "seed": seed, "change": change})


def build_result(arm: Arm, panel: Panel | None, **changes: object) -> ArmResult:
    """Build a result that was measured, but for the changes."""
    values = {
        "arm": arm,
        "outcome": "measured",
        "images_seen": RECORD.scale.images,
        "training_slices": 703,
        "training_hours": 0.5,
        "validation_hours": 0.25,
        "machine": "an abacus",
        "precision": "32-true",
        "git_commit": "0" * 40,
        "changed_settings": {},
        "finished_at": "2026-01-01T00:00:00+00:00",
        "panel": panel,
    }
    return ArmResult.model_validate(values | changes)


def write_study(path: Path, record: StudyRecord, results: Sequence[ArmResult]) -> Path:
    """Write what a study leaves on disk; return its directory."""
    study = Study(path)
    study.open_for(record)
    for result in results:
        study.save(result)
    return path
