"""Followers and servers as processes that can be killed, or starved of disk, at a named moment.

python -m tests.support.follower_process URI DIR die STEP | limit BYTES
python -m tests.support.follower_process serve DIR
"""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from registry.bundle.directory import Bundle
from registry.bundle.served_model import open_model
from registry.follow import follow_once
from registry.followed_directory import FollowedDirectory
from registry.store.facts import CHAMPION
from registry.store.model_store import ModelStore
from spect.errors import SynspectError

ROOT = Path(__file__).parents[2]


def run_follower(uri: str, directory: Path, how: str, detail: str) -> "subprocess.CompletedProcess[str]":
    """Let a process of its own look once, and return how it ended."""
    return subprocess.run(
        [sys.executable, "-m", __name__, uri, str(directory), how, detail],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@contextmanager
def serving_process(directory: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that has opened what a followed directory holds."""
    command = [sys.executable, "-m", __name__, "serve", str(directory)]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        assert server.stdout.readline() == "open\n"
        yield server
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def die() -> None:
    """End this process as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


class DyingStore(ModelStore):
    """A registry whose download is cut off half-way: one whole file, half of another, no manifest."""

    def download(self, version: str, directory: Path) -> Bundle:
        whole = super().download(version, directory)
        (whole.path / "manifest.json").unlink()
        os.truncate(whole.generator_path, whole.generator_path.stat().st_size // 2)
        die()
        return whole


class DyingDirectory(FollowedDirectory):
    """A directory whose follower dies just before one of its steps."""

    def __init__(self, path: Path, step: str) -> None:
        super().__init__(path)
        self._step = step

    def keep(self, incoming: Path, name: str) -> Path:
        self._die_before("keep")
        return super().keep(incoming, name)

    def switch(self, pair: Path) -> None:
        self._die_before("switch")
        super().switch(pair)

    def prune(self, current: Path) -> None:
        self._die_before("prune")
        super().prune(current)

    def _die_before(self, step: str) -> None:
        if step == self._step:
            die()


def main(arguments: list[str]) -> None:
    if arguments[0] == "serve":
        model = open_model(Path(arguments[1]), threads=1)
        print("open", flush=True)  # noqa: T201 — tells the test
        while model:
            time.sleep(1)
    uri, directory, how, detail = arguments
    store = DyingStore(uri) if (how, detail) == ("die", "download") else ModelStore(uri)
    store.versions()
    if how == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(detail), int(detail)))
    try:
        follow_once(store, CHAMPION, DyingDirectory(Path(directory), detail))
    except SynspectError as error:
        print(f"{type(error).__name__}: {error}")  # noqa: T201 — tells the test


if __name__ == "__main__":
    main(sys.argv[1:])
