"""Where a training run reports: always a file of JSON lines, and MLflow where asked for, live or replayed.

The only module of training that knows MLflow, which is imported when used.
"""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from registry.store import find_experiment, open_client, translated_errors
from spect.errors import TrainingError
from spect.home import tracking_uri
from training.run import RunDirectory, RunRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "synspect"
RUN_ID_NAME = "mlflow.json"
AT = "images_seen"

End = Literal["finished", "interrupted", "failed"]
# MLflow knows no "interrupted": KILLED is its word for stopped by hand.
MLFLOW_STATUS: Mapping[End, str] = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


class RunTracker(Protocol):
    """Where a training run reports: MLflow in production, a list in tests."""

    def log(self, values: Mapping[str, float], *, at: int) -> None:
        """Record values at a number of images seen."""

    def log_figure(self, path: Path, *, at: int) -> None:
        """Record a figure that was written."""

    def end(self, how: End) -> None:
        """Record how the run ended."""


class JsonlTracker:
    """Appends one JSON object a line; on resuming, what lies after the checkpoint is dropped first."""

    def __init__(self, path: Path, *, keep_until: int | None = None) -> None:
        self._path = path
        if keep_until is not None and path.exists():
            kept = [line for line in read_metrics(path) if line[AT] <= keep_until]
            path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")

    def log(self, values: Mapping[str, float], *, at: int) -> None:
        """Append one line."""
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({AT: at, **values}) + "\n")
        except OSError as error:
            raise TrainingError(f"{self._path} could not be written: {error.strerror}; free some space") from error

    def log_figure(self, path: Path, *, at: int) -> None:
        """Figures lie in the run already."""

    def end(self, how: End) -> None:
        """Do nothing: the run's status file says it."""


class MlflowTracker:
    """Follows a run live in MLflow: parameters, metrics against images seen, figures as artifacts."""

    def __init__(self, run: RunDirectory, record: RunRecord) -> None:
        self._client, self._run_id = _open_mlflow_run(run, record)

    @property
    def run_id(self) -> str:
        """MLflow's id of the run."""
        return self._run_id

    def log(self, values: Mapping[str, float], *, at: int) -> None:
        """Log values with images seen as the step; NaN means "not measured" and is left out."""
        from mlflow.entities import Metric  # noqa: PLC0415 — MLflow is imported when used

        metrics = [Metric(name, value, 0, at) for name, value in values.items() if not math.isnan(value)]
        with _mlflow_errors():
            self._client.log_batch(self._run_id, metrics=metrics)

    def log_figure(self, path: Path, *, at: int) -> None:  # noqa: ARG002 — the file name says when
        """Upload a figure."""
        with _mlflow_errors():
            self._client.log_artifact(self._run_id, str(path), artifact_path="figures")

    def end(self, how: End) -> None:
        """Close the MLflow run."""
        with _mlflow_errors():
            self._client.set_terminated(self._run_id, status=MLFLOW_STATUS[how])


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

    def end(self, how: End) -> None:
        """Pass the end on."""
        for tracker in self._trackers:
            tracker.end(how)


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Read metrics.jsonl; a last line cut short by a crash is left out."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines


def replay(run: RunDirectory) -> str:
    """Put a finished run into MLflow if it is not there already; return its MLflow run id.

    Raises
    ------
    RegistryError
        MLflow is unreachable.
    """
    marker = run.path / RUN_ID_NAME
    if marker.exists():
        run_id: str = json.loads(marker.read_text(encoding="utf-8"))["run_id"]
        return run_id
    tracker = MlflowTracker(run, run.record())
    for line in read_metrics(run.metrics):
        at = int(line.pop(AT))
        tracker.log(line, at=at)
    for figure in sorted(run.figures.glob("*.png")):
        tracker.log_figure(figure, at=0)
    status = run.status()
    tracker.end(status if status in ("finished", "failed") else "interrupted")
    return tracker.run_id


def _open_mlflow_run(run: RunDirectory, record: RunRecord) -> tuple["MlflowClient", str]:
    """Start an MLflow run, or reopen the one this run was tracked in before it was interrupted."""
    with _mlflow_errors():
        client = open_client(tracking_uri())
        marker = run.path / RUN_ID_NAME
        if marker.exists():
            run_id: str = json.loads(marker.read_text(encoding="utf-8"))["run_id"]
            client.update_run(run_id, status="RUNNING")
            return client, run_id
        started = client.create_run(find_experiment(client, tracking_uri(), EXPERIMENT), run_name=record.name)
        for name, value in _parameters(record).items():
            client.log_param(started.info.run_id, name, value)
        client.set_tag(started.info.run_id, "git_commit", record.git_commit)
        client.set_tag(started.info.run_id, "cohort_fingerprint", record.cohort_fingerprint)
        marker.write_text(json.dumps({"run_id": started.info.run_id}) + "\n", encoding="utf-8")
        return client, str(started.info.run_id)


def _parameters(record: RunRecord) -> dict[str, Any]:
    fields = record.to_dict()
    settings = fields.pop("config")
    fields.pop("cohort_path")  # a path of this machine
    return {**fields, **settings}


def _mlflow_errors() -> AbstractContextManager[None]:
    return translated_errors(tracking_uri(), advice="start it, or train with --tracker none")
