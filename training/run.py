"""A training run on disk: its configuration, metrics, checkpoints and figures; the only place that knows the paths."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from spect.atomic import write_atomically
from spect.errors import ConfigurationError, RunError
from spect.home import home_directory
from spect.intensity import IntensityScale
from training.config import TrainingConfig

CONFIG_NAME = "config.json"
STATUS_NAME = "status.json"

Status = Literal["created", "running", "interrupted", "failed", "finished"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """What config.json says: everything that fixes the run, and what it was trained on."""

    name: str
    preset: str
    dataset: Literal["A", "B"]  # A: all levels; B: cortex only
    seed: int
    config: TrainingConfig
    cohort_path: str
    cohort_fingerprint: str
    cohort_source: str
    simulator_version: str | None
    intensity_unit: str
    intensity_scaling: str
    training_slices: int
    max_counts: float
    matrix: int
    pixel_spacing_mm: float
    git_commit: str
    precision: str
    created_at: str

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return values | {"config": self.config.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RunRecord":
        """Rebuild from `to_dict`; raise `RunError` on missing or unknown entries."""
        try:
            return cls(**{**values, "config": TrainingConfig.from_dict(values["config"])})
        except (KeyError, TypeError, ConfigurationError) as error:
            raise RunError(f"the run's configuration cannot be used: {error}") from None

    def intensity_scale(self) -> IntensityScale:
        """Return the map between counts and model images."""
        return IntensityScale(max_counts=self.max_counts)


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """Paths of a run, and its small files."""

    path: Path

    @classmethod
    def create(cls, path: Path, record: RunRecord) -> "RunDirectory":
        """Make the directory and write config.json; raise `RunError` where a run is there already."""
        if (path / CONFIG_NAME).exists():
            raise RunError(f"{path} holds a run already; resume it with --resume {path}, or choose another --out")
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise RunError(f"{path} exists and is not an empty directory; choose another --out")
        run = cls(path.absolute())
        try:
            for directory in (run.checkpoints, run.figures):
                directory.mkdir(parents=True, exist_ok=True)
            write_atomically(path / CONFIG_NAME, json.dumps(record.to_dict(), indent=2).encode() + b"\n")
        except OSError as error:
            raise RunError(f"{path} cannot be written: {error.strerror}; choose another --out") from None
        run.set_status("created")
        return run

    @classmethod
    def open(cls, name_or_path: str | Path) -> "RunDirectory":
        """Find a run by path, or by name under the home directory; raise `RunError` where there is none."""
        places = (Path(name_or_path), home_directory() / "runs" / str(name_or_path))
        for place in places:
            if (place / CONFIG_NAME).is_file():
                return cls(place.absolute())
        raise RunError(f"no run at {' or '.join(map(str, places))}; give the directory that holds {CONFIG_NAME}")

    @property
    def name(self) -> str:
        """The run's name: that of its directory."""
        return self.path.name

    @property
    def checkpoints(self) -> Path:
        """Directory of last.pt and best.pt."""
        return self.path / "checkpoints"

    @property
    def figures(self) -> Path:
        """Directory of sample grids."""
        return self.path / "figures"

    @property
    def metrics(self) -> Path:
        """One JSON object a line: what was logged, at which number of images seen."""
        return self.path / "metrics.jsonl"

    def checkpoint(self, which: Literal["best", "last"]) -> Path:
        """Path of a checkpoint, there or not."""
        return self.checkpoints / f"{which}.pt"

    def record(self) -> RunRecord:
        """Read config.json."""
        return RunRecord.from_dict(_read_json(self.path / CONFIG_NAME))

    def status(self) -> Status:
        """Where the run stands."""
        status: Status = _read_json(self.path / STATUS_NAME)["status"]
        return status

    def set_status(self, status: Status) -> None:
        """Record where the run stands."""
        entry = {"status": status, "at": datetime.now(UTC).isoformat(timespec="seconds")}
        write_atomically(self.path / STATUS_NAME, json.dumps(entry).encode() + b"\n")


def resolve_run(name_or_path: str | Path) -> RunDirectory:
    """Find a run by name or path."""
    return RunDirectory.open(name_or_path)


def default_run_path(name: str) -> Path:
    """Where a run of this name goes when nobody says; a number is appended where that is taken."""
    base = home_directory() / "runs" / name
    path, number = base, 2
    while path.exists():
        path, number = base.with_name(f"{base.name}-{number}"), number + 1
    return path


def _read_json(path: Path) -> Any:  # noqa: ANN401 — JSON
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise RunError(f"{path} cannot be read: {error}; is this a training run?") from None
