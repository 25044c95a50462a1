"""Two processes that share each batch learn what one learns from the whole, and only the first of them writes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from cohort.store import save_cohort
from spect.errors import ConfigurationError, RunError
from tests.support.tiny_training import SHARED, TINY, SilentProgress, tiny_cohort, tiny_prepared
from training.checkpoint import load_checkpoint
from training.devices import any_device, check_devices, mean_over_devices, on_first, open_devices
from training.loop import TrainingLoop
from training.run import RunDirectory
from training.tracking.reporting import SilentTracker, read_metrics

# Float32 sums in another order; Adam turns the smallest gradients into whole steps of either sign.
GRADIENT_TOLERANCE = 1e-2
WEIGHT_TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("shared")
    save_cohort(tiny_cohort(), directory / "cohort")
    script = Path(__file__).parents[1] / "support" / "two_processes.py"
    root = str(script.parents[2])
    done = subprocess.run(
        [sys.executable, str(script), str(directory)],
        env={**os.environ, "PYTHONPATH": root, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return directory


def _distance(first: Iterable[torch.Tensor], second: Iterable[torch.Tensor]) -> float:
    """Length of the difference, in lengths of the second."""
    ours, theirs = (torch.cat([t.double().flatten() for t in tensors]) for tensors in (first, second))
    return float((ours - theirs).norm() / theirs.norm())


@pytest.mark.e2e
def test_two_processes_hold_the_same_weights_bit_by_bit(shared: Path) -> None:
    first, second = (torch.load(shared / f"weights-{rank}.pt", weights_only=True) for rank in range(2))
    for network, weights in first.items():
        assert all(torch.equal(tensor, second[network][name]) for name, tensor in weights.items()), network


@pytest.mark.e2e
def test_two_processes_learn_what_one_learns_from_the_whole_batch(shared: Path, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.checkpoints.mkdir(parents=True)
    run.figures.mkdir()
    fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
    loop = TrainingLoop(run=run, prepared=tiny_prepared(SHARED), config=SHARED, seed=3, fabric=fabric)
    loop.run(SilentTracker(), SilentProgress(), lambda: False)
    alone, together = (load_checkpoint(path / "run" / "checkpoints" / "last.pt") for path in (tmp_path, shared))
    for network in ("generator", "discriminator", "averaged"):
        assert _distance(together[network].values(), alone[network].values()) < WEIGHT_TOLERANCE, network
    for optimizer in ("generator_optimizer", "discriminator_optimizer"):
        # beta1 is 0: Adam's first moment is the last gradient, R1 and clipping included.
        gradients = [[state["exp_avg"] for state in c[optimizer]["state"].values()] for c in (together, alone)]
        assert _distance(*gradients) < GRADIENT_TOLERANCE, optimizer
    assert torch.allclose(together["anchors"], alone["anchors"], atol=1e-4)


@pytest.mark.e2e
def test_only_the_first_of_two_processes_writes(shared: Path) -> None:
    run = RunDirectory.open(shared / "run")
    assert run.status() == "finished"
    assert json.loads((run.path / "config.json").read_text())["name"] == "run"
    lines = [(line["images_seen"], "margin" in line) for line in read_metrics(run.metrics)]
    assert lines == [(8, True), (16, True), (24, True), (24, False)]
    assert [path.name for path in shared.glob("run*")] == ["run"]


def test_a_batch_that_cannot_be_shared_evenly_is_refused_before_anything_starts() -> None:
    check_devices(TINY, 2)
    with pytest.raises(
        ConfigurationError, match="batch_size 8 cannot be shared by 3 devices; make it a multiple of 12"
    ):
        check_devices(TINY, 3)
    with pytest.raises(ConfigurationError, match="devices must be at least 1, got 0"):
        open_devices(0, "32-true")


def test_one_process_shares_with_nobody() -> None:
    fabric = open_devices(1, "32-true", accelerator="cpu")
    values = torch.tensor([1.0, 3.0])
    assert mean_over_devices(fabric, values) is values
    assert any_device(fabric, is_so=True)
    assert not any_device(fabric, is_so=False)
    assert on_first(fabric, lambda: 7) == 7
    with pytest.raises(RunError, match="gone"):
        on_first(fabric, _fail)


def _fail() -> None:
    raise RunError("gone")
