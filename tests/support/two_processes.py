"""Train the tiny run in two processes that share each batch; started by a test, and by itself for the second one."""

import sys
from pathlib import Path

import torch

from tests.support.tiny_training import SHARED, SilentProgress, tiny_prepared
from training.devices import open_devices
from training.loop import TrainingLoop
from training.run import RunDirectory
from training.session import NewRun, start_run
from training.tracking.reporting import SilentTracker


def main(directory: Path) -> None:
    """Train a run by the usual path, then one of which every process shows its weights."""
    torch.set_num_threads(1)
    wanted = NewRun(cohort_path=directory / "cohort", preset="tiny", config=SHARED, dataset="A", seed=3)
    start_run(wanted, directory / "run", tracker="none", progress=SilentProgress(), devices=2)
    fabric = open_devices(2, "32-true")
    run = RunDirectory(directory / "run")
    loop = TrainingLoop(run=run, prepared=tiny_prepared(SHARED), config=SHARED, seed=3, fabric=fabric)
    loop.run(SilentTracker(), SilentProgress(), lambda: False)
    weights = {name: getattr(loop.networks, name).state_dict() for name in ("generator", "discriminator", "averaged")}
    torch.save(weights, directory / f"weights-{fabric.global_rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
