"""A training that is killed without warning, at any moment, goes on as if nothing had happened."""

import multiprocessing
import random
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from cohort.store import save_cohort
from tests.support.killed_training import train_on
from tests.support.tiny_training import same_tensors, tiny_cohort
from training.checkpoint import load_checkpoint
from training.run import RunDirectory
from training.tracking.reporting import read_metrics

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Processes that begin with everything imported and nothing run."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.killed_training"])
    return context


def _kill_when(context: ForkServerContext, cohort: Path, path: Path, is_time: Callable[[], bool]) -> bool:
    """Train until the moment has come, then kill; return whether the training was still going on."""
    process = context.Process(target=train_on, args=(cohort, path))
    process.start()
    while process.is_alive() and not is_time():
        time.sleep(0.001)
    process.kill()
    process.join()
    assert process.exitcode in (0, -9), "a resumption failed"
    return process.exitcode == -9


def _soon_after_checkpoint(last: Path, seed: int) -> Callable[[], bool]:
    """A random moment of the step after the first checkpoint that this process writes."""
    before, delay = _number(last), random.Random(seed).uniform(0, 0.3)

    def is_time() -> bool:
        if _number(last) == before:
            return False
        time.sleep(delay)
        return True

    return is_time


def _number(path: Path) -> int | None:
    """Of the file that lies there now: a checkpoint is replaced, never changed."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def test_a_run_killed_at_any_moment_ends_as_the_uninterrupted_one(processes: ForkServerContext, tmp_path: Path) -> None:
    cohort, killed = tmp_path / "cohort", tmp_path / "killed"
    save_cohort(tiny_cohort(), cohort)
    assert not _kill_when(processes, cohort, tmp_path / "whole", lambda: False)

    checkpoints = killed / "checkpoints"
    assert _kill_when(processes, cohort, killed, killed.is_dir), "before the first checkpoint"
    assert _kill_when(processes, cohort, killed, lambda: any(checkpoints.glob(".*.partial"))), "while one is written"
    for seed in range(2):
        _kill_when(processes, cohort, killed, _soon_after_checkpoint(checkpoints / "last.pt", seed))
    _kill_when(processes, cohort, killed, lambda: False)

    whole, run = RunDirectory.open(tmp_path / "whole"), RunDirectory.open(killed)
    assert run.status() == "finished"
    assert not list(run.path.rglob("*.partial"))
    for which in ("last", "best", "good"):
        expected, found = (load_checkpoint(r.checkpoint(which)) for r in (whole, run))
        assert same_tensors(expected["averaged"].values(), found["averaged"].values()), which
    for part in ("generator", "discriminator"):
        first, second = (load_checkpoint(r.checkpoint("last"))[part] for r in (whole, run))
        assert same_tensors(first.values(), second.values()), part
    logged = [[(line["images_seen"], line.get("margin")) for line in read_metrics(r.metrics)] for r in (whole, run)]
    assert logged[0] == logged[1]
