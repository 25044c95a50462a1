"""A worker ends with the process that started it, also where that was killed.

BentoML gives each worker a session of its own and looks after it; a worker whose supervisor was killed would go on by
itself, hold the port, and answer to nobody.
"""

import os
import signal
import threading
import time

_LOOK_SECONDS = 1.0
_GRACE_SECONDS = 20.0


def end_with_supervisor() -> None:
    """Ask this process to end, as SIGTERM does, when its parent is gone; end it where it does not."""
    threading.Thread(target=_watch, args=(os.getppid(),), name="supervised", daemon=True).start()


def _watch(supervisor: int) -> None:
    while os.getppid() == supervisor:
        time.sleep(_LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
