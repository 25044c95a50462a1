"""What a run reports, in its own file and in a real MLflow on SQLite."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from registry.bundle.panel import Measurement
from spect.errors import RegistryError
from tests.support.tiny_training import TINY
from training.run import RunDirectory, RunRecord
from training.tracking.mlflow import LiveTracker, MlflowTracker, replay, track_panel
from training.tracking.reporting import DIED, JsonlTracker, TrackerGroup, read_metrics

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
        changed_settings={"lecam_weight": 0.0, "texture_matrix": None},
    )


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "run", _record("run"))


def _finish(run: RunDirectory) -> None:
    lines = JsonlTracker(run)
    lines.log({"generator_hinge": 0.5}, at=16)
    lines.log({"generator_hinge": 0.25, "selection/score": float("nan")}, at=32)
    (run.figures / "grid-00000032.png").write_bytes(PICTURE)
    run.set_status("finished")


def test_an_older_run_is_read_without_the_name_of_its_cohort() -> None:
    record = _record("run")
    assert RunRecord.from_dict(record.to_dict() | {"cohort_name": "a site's own"}) == record


def test_lines_after_the_checkpoint_are_dropped_on_resuming(run: RunDirectory) -> None:
    tracker = JsonlTracker(run)
    for at in (16, 32, 48):
        tracker.log({"score": float(at)}, at=at)
    JsonlTracker(run, keep_until=32).log({"score": 0.0}, at=48)
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


def test_what_was_lost_of_a_run_that_was_killed_is_added_in_place(run: RunDirectory, mlflow_uri: str) -> None:
    from mlflow import MlflowClient

    tracker = LiveTracker(run, run.record())
    tracker.log({"generator_hinge": 0.5}, at=16)
    _finish(run)
    assert replay(run) == tracker.run_id
    client = MlflowClient(tracking_uri=mlflow_uri)
    history = client.get_metric_history(tracker.run_id, "generator_hinge")
    assert sorted((metric.step, metric.value) for metric in history) == [(16, 0.5), (32, 0.25)]
    assert [item.path for item in client.list_artifacts(tracker.run_id, "figures")] == ["figures/grid-00000032.png"]
    assert client.get_run(tracker.run_id).info.status == "FINISHED"


def test_a_live_run_that_dies_is_marked_failed_and_a_resumed_one_goes_on_in_place(
    run: RunDirectory, mlflow_uri: str
) -> None:
    from mlflow import MlflowClient

    tracker = LiveTracker(run, run.record())
    tracker.log({"score": 2.0}, at=16)
    tracker.end("failed", "MemoryError: ")
    client = MlflowClient(tracking_uri=mlflow_uri)
    assert client.get_run(tracker.run_id).info.status == "FAILED"
    assert client.get_run(tracker.run_id).data.tags["reason"] == "MemoryError: "
    resumed = LiveTracker(run, run.record())
    resumed.end("finished")
    assert resumed.run_id == tracker.run_id
    assert client.get_run(tracker.run_id).info.status == "FINISHED"


def test_an_unusable_mlflow_ends_in_one_clear_line(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.db").write_text("this is no database " * 100)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'broken.db'}")
    with pytest.raises(
        RegistryError, match=r"broken\.db is a file, and no SQLite database; set MLFLOW_TRACKING_URI to"
    ):
        LiveTracker(run, run.record())

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(RegistryError, match="it does not answer; start it, or train with --tracker none"):
        LiveTracker(run, run.record())


def test_a_run_that_died_without_a_word_is_marked_so_when_it_is_resumed_or_replayed(
    run: RunDirectory, mlflow_uri: str
) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=mlflow_uri)
    tracker = LiveTracker(run, run.record())
    assert "died" not in client.get_run(tracker.run_id).data.tags
    run.set_status("running")  # and nobody is at it
    assert replay(run) == tracker.run_id
    found = client.get_run(tracker.run_id)
    assert (found.info.status, found.data.tags["reason"]) == ("FAILED", DIED)
    resumed = LiveTracker(run, run.record())
    found = client.get_run(resumed.run_id)
    assert (found.info.status, found.data.tags["died"]) == ("RUNNING", DIED)


def test_a_run_that_is_being_trained_is_not_ended_by_a_replay(run: RunDirectory, mlflow_uri: str) -> None:
    from mlflow import MlflowClient

    tracker = LiveTracker(run, run.record())
    run.set_status("running")
    with run.lock():
        assert replay(run) == tracker.run_id
    assert MlflowClient(tracking_uri=mlflow_uri).get_run(tracker.run_id).info.status == "RUNNING"


def test_runs_are_found_by_preset_cohort_and_what_was_changed(run: RunDirectory, mlflow_uri: str) -> None:
    from mlflow import MlflowClient

    _finish(run)
    run_id = replay(run)
    client = MlflowClient(tracking_uri=mlflow_uri)
    experiment = client.get_run(run_id).info.experiment_id
    query = "tags.preset = 'tiny' and tags.cohort = 'simulated-ffffffff' and tags.dataset = 'A'"
    (found,) = client.search_runs([experiment], query)
    assert found.info.run_id == run_id
    assert found.data.tags["changed_settings"] == "lecam_weight=0.0 texture_matrix=none"


def test_a_live_run_shows_how_busy_the_machine_is_and_when_it_was(run: RunDirectory, mlflow_uri: str) -> None:
    from mlflow import MlflowClient

    tracker = LiveTracker(run, run.record())
    tracker.log({"generator_hinge": 0.5, "unix_time": 1.7e9}, at=16)
    client = MlflowClient(tracking_uri=mlflow_uri)
    metrics = client.get_run(tracker.run_id).data.metrics
    assert 0 < metrics["system/system_memory_usage_percentage"] <= 100
    assert "unix_time" not in metrics
    assert client.get_metric_history(tracker.run_id, "generator_hinge")[0].timestamp == 1.7e12


def test_a_roll_back_is_noted_and_what_is_done_again_is_dropped(run: RunDirectory, mlflow_uri: str) -> None:
    from mlflow import MlflowClient

    group = TrackerGroup([JsonlTracker(run), live := LiveTracker(run, run.record())])
    for at in (16, 32, 48):
        group.log({"margin": float(at)}, at=at)
    group.roll_back("margin is nan", at=48, to=16)
    assert [line["images_seen"] for line in read_metrics(run.metrics)] == [16]
    event = json.loads(run.events.read_text())
    assert (event["event"], event["images_seen"], event["reason"]) == ("roll-back", 48, "margin is nan")
    tags = MlflowClient(tracking_uri=mlflow_uri).get_run(live.run_id).data.tags
    assert tags["rolled_back_at_48"] == "to 16 images: margin is nan"


def test_a_release_adds_the_numbers_of_its_panel(run: RunDirectory, mlflow_uri: str) -> None:
    from mlflow import MlflowClient

    _finish(run)
    run_id = replay(run)
    measured = [
        Measurement(metric="mean_counts_ratio", cell="normal", value=0.99),
        Measurement(metric="memorised_ratio", cell="all", value=None),
    ]
    track_panel(run_id, measured)
    metrics = MlflowClient(tracking_uri=mlflow_uri).get_run(run_id).data.metrics
    assert {name: value for name, value in metrics.items() if name.startswith("panel/")} == {
        "panel/mean_counts_ratio/normal": 0.99
    }
