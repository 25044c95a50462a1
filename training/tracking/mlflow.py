"""A training run in MLflow: followed live, replayed afterwards, and what a release adds to it.

The only module of training that knows MLflow, which is imported when used.
"""

import json
import math
import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from registry.bundle.panel import Measurement
from registry.store.connection import open_client, public_uri, translated_errors
from registry.store.experiments import find_experiment
from spect.atomic import write_atomically
from spect.home import tracking_uri
from training.run import RunDirectory, RunRecord
from training.tracking.buffering import BufferedTracker
from training.tracking.reporting import AT, DIED, UNIX_TIME, End, read_metrics

if TYPE_CHECKING:
    from mlflow import MlflowClient

MARKER_NAME = "mlflow.json"
LONGEST_TAG = 5_000  # characters, MLflow's own limit

# MLflow knows no "interrupted": KILLED is its word for stopped by hand.
MLFLOW_STATUS: Mapping[End, str] = {
    "finished": "FINISHED",
    "interrupted": "KILLED",
    "terminated": "FAILED",
    "failed": "FAILED",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Marker:
    """What mlflow.json says: where the run is tracked, and whether everything is there."""

    run_id: str
    tracking_uri: str
    state: Literal["live", "complete"]  # complete: as much as metrics.jsonl


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

        when = int(1000 * values.get(UNIX_TIME, 0))
        metrics = [
            Metric(name, value, when, at)
            for name, value in values.items()
            if name != UNIX_TIME and not math.isnan(value)
        ]
        with _mlflow_errors():
            self._client.log_batch(self._run_id, metrics=metrics)

    def log_figure(self, path: Path, *, at: int) -> None:  # noqa: ARG002 — the file name says when
        """Upload a figure."""
        with _mlflow_errors():
            self._client.log_artifact(self._run_id, str(path), artifact_path="figures")

    def roll_back(self, reason: str, *, at: int, to: int) -> None:
        """Tag the run; the metrics of what is done again stay beside the new ones."""
        self.tag(f"rolled_back_at_{at}", f"to {to:,} images: {reason}")

    def end(self, how: End, reason: str | None = None) -> None:
        """Close the MLflow run, with its reason where it did not finish."""
        if reason is not None:
            self.tag("reason", reason)
        with _mlflow_errors():
            self._client.set_terminated(self._run_id, status=MLFLOW_STATUS[how])

    def tag(self, name: str, words: str) -> None:
        """Tag the run."""
        with _mlflow_errors():
            self._client.set_tag(self._run_id, name, words[:LONGEST_TAG])


class LiveTracker:
    """Follows a training in MLflow while it runs; once it has begun, a failure of MLflow never stops the training.

    What MLflow misses while it is away is sent when it is back. What has not arrived at the end is in metrics.jsonl,
    and a release replays it.

    Raises
    ------
    RegistryError
        MLflow cannot be used when the training begins.
    """

    def __init__(self, run: RunDirectory, record: RunRecord) -> None:
        self._run = run
        self._tracker, self._marker = _open_live(run, record)
        self._buffer = BufferedTracker(self._tracker)
        self._monitors = _open_monitors()

    @property
    def run_id(self) -> str:
        """MLflow's id of the run."""
        return self._tracker.run_id

    def log(self, values: Mapping[str, float], *, at: int) -> None:
        """Log values, with how busy the machine is."""
        self._buffer.log({**values, **self._measure_machine(), UNIX_TIME: values.get(UNIX_TIME, time.time())}, at=at)

    def log_figure(self, path: Path, *, at: int) -> None:
        """Upload a figure."""
        self._buffer.log_figure(path, at=at)

    def roll_back(self, reason: str, *, at: int, to: int) -> None:
        """Tag the run."""
        self._buffer.roll_back(reason, at=at, to=to)

    def end(self, how: End, reason: str | None = None) -> None:
        """Close the MLflow run, and note whether all of it arrived."""
        self._buffer.end(how, reason)
        if not self._buffer.waiting:
            with suppress(OSError):  # then the marker says "live", and a release looks for what is missing
                _write_marker(self._run, replace(self._marker, state="complete"))

    def _measure_machine(self) -> dict[str, float]:
        values: dict[str, float] = {}
        for monitor in self._monitors:
            monitor.collect_metrics()
            values |= {f"system/{name}": float(value) for name, value in monitor.aggregate_metrics().items()}
            monitor.clear_metrics()
        return values


def replay(run: RunDirectory) -> str:
    """Put into MLflow what it does not hold of a run; return its MLflow run id.

    A run that was tracked in another MLflow, or deleted there, is made anew.

    Raises
    ------
    RegistryError
        MLflow is unreachable.
    """
    with _mlflow_errors():
        client = open_client(tracking_uri())
        marker = _find_or_create(client, run, run.record())
        if marker.state == "complete":
            return marker.run_id
        _catch_up(client, marker.run_id, run)
    ending = _ending(run)
    if ending is not None:
        MlflowTracker(client, marker.run_id).end(*ending)
        _write_marker(run, replace(marker, state="complete"))
    return marker.run_id


def track_panel(run_id: str, measurements: Iterable[Measurement]) -> None:
    """Add the numbers of a release's panel to its run; report, card and figures lie with the registered model.

    Raises
    ------
    RegistryError
        MLflow is unreachable.
    """
    values = {f"panel/{one.metric}/{one.cell}": one.value for one in measurements if one.value is not None}
    with _mlflow_errors():
        tracker = MlflowTracker(open_client(tracking_uri()), run_id)
    tracker.log({**values, UNIX_TIME: time.time()}, at=0)


def _ending(run: RunDirectory) -> tuple[End, str | None] | None:
    """How a run ended, as MLflow is told; None while it is being trained."""
    status = run.status()
    if status == "running":
        return ("failed", DIED) if run.has_died() else None
    return ("interrupted" if status == "created" else status), run.reason()


def _open_monitors() -> list[Any]:
    """MLflow's own meters of the machine, read when something is logged: no thread of theirs to outlive a server."""
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor  # noqa: PLC0415 — imported when used
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor  # noqa: PLC0415
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor  # noqa: PLC0415

    monitors: list[Any] = [CPUMonitor(), DiskMonitor()]
    with suppress(ImportError, RuntimeError):  # no NVIDIA driver here
        monitors.append(GPUMonitor())
    return monitors


def forget_completeness(run: RunDirectory) -> None:
    """Note that a run is trained on without MLflow: what is tracked there is no longer all of it."""
    marker = _read_marker(run)
    if marker is not None:
        _write_marker(run, replace(marker, state="live"))


def _open_live(run: RunDirectory, record: RunRecord) -> tuple[MlflowTracker, _Marker]:
    """Start an MLflow run, or reopen the one this run was tracked in before it was interrupted."""
    with _mlflow_errors():
        client = open_client(tracking_uri())
        marker = replace(_find_or_create(client, run, record), state="live")
        _write_marker(run, marker)
        _catch_up(client, marker.run_id, run)
        client.update_run(marker.run_id, status="RUNNING")
    tracker = MlflowTracker(client, marker.run_id)
    if run.status() == "running":  # and this process holds it
        tracker.tag("died", DIED)
    return tracker, marker


def _find_or_create(client: "MlflowClient", run: RunDirectory, record: RunRecord) -> _Marker:
    known = _find_tracked(client, run)
    if known is not None:
        return known
    made = _Marker(run_id=_create_mlflow_run(client, record), tracking_uri=_place(), state="live")
    _write_marker(run, made)
    return made


def _catch_up(client: "MlflowClient", run_id: str, run: RunDirectory) -> None:
    """Send what metrics.jsonl and the figures hold and MLflow does not: it was away, or the process was killed."""
    tracker = MlflowTracker(client, run_id)
    histories: dict[str, set[tuple[int, float]]] = {}
    for line in read_metrics(run.metrics) if run.metrics.exists() else ():
        at = int(line.pop(AT))
        witness = next((name for name, value in line.items() if name != UNIX_TIME and not math.isnan(value)), None)
        if witness is None:
            continue
        if witness not in histories:
            histories[witness] = {(m.step, m.value) for m in client.get_metric_history(run_id, witness)}
        if (at, line[witness]) not in histories[witness]:
            tracker.log(line, at=at)
    held = {Path(item.path).name for item in client.list_artifacts(run_id, "figures")}
    for figure in sorted(run.figures.glob("*.png")):
        if figure.name not in held:
            tracker.log_figure(figure, at=0)


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
    from mlflow.entities import Param  # noqa: PLC0415 — MLflow is imported when used

    experiment = find_experiment(client, tracking_uri(), experiment_name(record))
    started = client.create_run(experiment, run_name=record.name, tags=_tags(record))
    parameters = [Param(name, str(value)) for name, value in _parameters(record).items()]
    client.log_batch(started.info.run_id, params=parameters)
    return str(started.info.run_id)


def _tags(record: RunRecord) -> dict[str, str]:
    """Return what runs are searched by."""
    return {
        "preset": record.preset,
        "dataset": record.dataset,
        "changed_settings": " ".join(record.assignments) or "none",
        "cohort": f"{record.cohort_source}-{record.cohort_fingerprint[:8]}",
        "cohort_fingerprint": record.cohort_fingerprint,
        "git_commit": record.git_commit,
        "mlflow.note.content": _describe(record),
    }


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
    del fields["cohort_path"]  # a path of this machine
    del fields["changed_settings"]  # a tag
    return {**fields, **settings}


def _mlflow_errors() -> AbstractContextManager[None]:
    return translated_errors(tracking_uri(), advice="start it, or train with --tracker none")
