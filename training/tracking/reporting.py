"""Where a training run reports: the seam, the file of JSON lines that every run writes, and several places in turn."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

from spect.atomic import write_atomically
from spect.errors import TrainingError
from training.run import RunDirectory

AT = "images_seen"
UNIX_TIME = "unix_time"  # seconds, of a line of metrics

DIED = "the process ended without a word: it was killed, or the machine went down"

End = Literal["finished", "interrupted", "terminated", "failed"]


class RunTracker(Protocol):
    """Where a training run reports: MLflow in production, a list in tests."""

    def log(self, values: Mapping[str, float], *, at: int) -> None:
        """Record values at a number of images seen."""

    def log_figure(self, path: Path, *, at: int) -> None:
        """Record a figure that was written."""

    def roll_back(self, reason: str, *, at: int, to: int) -> None:
        """Record that a run went back from one number of images seen to an earlier one, and why."""

    def end(self, how: End, reason: str | None = None) -> None:
        """Record how the run ended, and why where it did not finish."""


class JsonlTracker:
    """Appends one JSON object a line; what lies after the checkpoint that training goes on from is dropped first."""

    def __init__(self, run: RunDirectory, *, keep_until: int | None = None) -> None:
        self._run = run
        if keep_until is not None:
            self._keep_until(keep_until)

    def log(self, values: Mapping[str, float], *, at: int) -> None:
        """Append one line."""
        try:
            with self._run.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps({AT: at, **values}) + "\n")
        except OSError as error:
            raise TrainingError(
                f"{self._run.metrics} could not be written: {error.strerror}; free some space and resume the run"
            ) from error

    def log_figure(self, path: Path, *, at: int) -> None:
        """Figures lie in the run already."""

    def roll_back(self, reason: str, *, at: int, to: int) -> None:
        """Note it among the events, and drop the lines of what is done again."""
        self._run.note_event("roll-back", at=at, reason=reason)
        self._keep_until(to)

    def end(self, how: End, reason: str | None = None) -> None:
        """Do nothing: the run's status file says it."""

    def _keep_until(self, images_seen: int) -> None:
        if not self._run.metrics.exists():
            return
        kept = [line for line in read_metrics(self._run.metrics) if line[AT] <= images_seen]
        write_atomically(self._run.metrics, "".join(json.dumps(line) + "\n" for line in kept).encode())


class SilentTracker:
    """Reports nowhere: for the processes beside the first, when several devices train one run."""

    def log(self, values: Mapping[str, float], *, at: int) -> None:
        """Do nothing."""

    def log_figure(self, path: Path, *, at: int) -> None:
        """Do nothing."""

    def roll_back(self, reason: str, *, at: int, to: int) -> None:
        """Do nothing."""

    def end(self, how: End, reason: str | None = None) -> None:
        """Do nothing."""


class TrackerGroup:
    """Reports to several trackers in turn."""

    def __init__(self, trackers: Sequence[RunTracker]) -> None:
        self._trackers = tuple(trackers)

    def log(self, values: Mapping[str, float], *, at: int) -> None:
        """Pass values on."""
        for tracker in self._trackers:
            tracker.log(values, at=at)

    def log_figure(self, path: Path, *, at: int) -> None:
        """Pass a figure on."""
        for tracker in self._trackers:
            tracker.log_figure(path, at=at)

    def roll_back(self, reason: str, *, at: int, to: int) -> None:
        """Pass a roll-back on."""
        for tracker in self._trackers:
            tracker.roll_back(reason, at=at, to=to)

    def end(self, how: End, reason: str | None = None) -> None:
        """Pass the end on."""
        for tracker in self._trackers:
            tracker.end(how, reason)


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Read metrics.jsonl; a last line cut short by a crash is left out."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines
