"""The temporary home of a server: gone with it, and cleared away where it was killed; never while it is used."""

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from synspect.server_home import ServerHome, clear_abandoned_homes

ROOT = Path(__file__).parents[2]
# A parent that is killed as soon as its child, which holds the home as well, has said where that is.
_KILLED = """
import os, signal, subprocess, sys
from synspect.server_home import ServerHome
home = ServerHome()
child = [sys.executable, "-c", "import sys; sys.stdin.read()"]
subprocess.Popen(child, pass_fds=(home.descriptor,))
print(home.path, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def _own_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


def test_a_home_is_left_alone_while_it_is_held_and_is_gone_afterwards() -> None:
    home = ServerHome()
    (home.path / "metrics").mkdir()

    clear_abandoned_homes()
    assert (home.path / "metrics").is_dir()

    home.remove()
    assert not home.path.exists()


def test_a_home_that_a_kill_left_is_cleared_away_once_its_server_has_ended_too() -> None:
    command = [sys.executable, "-c", _KILLED]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        home = Path(parent.stdout.readline().strip())
        assert parent.wait() == -signal.SIGKILL

        clear_abandoned_homes()
        assert home.is_dir()

        parent.stdin.close()  # what the child waits for
        assert parent.stdout.read() == ""
    while home.exists():  # the child may still be letting go
        clear_abandoned_homes()
