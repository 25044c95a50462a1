"""A process beside the server: started with it, ended with it however that ends, and started again when it dies."""

import logging
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from synspect.lifeline import describe_end, hold_lifeline

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
SETTLED_SECONDS = 60.0  # a process that lived this long did not fail at its start: the pauses begin anew
_STOP_SECONDS = 10.0
_MAIN = "from synspect.lifeline import end_with_parent; end_with_parent(); from synspect.cli import main; main()"


class Sidecar:
    """One child process that is kept alive; what is beside it never waits for it.

    Parameters
    ----------
    name
        What the log calls it.
    command
        How it is started.
    first_pause_seconds
        Pause before the first restart; it doubles with each process that ends early.
    """

    def __init__(self, name: str, command: Sequence[str], *, first_pause_seconds: float = FIRST_PAUSE_SECONDS) -> None:
        self.name = name
        self.command = tuple(command)
        self._first_pause_seconds = first_pause_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._restart_at: float | None = None
        self._early_ends = 0  # in a row

    @property
    def pid(self) -> int | None:
        """Process id, or None while it is not running."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start it; in a session of its own, so that Ctrl-C reaches it through `stop` alone."""
        self._restart_at = None
        self._started_at = time.monotonic()
        self._process = subprocess.Popen(self.command, stdin=hold_lifeline(), start_new_session=True)

    def restart_if_dead(self) -> None:
        """Start it again where it ended and its pause is over; ask as often as you like."""
        if self._process is None or self._process.poll() is None:
            return
        now = time.monotonic()
        if self._restart_at is None:
            pause = self._next_pause(now - self._started_at)
            self._restart_at = now + pause
            log.warning(
                "%s ended (%s); it starts again in %g s", self.name, describe_end(self._process.returncode), pause
            )
        elif now >= self._restart_at:
            self._start_again(now)

    def _start_again(self, now: float) -> None:
        """Start it, or try later where the machine has no room for it: what it stands beside goes on."""
        try:
            self.start()
        except OSError as error:
            pause = self._next_pause(0.0)
            self._restart_at = now + pause
            log.warning("%s cannot be started (%s); again in %g s", self.name, error.strerror, pause)
            return
        log.info("%s runs again, process %s", self.name, self.pid)

    def stop(self) -> None:
        """Ask it to end, and end it where it does not."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _next_pause(self, lived_seconds: float) -> float:
        self._early_ends = self._early_ends + 1 if lived_seconds < SETTLED_SECONDS else 1
        return min(self._first_pause_seconds * 2.0 ** min(self._early_ends - 1, 16), LONGEST_PAUSE_SECONDS)


def build_follower(alias: str, directory: Path, *, name: str, metrics_port: int | None = None) -> Sidecar:
    """Return `synspect registry follow` as a sidecar, not started yet."""
    followed = ["registry", "follow", alias, str(directory.absolute()), "--name", name]
    metrics = ["--metrics-port", str(metrics_port)] if metrics_port is not None else []
    return Sidecar("the follower", [sys.executable, "-c", _MAIN, *followed, *metrics])
