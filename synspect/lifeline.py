"""Children that end with their parent, even one that was killed: each reads a pipe that the parent alone holds open."""

import os
import signal
import threading
import time
from functools import cache

_GRACE_SECONDS = 20.0


@cache
def hold_lifeline() -> int:
    """Return what children of this process get as their standard input; it ends when this process does, however.

    Nothing is ever written to it. Children must call `end_with_parent`, and lead a session of their own.
    """
    read_end, _held_for_life = os.pipe()
    return read_end


def end_with_parent() -> None:
    """Ask this process to end, as SIGTERM does, when standard input ends; then end it and all it started."""
    threading.Thread(target=_wait_for_the_end, name="lifeline", daemon=True).start()


def describe_end(code: int) -> str:
    """Return how a child process ended, by what `Popen.poll` told of it."""
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _wait_for_the_end() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_SECONDS)
    os.killpg(os.getpid(), signal.SIGKILL)
