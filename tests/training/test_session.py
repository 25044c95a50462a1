"""A run from its cohort to its checkpoints: trained, stopped, resumed, failed."""

import dataclasses
import json
import math
import os
import resource
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from cohort.store import save_cohort
from spect.errors import CohortError, DivergenceError, RegistryError, RunError, TrainingError
from tests.support.tiny_training import TINY, SilentProgress, same_tensors, tiny_cohort
from training.checkpoint import load_averaged_generator, load_checkpoint
from training.prepare import prepare
from training.run import RunDirectory, resolve_run
from training.selection import SelectionJudge
from training.session import NewRun, resume_run, start_run
from training.step import Stepper
from training.tracking.mlflow import replay
from training.tracking.reporting import read_metrics


class StopAt(SilentProgress):
    """Presses Ctrl-C, or sends another signal, when so many images have been seen."""

    def __init__(self, images: int, number: signal.Signals = signal.SIGINT) -> None:
        super().__init__()
        self.images, self.number = images, number

    def update(self, images_seen: int, **values: float | None) -> None:
        super().update(images_seen, **values)
        if images_seen == self.images:
            os.kill(os.getpid(), self.number)


def _of_the_run(line: dict[str, float]) -> dict[str, float]:
    """A line of metrics without what the clock says."""
    return {name: value for name, value in line.items() if name not in ("unix_time", "images_per_second")}


@pytest.fixture(scope="module")
def cohort_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cohort") / "tiny"
    save_cohort(tiny_cohort(), path)
    return path


def _wanted(cohort_path: Path, **changes: object) -> NewRun:
    config = dataclasses.replace(TINY, **changes)
    return NewRun(cohort_path=cohort_path, preset="tiny", config=config, dataset="A", seed=3)


@pytest.fixture(scope="module")
def finished(cohort_path: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    path = tmp_path_factory.mktemp("runs") / "whole"
    return start_run(_wanted(cohort_path), path, tracker="none", progress=SilentProgress())[0]


def test_a_run_leaves_everything_that_release_needs(finished: RunDirectory) -> None:
    record = finished.record()
    assert finished.status() == "finished"
    assert record.cohort_fingerprint == tiny_cohort().description.fingerprint
    assert record.max_counts > tiny_cohort().counts[tiny_cohort().split == "train"].max()
    assert finished.checkpoint("best").exists()
    assert [path.name for path in sorted(finished.figures.iterdir())] == ["grid-00000048.png", "grid-00000096.png"]
    logged = [line["images_seen"] for line in read_metrics(finished.metrics) if "generator_hinge" in line]
    assert logged == [16, 32, 48, 64, 80, 96]
    scores = [line["selection/score"] for line in read_metrics(finished.metrics) if "selection/score" in line]
    assert len(scores) == 2
    assert all(map(math.isfinite, scores))


def _assert_alike(first: RunDirectory, second: RunDirectory) -> None:
    """Both runs ended in one state, bit for bit, and logged the same."""
    ends = [load_checkpoint(run.checkpoint("last")) for run in (first, second)]
    for part in ("generator", "discriminator", "averaged"):
        assert same_tensors(*(end[part].values() for end in ends)), part
    for part in ("generator_optimizer", "discriminator_optimizer"):
        moments = [[m for state in end[part]["state"].values() for m in state.values()] for end in ends]
        assert same_tensors(*moments), part
    assert torch.equal(*(end["anchors"] for end in ends))
    lines = [[_of_the_run(line) for line in read_metrics(run.metrics)] for run in (first, second)]
    assert json.dumps(lines[0]) == json.dumps(lines[1])


def test_a_resumed_run_repeats_the_uninterrupted_one_bit_by_bit(
    finished: RunDirectory, cohort_path: Path, tmp_path: Path
) -> None:
    run, outcome = start_run(_wanted(cohort_path), tmp_path / "run", tracker="none", progress=StopAt(56))
    assert (outcome.is_finished, outcome.images_seen, run.status()) == (False, 56, "interrupted")
    assert resume_run(run, tracker="none", progress=SilentProgress()).is_finished
    _assert_alike(finished, run)


def test_a_run_with_two_discriminator_steps_is_resumed_bit_by_bit_too(cohort_path: Path, tmp_path: Path) -> None:
    wanted = _wanted(cohort_path, images=48, discriminator_steps=2)
    whole, _ = start_run(wanted, tmp_path / "whole", tracker="none", progress=SilentProgress())
    run, outcome = start_run(wanted, tmp_path / "run", tracker="none", progress=StopAt(24))
    assert outcome.images_seen == 24
    assert resume_run(run, tracker="none", progress=SilentProgress()).is_finished
    _assert_alike(whole, run)


def test_another_seed_gives_another_generator(finished: RunDirectory, cohort_path: Path, tmp_path: Path) -> None:
    wanted = dataclasses.replace(_wanted(cohort_path, images=16), seed=4)
    run, _ = start_run(wanted, tmp_path / "run", tracker="none", progress=SilentProgress())
    ours, theirs = (load_checkpoint(r.checkpoint("last"))["averaged"] for r in (run, finished))
    assert not same_tensors(ours.values(), theirs.values())


def test_the_best_generator_loads_in_eval_mode_and_draws_alike_each_time(finished: RunDirectory) -> None:
    generator, facts = load_averaged_generator(finished, "best")
    again, _ = load_averaged_generator(finished, "best")
    latents = torch.ones(2, facts.latent_size)
    quantities = torch.zeros(2, len(facts.density.names))
    with torch.no_grad():
        images = [g(latents, torch.tensor([0, 7]), quantities) for g in (generator, again)]
    assert not generator.training
    assert torch.equal(*images)
    assert (facts.matrix, facts.pixel_spacing_mm) == (64, 4.0)


def test_the_last_generator_is_recalibrated_when_loaded(finished: RunDirectory) -> None:
    raw = load_checkpoint(finished.checkpoint("last"))["averaged"]
    generator, _ = load_averaged_generator(finished, "last")
    assert not generator.training
    assert not torch.equal(generator.state_dict()["start_norm.norm.running_mean"], raw["start_norm.norm.running_mean"])


def test_a_run_that_always_diverges_is_rolled_back_so_often_then_stops_and_is_marked_failed(
    cohort_path: Path, tmp_path: Path
) -> None:
    wanted = _wanted(cohort_path, generator_learning_rate=1e30, roll_backs=2)
    with pytest.raises(DivergenceError, match=r"diverged after 8 images: .* is nan, after 2 roll-backs; resume"):
        start_run(wanted, tmp_path / "run", tracker="none", progress=SilentProgress())
    run = resolve_run(tmp_path / "run")
    assert run.status() == "failed"
    assert "is nan" in str(run.reason())
    assert len(run.events.read_text().splitlines()) == 2


def test_a_run_that_breaks_is_marked_failed(cohort_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_out_of_memory(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Stepper, "step", run_out_of_memory)
    with pytest.raises(MemoryError):
        start_run(_wanted(cohort_path), tmp_path / "run", tracker="none", progress=SilentProgress())
    assert resolve_run(tmp_path / "run").status() == "failed"


def test_a_run_without_a_finite_validation_score_fails_and_says_so(
    cohort_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SelectionJudge, "judge", lambda *_: {"score": math.nan})
    with pytest.raises(TrainingError, match="no validation score was finite in 16 images"):
        start_run(_wanted(cohort_path, images=16), tmp_path / "run", tracker="none", progress=SilentProgress())
    run = resolve_run(tmp_path / "run")
    assert run.status() == "failed"
    with pytest.raises(RunError, match="no validation score was finite"):
        load_averaged_generator(run, "best")


class FillDisk(SilentProgress):
    """Lets no file grow any more when so many images have been seen."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def update(self, images_seen: int, **values: float | None) -> None:
        super().update(images_seen, **values)
        if images_seen == self.at:
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))


def test_a_full_disk_ends_a_run_in_one_line_and_the_last_checkpoint_is_good_to_resume_from(
    finished: RunDirectory, cohort_path: Path, tmp_path: Path
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(TrainingError, match=r"could not be written: .*free some space and resume"):
            start_run(
                _wanted(cohort_path, checkpoint_every=40), tmp_path / "run", tracker="none", progress=FillDisk(at=40)
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    run = resolve_run(tmp_path / "run")
    assert run.status() == "failed"
    assert "could not be written" in str(run.reason())
    assert load_checkpoint(run.checkpoint("last"))["images_seen"] == 40
    assert resume_run(run, tracker="none", progress=SilentProgress()).is_finished
    ours, theirs = (load_checkpoint(r.checkpoint("last"))["averaged"] for r in (run, finished))
    assert same_tensors(ours.values(), theirs.values())


def test_a_polite_kill_is_saved_and_marked_failed_with_its_reason(
    cohort_path: Path, tmp_path: Path, mlflow_uri: str
) -> None:
    from mlflow import MlflowClient

    progress = StopAt(16, signal.SIGTERM)
    run, outcome = start_run(_wanted(cohort_path), tmp_path / "run", tracker="mlflow", progress=progress)
    assert (outcome.is_terminated, outcome.images_seen, run.status()) == (True, 16, "terminated")
    found = MlflowClient(tracking_uri=mlflow_uri).get_run(replay(run))
    assert found.info.status == "FAILED"
    assert found.data.tags["reason"] == "stopped by SIGTERM after 16 images; it can be resumed"


def test_a_run_is_trained_by_one_process_at_a_time(cohort_path: Path, tmp_path: Path) -> None:
    run, _ = start_run(_wanted(cohort_path), tmp_path / "run", tracker="none", progress=StopAt(16))
    with run.lock(), pytest.raises(RunError, match="is being trained by another process"):
        resume_run(run, tracker="none", progress=SilentProgress())
    assert run.status() == "interrupted"


def _break_mlflow(monkeypatch: pytest.MonkeyPatch, *methods: str) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    def fail(*_: object, **__: object) -> None:
        raise MlflowException("the registry went away")

    for method in methods:
        monkeypatch.setattr(MlflowClient, method, fail)


class LoseMlflow(SilentProgress):
    """Takes MLflow away when so many images have been seen."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
        super().__init__()
        self.monkeypatch, self.at = monkeypatch, at

    def update(self, images_seen: int, **values: float | None) -> None:
        super().update(images_seen, **values)
        if images_seen == self.at:
            _break_mlflow(self.monkeypatch, "log_batch", "log_artifact", "set_terminated", "set_tag")


def test_a_training_outlives_mlflow_and_is_replayed_later(
    cohort_path: Path,
    tmp_path: Path,
    mlflow_uri: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from mlflow import MlflowClient

    with monkeypatch.context() as broken:
        progress = LoseMlflow(broken, at=8)
        run, outcome = start_run(_wanted(cohort_path, images=32), tmp_path / "run", tracker="mlflow", progress=progress)
    assert outcome.is_finished
    assert run.status() == "finished"
    assert [record.levelname for record in caplog.records if record.name == "training.tracking.buffering"] == [
        "WARNING"
    ]
    history = MlflowClient(tracking_uri=mlflow_uri).get_metric_history(replay(run), "generator_hinge")
    assert sorted(metric.step for metric in history) == [16, 32]


def test_a_failure_of_mlflow_at_the_end_hides_no_other_error(
    cohort_path: Path, tmp_path: Path, mlflow_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_out_of_memory(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Stepper, "step", run_out_of_memory)
    _break_mlflow(monkeypatch, "set_terminated")
    with pytest.raises(MemoryError):
        start_run(_wanted(cohort_path), tmp_path / "run", tracker="mlflow", progress=SilentProgress())
    assert resolve_run(tmp_path / "run").status() == "failed"


def test_an_mlflow_that_is_away_at_the_start_leaves_the_place_free(
    cohort_path: Path, tmp_path: Path, mlflow_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _break_mlflow(monkeypatch, "create_run")
    with pytest.raises(RegistryError, match="--tracker none"):
        start_run(_wanted(cohort_path), tmp_path / "run", tracker="mlflow", progress=SilentProgress())
    assert not (tmp_path / "run").exists()


def test_a_run_trained_on_without_mlflow_is_replayed_whole(cohort_path: Path, tmp_path: Path, mlflow_uri: str) -> None:
    from mlflow import MlflowClient

    run, _ = start_run(_wanted(cohort_path, images=32), tmp_path / "run", tracker="mlflow", progress=StopAt(16))
    resume_run(run, tracker="none", progress=SilentProgress())
    history = MlflowClient(tracking_uri=mlflow_uri).get_metric_history(replay(run), "generator_hinge")
    assert sorted(metric.step for metric in history) == [16, 32]


def test_a_finished_run_is_not_resumed(finished: RunDirectory) -> None:
    with pytest.raises(RunError, match="is finished"):
        resume_run(finished, tracker="none", progress=SilentProgress())


def test_a_run_is_not_started_over_another(finished: RunDirectory, cohort_path: Path) -> None:
    with pytest.raises(RunError, match="holds a run already"):
        start_run(_wanted(cohort_path), finished.path, tracker="none", progress=SilentProgress())


def test_a_run_is_not_resumed_on_another_cohort(cohort_path: Path, tmp_path: Path) -> None:
    run, _ = start_run(_wanted(cohort_path), tmp_path / "run", tracker="none", progress=StopAt(16))
    fields = json.loads((run.path / "config.json").read_text())
    (run.path / "config.json").write_text(json.dumps(fields | {"cohort_fingerprint": "0" * 64}))
    with pytest.raises(RunError, match="started on 000000000000"):
        resume_run(run, tracker="none", progress=SilentProgress())


def test_training_never_reads_the_test_split() -> None:
    cohort = tiny_cohort()
    split = cohort.split.copy()
    split[2::4] = "test"
    kept = dataclasses.replace(cohort, split=split)
    spoiled = dataclasses.replace(
        kept, counts=np.where((split == "test")[:, None, None], 10 * cohort.counts, cohort.counts)
    )
    clean, other = prepare(kept, TINY), prepare(spoiled, TINY)
    assert torch.equal(clean.slices.model_images, other.slices.model_images)
    assert (clean.density.center == other.density.center).all()


def test_a_cohort_without_selection_patients_is_refused() -> None:
    cohort = tiny_cohort()
    without = dataclasses.replace(cohort, split=cohort.split.astype("U9").copy())
    without.split[:] = "train"
    with pytest.raises(CohortError, match="no selection slices"):
        prepare(without, TINY)


def test_dataset_b_holds_the_cortex_alone() -> None:
    prepared = prepare(tiny_cohort(), TINY, dataset="B")
    assert {str(condition) for condition in prepared.density.mixtures} == {
        "COR/normal",
        "COR/unilateral",
        "COR/bilateral",
    }
