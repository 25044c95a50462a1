"""Divergence and collapse are seen, said in words, and rolled back as often as configured."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from cohort.store import save_cohort
from spect.errors import DivergenceError
from tests.support.tiny_training import TINY, SilentProgress, same_tensors, tiny_cohort, tiny_prepared
from training.checkpoint import load_checkpoint
from training.config import TrainingConfig
from training.loop import Outcome, TrainingLoop
from training.run import RunDirectory, RunRecord
from training.session import NewRun, resume_run, start_run
from training.tracking.reporting import JsonlTracker, read_metrics
from training.watch import Watch

WATCHED = dataclasses.replace(TINY, collapse_limit=0.25, margin_limit=8.0)
SOUND = {"mean_counts_ratio/normal": 1.0, "mean_counts_sd_ratio/normal": 0.9, "log_ratio_sd_ratio/unilateral": 0.8}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"mean_counts_sd_ratio/normal": 0.1}, "mean counts of normal slices spreads 0.10 times as far"),
        ({"log_ratio_sd_ratio/unilateral": 0.2}, "left/right ratio of unilateral slices spreads 0.20 times"),
        ({"mean_counts_ratio/bilateral": float("nan")}, "bilateral slices show no brain"),
    ],
)
def test_a_collapse_is_said_in_words_once_the_run_is_old_enough(values: Mapping[str, float], words: str) -> None:
    watch = Watch(WATCHED)
    watch.check_judgement(SOUND, images_seen=48)
    watch.check_judgement(SOUND | values, images_seen=16)  # of 96: it has not spread yet
    with pytest.raises(DivergenceError, match=f"collapsed after 48 images: .*{words}"):
        watch.check_judgement(SOUND | values, images_seen=48)


def test_a_discriminator_that_has_won_is_said_in_words() -> None:
    watch = Watch(WATCHED)
    watch.check_losses({"margin": 1.0}, images_seen=16)
    with pytest.raises(DivergenceError, match=r"acquired slices 9\.5 above synthetic ones, at most 8 is allowed"):
        watch.check_losses({"margin": 9.5}, images_seen=16)


def test_a_watch_that_is_switched_off_says_nothing() -> None:
    watch = Watch(dataclasses.replace(WATCHED, collapse_limit=None, margin_limit=None))
    watch.check_losses({"margin": 1e9}, images_seen=96)
    watch.check_judgement({"mean_counts_sd_ratio/normal": 0.0}, images_seen=96)


class Spoil(SilentProgress):
    """Spoils the networks once, when so many images have been seen."""

    def __init__(self, at: int, spoil: Callable[[torch.nn.Module], None]) -> None:
        super().__init__()
        self.at, self.spoil, self.loop = at, spoil, None

    def update(self, images_seen: int, **values: float | None) -> None:
        super().update(images_seen, **values)
        if images_seen == self.at and self.loop is not None:
            for generator in (self.loop.networks.generator, self.loop.networks.averaged):
                self.spoil(generator)
            self.loop = None


def _train(directory: Path, config: TrainingConfig, progress: Spoil) -> tuple[RunDirectory, Outcome]:
    prepared = tiny_prepared(config)
    run = RunDirectory.create(directory, _record(config))
    fabric = Fabric(accelerator="cpu", devices=1)
    progress.loop = TrainingLoop(run=run, prepared=prepared, config=config, seed=3, fabric=fabric)
    return run, progress.loop.run(JsonlTracker(run), progress, lambda: False)


def _record(config: TrainingConfig) -> RunRecord:
    return RunRecord(
        name="watched",
        preset="tiny",
        dataset="A",
        seed=3,
        config=config,
        cohort_path="tiny",
        cohort_fingerprint="f" * 64,
        cohort_source="simulated",
        simulator_version=None,
        intensity_unit="counts",
        intensity_scaling="whole-cohort",
        training_slices=96,
        max_counts=80.0,
        matrix=64,
        pixel_spacing_mm=4.0,
        git_commit="unknown",
        precision="32-true",
        created_at="2026-01-01T00:00:00+00:00",
    )


@torch.no_grad()
def _fill_with_nan(generator: torch.nn.Module) -> None:
    next(generator.parameters()).fill_(float("nan"))


@torch.no_grad()
def _blank(generator: torch.nn.Module) -> None:
    generator.to_image.bias.fill_(-50.0)  # tanh gives background whatever is asked for


def test_a_run_that_diverges_goes_back_to_the_last_good_checkpoint_and_on_by_other_batches(tmp_path: Path) -> None:
    progress = Spoil(64, _fill_with_nan)
    run, outcome = _train(tmp_path / "run", dataclasses.replace(TINY, roll_backs=1), progress)
    assert outcome.is_finished
    assert progress.seen == [*range(8, 65, 8), *range(56, 97, 8)], "good.pt is of the validation at 48"
    event = json.loads(run.events.read_text())
    assert (event["event"], event["images_seen"]) == ("roll-back", 64)
    assert "training diverged after 64 images" in event["reason"]
    assert [line["images_seen"] for line in read_metrics(run.metrics) if "margin" in line] == [16, 32, 48, 64, 80, 96]
    spoilt, plain = load_checkpoint(run.checkpoint("last")), _train(tmp_path / "plain", TINY, Spoil(0, _blank))[0]
    plain_contents = load_checkpoint(plain.checkpoint("last"))
    assert spoilt["roll_backs"] == 1
    assert all(bool(torch.isfinite(tensor).all()) for tensor in spoilt["averaged"].values())
    assert not same_tensors(spoilt["averaged"].values(), plain_contents["averaged"].values()), "another stream"


@pytest.mark.parametrize(
    ("corrects_output", "words"),
    [
        (False, r"normal slices show no brain; resume"),
        (True, r"of normal slices spreads 0\.00 times"),  # blank slices, corrected, are the mean slice each
    ],
)
def test_a_run_that_collapses_stops_where_it_is_told_to_stop(
    tmp_path: Path, *, corrects_output: bool, words: str
) -> None:
    corrected = {"corrects_mean_slices": corrects_output, "corrects_spectrum": corrects_output}
    config = dataclasses.replace(TINY, collapse_limit=0.01, roll_backs=0, **corrected)
    with pytest.raises(DivergenceError, match=f"collapsed after 48 images: .*{words}"):
        _train(tmp_path / "run", config, Spoil(40, _blank))
    assert not (tmp_path / "run" / "checkpoints" / "good.pt").exists()


def test_roll_backs_are_counted_over_the_whole_run_not_from_each_resumption(tmp_path: Path) -> None:
    save_cohort(tiny_cohort(), tmp_path / "cohort")
    config = dataclasses.replace(TINY, generator_learning_rate=1e30, roll_backs=1)
    wanted = NewRun(cohort_path=tmp_path / "cohort", preset="tiny", config=config, dataset="A", seed=3)
    with pytest.raises(DivergenceError, match="after 1 roll-backs"):
        start_run(wanted, tmp_path / "run", tracker="none", progress=SilentProgress())
    run = RunDirectory.open(tmp_path / "run")
    assert load_checkpoint(run.checkpoint("last"))["roll_backs"] == 1
    with pytest.raises(DivergenceError, match="after 1 roll-backs"):
        resume_run(run, tracker="none", progress=SilentProgress())
    assert len(run.events.read_text().splitlines()) == 1
