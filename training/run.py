"""A training run on disk: its configuration, metrics, checkpoints and figures; the only place that knows the paths."""

import fcntl
import json
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from spect.atomic import write_atomically
from spect.errors import ConfigurationError, RunError
from spect.home import home_directory
from spect.intensity import IntensityScale
from training.config import TrainingConfig, to_assignment

CONFIG_NAME = "config.json"
STATUS_NAME = "status.json"
LOCK_NAME = "lock"

# interrupted: stopped by hand; terminated: by SIGTERM. "running" with nobody at it: it died without a word.
Status = Literal["created", "running", "interrupted", "terminated", "failed", "finished"]


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
    changed_settings: Mapping[str, Any] = field(default_factory=dict)  # where they are not the preset's
    machine: str = "not recorded"  # where it was started; runs of before did not say

    @property
    def assignments(self) -> tuple[str, ...]:
        """What was changed of the preset, in the words of `train --set`."""
        return tuple(to_assignment(name, value) for name, value in self.changed_settings.items())

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return values | {"config": self.config.to_dict(), "changed_settings": dict(self.changed_settings)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RunRecord":
        """Rebuild from `to_dict`; raise `RunError` on missing or unknown entries."""
        try:
            # Older runs had presets alone, or named their cohort, which may be a site's name: it is not kept.
            kept = {"changed_settings": {}} | {name: value for name, value in values.items() if name != "cohort_name"}
            return cls(**kept | {"config": TrainingConfig.from_dict(values["config"])})
        except (KeyError, TypeError, ConfigurationError) as error:
            raise RunError(f"the run's configuration cannot be used: {error}") from None

    def intensity_scale(self) -> IntensityScale:
        """Return the map between counts and model images."""
        return IntensityScale(max_counts=self.max_counts)


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """Paths of a run, and its small files."""

    path: Path

    @staticmethod
    def check_free(path: Path) -> None:
        """Raise `RunError` where a new run cannot go, for something is there already."""
        if (path / CONFIG_NAME).exists():
            raise RunError(f"{path} holds a run already; resume it with --resume {path}, or choose another --out")
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise RunError(f"{path} exists and is not an empty directory; choose another --out")

    @classmethod
    def create(cls, path: Path, record: RunRecord) -> "RunDirectory":
        """Make the directory and write config.json; raise `RunError` where a run is there already."""
        cls.check_free(path)
        half_made = path.absolute().with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
        try:
            run = cls(half_made)
            for directory in (run.checkpoints, run.figures):
                directory.mkdir(parents=True)
            write_atomically(run.path / CONFIG_NAME, json.dumps(record.to_dict(), indent=2).encode() + b"\n")
            run.set_status("created")
            half_made.rename(path)  # a run is there with all it needs, or not at all
        except OSError as error:
            raise RunError(f"{path} cannot be written: {error.strerror}; choose another --out") from None
        finally:
            shutil.rmtree(half_made, ignore_errors=True)
        return cls(path.absolute())

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
        """Directory of last.pt, good.pt and best.pt."""
        return self.path / "checkpoints"

    @property
    def figures(self) -> Path:
        """Directory of sample grids."""
        return self.path / "figures"

    @property
    def metrics(self) -> Path:
        """One JSON object a line: what was logged, at which number of images seen."""
        return self.path / "metrics.jsonl"

    @property
    def events(self) -> Path:
        """One JSON object a line: roll-backs, and deaths that were noticed later."""
        return self.path / "events.jsonl"

    def checkpoint(self, which: Literal["best", "good", "last"]) -> Path:
        """Path of a checkpoint, there or not. good: what a run that diverges is rolled back to."""
        return self.checkpoints / f"{which}.pt"

    def record(self) -> RunRecord:
        """Read config.json."""
        return RunRecord.from_dict(_read_json(self.path / CONFIG_NAME))

    def status(self) -> Status:
        """Where the run stands."""
        status: Status = _read_json(self.path / STATUS_NAME)["status"]
        return status

    def reason(self) -> str | None:
        """Why the run ended, where it did not finish."""
        reason: str | None = _read_json(self.path / STATUS_NAME).get("reason")
        return reason

    def set_status(self, status: Status, reason: str | None = None) -> None:
        """Record where the run stands, and why where it did not finish."""
        entry = {"status": status, "at": datetime.now(UTC).isoformat(timespec="seconds"), "reason": reason}
        write_atomically(self.path / STATUS_NAME, json.dumps(entry).encode() + b"\n")

    def note_event(self, event: str, *, at: int, reason: str) -> None:
        """Append to the run's events."""
        entry = {"event": event, "images_seen": at, "reason": reason, "at": datetime.now(UTC).isoformat()}
        with self.events.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for this process, which loses it however it ends; raise `RunError` where another holds it."""
        with (self.path / LOCK_NAME).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(f"{self.path} is being trained by another process; wait for it, or stop it") from None
            yield

    def has_died(self) -> bool:
        """Whether the run was being trained by a process that is no more."""
        if self.status() != "running":
            return False
        try:
            with self.lock():
                return True
        except RunError:
            return False

    def remove_partials(self) -> None:
        """Remove what a killed process was writing."""
        for directory in (self.path, self.checkpoints, self.figures):
            for partial in directory.glob(".*.partial"):
                partial.unlink(missing_ok=True)


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
