"""Sessions that a forked process inherits: it never ends them, because their threads did not come with it."""

import ctypes
import os
from weakref import WeakSet

from registry.bundle.runtime import onnxruntime

_open_sessions: "WeakSet[onnxruntime.InferenceSession]" = WeakSet()


def outlive_forks(session: onnxruntime.InferenceSession) -> None:
    """Let a process forked from this one drop the session, or collect it as garbage, without ending it.

    The end of a session waits for its threads. A fork copies the session without them: a worker of a torch DataLoader
    in whose memory the collector came upon a session that its parent had forgotten waited for ever, or crashed.
    """
    _open_sessions.add(session)


def _keep_inherited_sessions() -> None:
    for session in _open_sessions:
        # One reference that nobody gives back: a list would still be cleared when the interpreter ends.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))


# Here and not when a session is opened: hooks pile up, one a session, and none can be taken back.
os.register_at_fork(after_in_child=_keep_inherited_sessions)
