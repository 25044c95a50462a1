"""What a run reports, in its own file and in a real MLflow on SQLite."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from spect.errors import RegistryError
from tests.support.tiny_training import TINY
from training.run import RunDirectory, RunRecord
from training.tracking import JsonlTracker, LiveTracker, MlflowTracker, read_metrics, replay

PICTURE = b"\x89PNG\r\n\x1a\n"


def _record(name: str) -> RunRecord:
    return RunRecord(
        name=name,
        preset="tiny",
        dataset="A",
        seed=3,
        config=TINY,
        cohort_path="/somewhere/private",
        cohort_fingerprint="f" * 64,
        cohort_source="simulated",
        simulator_version="1",
        intensity_unit="counts",
        intensity_scaling="whole-cohort",
        training_slices=96,
        max_counts=80.0,
        matrix=64,
        pixel_spacing_mm=4.0,
        git_commit="c" * 40,
        precision="32-true",
        created_at="2026-01-01T00:00:00+00:00",
    )


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "run", _record("run"))


def _finish(run: RunDirectory) -> None:
    lines = JsonlTracker(run.metrics)
    lines.log({"generator_hinge": 0.5}, at=16)
    lines.log({"generator_hinge": 0.25, "selection/score": float("nan")}, at=32)
    (run.figures / "grid-00000032.png").write_bytes(PICTURE)
    run.set_status("finished")


def test_lines_after_the_checkpoint_are_dropped_on_resuming(run: RunDirectory) -> None:
    tracker = JsonlTracker(run.metrics)
    for at in (16, 32, 48):
        tracker.log({"score": float(at)}, at=at)
    JsonlTracker(run.metrics, keep_until=32).log({"score": 0.0}, at=48)
    assert [(line["images_seen"], line["score"]) for line in read_metrics(run.metrics)] == [
        (16, 16.0),
        (32, 32.0),
        (48, 0.0),
    ]


def test_a_line_cut_short_by_a_crash_is_left_out(run: RunDirectory) -> None:
    run.metrics.write_text('{"images_seen": 16, "score": 1.0}\n{"images_se')
    assert read_metrics(run.metrics) == [{"images_seen": 16, "score": 1.0}]


def test_runs_are_filed_by_preset_and_cohort_and_say_what_they_are(
    run: RunDirectory, tmp_path: Path, mlflow_uri: str
) -> None:
    from mlflow import MlflowClient

    _finish(run)
    other = RunDirectory.create(tmp_path / "other", replace(_record("other"), cohort_fingerprint="e" * 64, dataset="B"))
    _finish(other)
    client = MlflowClient(tracking_uri=mlflow_uri)

    tracked = [client.get_run(replay(one)) for one in (run, other)]

    names = [client.get_experiment(one.info.experiment_id).name for one in tracked]
    assert names == ["synspect-tiny-simulated-ffffffff", "synspect-tiny-B-simulated-eeeeeeee"]
    note = tracked[0].data.tags["mlflow.note.content"]
    assert "seed 3, on 96 slices of the simulated cohort `ffffffffffffffff`" in note
    assert "private" not in note


def test_a_replayed_run_is_in_mlflow_with_parameters_metrics_and_figures(run: RunDirectory, mlflow_uri: str) -> None:
    from mlflow import MlflowClient

    _finish(run)
    run_id = replay(run)
    client = MlflowClient(tracking_uri=mlflow_uri)
    found = client.get_run(run_id)
    assert found.info.status == "FINISHED"
    assert found.data.params["width"] == "2"
    assert found.data.params["cohort_fingerprint"] == "f" * 64
    assert found.data.tags["git_commit"] == "c" * 40
    history = client.get_metric_history(run_id, "generator_hinge")
    assert sorted((metric.step, metric.value) for metric in history) == [(16, 0.5), (32, 0.25)]
    assert "selection/score" not in found.data.metrics
    assert [item.path for item in client.list_artifacts(run_id, "figures")] == ["figures/grid-00000032.png"]
    assert "/somewhere/private" not in json.dumps(found.data.params)


def test_a_run_is_replayed_once(run: RunDirectory, mlflow_uri: str) -> None:
    _finish(run)
    assert replay(run) == replay(run)


def test_a_replay_that_was_cut_off_is_done_again(
    run: RunDirectory, mlflow_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    def cut_off(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    _finish(run)
    with monkeypatch.context() as patched:
        patched.setattr(MlflowTracker, "log_figure", cut_off)
        with pytest.raises(KeyboardInterrupt):
            replay(run)
    client = MlflowClient(tracking_uri=mlflow_uri)
    run_id = replay(run)
    assert client.get_run(run_id).info.status == "FINISHED"
    assert client.list_artifacts(run_id, "figures")
    assert replay(run) == run_id


def test_a_run_tracked_in_one_mlflow_is_replayed_in_another(
    run: RunDirectory, mlflow_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    other = f"sqlite:///{tmp_path / 'other.db'}"
    shutil.copyfile(tmp_path / "mlflow.db", tmp_path / "other.db")
    _finish(run)
    first = replay(run)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", other)
    second = replay(run)
    assert second != first
    assert MlflowClient(tracking_uri=other).get_run(second).data.metrics["generator_hinge"] == 0.25


@pytest.mark.parametrize("marker", ['{"run_id": "abc"}', "{"])
def test_a_marker_that_says_too_little_is_replayed(run: RunDirectory, mlflow_uri: str, marker: str) -> None:
    _finish(run)
    (run.path / "mlflow.json").write_text(marker)
    assert replay(run) not in {"", "abc"}


def test_a_run_deleted_in_mlflow_is_replayed(run: RunDirectory, mlflow_uri: str) -> None:
    from mlflow import MlflowClient

    _finish(run)
    first = replay(run)
    MlflowClient(tracking_uri=mlflow_uri).delete_run(first)
    assert replay(run) != first
    marker = json.loads((run.path / "mlflow.json").read_text())
    (run.path / "mlflow.json").write_text(json.dumps(marker | {"run_id": "0" * 32}))
    assert replay(run) != "0" * 32


def test_a_run_followed_live_to_its_end_is_not_replayed(run: RunDirectory, mlflow_uri: str) -> None:
    tracker = LiveTracker(run, run.record())
    _finish(run)
    tracker.end("finished")
    assert replay(run) == tracker.run_id


def test_a_run_killed_while_it_was_followed_is_replayed(run: RunDirectory, mlflow_uri: str) -> None:
    tracker = LiveTracker(run, run.record())
    _finish(run)
    assert replay(run) != tracker.run_id


def test_a_live_run_that_dies_is_marked_failed_and_a_resumed_one_goes_on_in_place(
    run: RunDirectory, mlflow_uri: str
) -> None:
    from mlflow import MlflowClient

    tracker = LiveTracker(run, run.record())
    tracker.log({"score": 2.0}, at=16)
    tracker.end("failed")
    client = MlflowClient(tracking_uri=mlflow_uri)
    assert client.get_run(tracker.run_id).info.status == "FAILED"
    resumed = LiveTracker(run, run.record())
    resumed.end("finished")
    assert resumed.run_id == tracker.run_id
    assert client.get_run(tracker.run_id).info.status == "FINISHED"


def test_an_unusable_mlflow_ends_in_one_clear_line(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.db").write_text("this is no database " * 100)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'broken.db'}")
    with pytest.raises(RegistryError, match="--tracker none"):
        LiveTracker(run, run.record())
