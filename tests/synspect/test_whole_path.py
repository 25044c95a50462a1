"""Every command in the order a model owner uses them, on small numbers: nothing is faked and nothing is left out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from spect.formats import npz

pytestmark = [pytest.mark.slow, pytest.mark.e2e]

_MAIN = "from synspect.cli import main; main()"


@pytest.mark.timeout(1800)
def test_a_cohort_becomes_a_champion_that_answers(tmp_path: Path) -> None:
    def synspect(*arguments: str) -> str:
        environment = {**os.environ, "SYNSPECT_HOME": str(tmp_path / "home"), "COLUMNS": "200"}
        environment.pop("MLFLOW_TRACKING_URI", None)
        done = subprocess.run(
            [sys.executable, "-c", _MAIN, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    synspect("cohort", "simulate", "train", "--preset", "paper", "--patients", "120", "--matrix", "64", "--seed", "1")
    synspect("cohort", "simulate", "test", "--preset", "test", "--patients", "480", "--matrix", "64", "--seed", "1")
    synspect("train", "train", "--preset", "smoke", "--seed", "1")
    released = json.loads(synspect("release", "smoke-seed1", "--test", "test", "--profile-slices", "256", "--json"))
    assert released["version"] == "1"

    refused = subprocess.run(
        [sys.executable, "-c", _MAIN, "registry", "promote", "candidate"],
        env={**os.environ, "SYNSPECT_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert refused.returncode == 1, "a minute of training cannot pass the gates"
    synspect("registry", "promote", "candidate", "--override", "shows the path")
    synspect("registry", "follow", "champion", "followed", "--once")
    note = json.loads((tmp_path / "followed" / "current" / "promotion.json").read_bytes())
    assert (note["version"], note["promotion"], note["reason"]) == ("1", "override", "shows the path")

    request = ("generate", "--level", "COR", "--pattern", "unilateral", "--count", "8", "--seed", "7")
    synspect(*request, "--bundle", "followed", "--out", "batch.npz")
    batch = npz.load_batch(tmp_path / "batch.npz")
    assert batch.counts.shape == (8, 64, 64)
    assert np.ptp(batch.counts, axis=(1, 2)).min() > 0
    assert batch.model_version == "1"
