"""A long command as a user starts it, killed without warning while it trains."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from training.run import RunDirectory
from training.tracking.reporting import read_metrics

LINES = 4  # of metrics, after which it is killed: it has trained and saved


def kill_in_training(script: str, command: Sequence[str], run: RunDirectory) -> None:
    """Start a script and kill it after it has trained and saved; fail where it ends before."""
    environment = os.environ | {"PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, script, *command], env=environment)
    try:
        while process.poll() is None and not (run.metrics.exists() and len(read_metrics(run.metrics)) >= LINES):
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -9, "it ended before it was killed"
