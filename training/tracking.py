"""Where a training run reports: always a file of JSON lines, and MLflow where asked for, live or replayed.

The only module of training that knows MLflow, which is imported when used.
"""

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from registry.store import find_experiment, open_client, public_uri, translated_errors
from spect.atomic import write_atomically
from spect.errors import RegistryError, TrainingError
from spect.home import tracking_uri
from training.run import RunDirectory, RunRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

MARKER_NAME = "mlflow.json"
AT = "images_seen"

End = Literal["finished", "interrupted", "failed"]
# MLflow knows no "interrupted": KILLED is its word for stopped by hand.
MLFLOW_STATUS: Mapping[End, str] = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Marker:
    """What mlflow.json says: where the run is tracked, and whether everything is there."""

    run_id: str
    tracking_uri: str
    # live: nothing is missing so far; partial: something was not reported; complete: as much as metrics.jsonl
    state: Literal["live", "partial", "complete"]


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
            write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept).encode())

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
    """Reports to one run in MLflow: metrics against images seen, figures as artifacts; what fails is raised."""

    def __init__(self, client: "MlflowClient", run_id: str) -> None:
        self._client, self._run_id = client, run_id

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


class LiveTracker:
    """Follows a training in MLflow while it runs; once it has begun, a failure of MLflow never stops the training.

    After one failure it warns and is silent: metrics.jsonl has everything, and a release replays it.

    Raises
    ------
    RegistryError
        MLflow cannot be used when the training begins.
    """

    def __init__(self, run: RunDirectory, record: RunRecord) -> None:
        self._run = run
        self._tracker, self._marker = _open_live(run, record)
        self._has_failed = False

    @property
    def run_id(self) -> str:
        """MLflow's id of the run."""
        return self._tracker.run_id

    def log(self, values: Mapping[str, float], *, at: int) -> None:
        """Log values, or warn once."""
        self._attempt(lambda: self._tracker.log(values, at=at))

    def log_figure(self, path: Path, *, at: int) -> None:
        """Upload a figure, or warn once."""
        self._attempt(lambda: self._tracker.log_figure(path, at=at))

    def end(self, how: End) -> None:
        """Close the MLflow run, or warn once."""
        self._attempt(lambda: self._end(how))

    def _end(self, how: End) -> None:
        self._tracker.end(how)
        if self._marker.state == "live":
            _write_marker(self._run, replace(self._marker, state="complete"))

    def _attempt(self, report: Callable[[], None]) -> None:
        if self._has_failed:
            return
        try:
            report()
        except (RegistryError, OSError) as error:
            self._has_failed = True
            log.warning("%s; training goes on, and metrics.jsonl has everything", error)
            with suppress(OSError):  # then the marker says "live", which is not complete either
                _write_marker(self._run, replace(self._marker, state="partial"))


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
    """Put a run into MLflow unless all of it is there already; return its MLflow run id.

    What was cut off, tracked in another MLflow or deleted there is replayed from the start.

    Raises
    ------
    RegistryError
        MLflow is unreachable.
    """
    with _mlflow_errors():
        client = open_client(tracking_uri())
        known = _find_tracked(client, run)
        if known is not None and known.state == "complete":
            return known.run_id
        tracker = MlflowTracker(client, _create_mlflow_run(client, run.record()))
    for line in read_metrics(run.metrics):
        at = int(line.pop(AT))
        tracker.log(line, at=at)
    for figure in sorted(run.figures.glob("*.png")):
        tracker.log_figure(figure, at=0)
    status = run.status()
    tracker.end(status if status in ("finished", "failed") else "interrupted")
    _write_marker(run, _Marker(run_id=tracker.run_id, tracking_uri=_place(), state="complete"))
    return tracker.run_id


def forget_completeness(run: RunDirectory) -> None:
    """Note that a run is trained on without MLflow: what is tracked there is no longer all of it."""
    marker = _read_marker(run)
    if marker is not None:
        _write_marker(run, replace(marker, state="partial"))


def _open_live(run: RunDirectory, record: RunRecord) -> tuple[MlflowTracker, _Marker]:
    """Start an MLflow run, or reopen the one this run was tracked in before it was interrupted."""
    with _mlflow_errors():
        client = open_client(tracking_uri())
        known = _find_tracked(client, run)
        if known is not None:
            client.update_run(known.run_id, status="RUNNING")
            marker = replace(known, state="partial" if known.state == "partial" else "live")
        else:
            has_begun = run.metrics.exists() and bool(read_metrics(run.metrics))
            run_id = _create_mlflow_run(client, record)
            marker = _Marker(run_id=run_id, tracking_uri=_place(), state="partial" if has_begun else "live")
        _write_marker(run, marker)
        return MlflowTracker(client, marker.run_id), marker


def experiment_name(record: RunRecord) -> str:
    """Name the experiment a run belongs to: runs of one preset on one cohort can be compared, others cannot.

    A cohort is named by its kind and fingerprint; its path, which may name a site, stays on this machine.
    """
    dataset = "" if record.dataset == "A" else f"-{record.dataset}"
    return f"synspect-{record.preset}{dataset}-{record.cohort_source}-{record.cohort_fingerprint[:8]}"


def _describe(record: RunRecord) -> str:
    """Return what MLflow's page of a run says in words."""
    return (
        f"Preset `{record.preset}`, dataset {record.dataset}, seed {record.seed}, on {record.training_slices} slices "
        f"of the {record.cohort_source} cohort `{record.cohort_fingerprint[:16]}`; code `{record.git_commit[:12]}`. "
        "Metrics are drawn against images seen (the step).\n\nResearch use only, never for diagnosis."
    )


def _create_mlflow_run(client: "MlflowClient", record: RunRecord) -> str:
    experiment = find_experiment(client, tracking_uri(), experiment_name(record))
    started = client.create_run(experiment, run_name=record.name)
    for name, value in _parameters(record).items():
        client.log_param(started.info.run_id, name, value)
    client.set_tag(started.info.run_id, "git_commit", record.git_commit)
    client.set_tag(started.info.run_id, "cohort_fingerprint", record.cohort_fingerprint)
    client.set_tag(started.info.run_id, "mlflow.note.content", _describe(record))
    return str(started.info.run_id)


def _find_tracked(client: "MlflowClient", run: RunDirectory) -> _Marker | None:
    """Return the run's marker where it names a run that this MLflow holds."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 — MLflow is imported when used

    marker = _read_marker(run)
    if marker is None or marker.tracking_uri != _place():
        return None
    try:
        found = client.get_run(marker.run_id)
    except MlflowException as error:
        # A web server that is not MLflow answers 404 too, and MLflow then names the request.
        if error.error_code == "RESOURCE_DOES_NOT_EXIST" and "API request" not in str(error):
            return None
        raise
    return marker if found.info.lifecycle_stage == "active" else None


def _read_marker(run: RunDirectory) -> _Marker | None:
    try:
        return _Marker(**json.loads((run.path / MARKER_NAME).read_text(encoding="utf-8")))
    except (FileNotFoundError, json.JSONDecodeError, TypeError):  # none, or one that does not say where and how much
        return None


def _write_marker(run: RunDirectory, marker: _Marker) -> None:
    write_atomically(run.path / MARKER_NAME, json.dumps(asdict(marker)).encode() + b"\n")


def _place() -> str:
    """Where MLflow is, as written to disk: without user and password."""
    return public_uri(tracking_uri())


def _parameters(record: RunRecord) -> dict[str, Any]:
    fields = record.to_dict()
    settings = fields.pop("config")
    fields.pop("cohort_path")  # a path of this machine
    return {**fields, **settings}


def _mlflow_errors() -> AbstractContextManager[None]:
    return translated_errors(tracking_uri(), advice="start it, or train with --tracker none")
