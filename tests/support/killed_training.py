"""Train or resume the tiny run in a process of its own, which a test kills."""

import dataclasses
from pathlib import Path

import torch

from tests.support.tiny_training import TINY, SilentProgress
from training.run import CONFIG_NAME, RunDirectory
from training.session import NewRun, resume_run, start_run

# A checkpoint after every step: a kill at a random moment often falls into one.
CONFIG = dataclasses.replace(TINY, images=64, checkpoint_every=8, validate_every=32, log_every=16, roll_backs=1)


def train_on(cohort: Path, path: Path) -> None:
    """Start the run, or resume it where it is there already."""
    torch.set_num_threads(1)
    if (path / CONFIG_NAME).exists():
        run = RunDirectory.open(path)
        if run.status() != "finished":
            resume_run(run, tracker="none", progress=SilentProgress())
        return
    wanted = NewRun(cohort_path=cohort, preset="tiny", config=CONFIG, dataset="A", seed=3)
    start_run(wanted, path, tracker="none", progress=SilentProgress())
