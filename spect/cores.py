"""How many cores there are to work on."""

import os


def count_cores() -> int:
    """Return the cores that this process may run on: fewer than the machine's where it is pinned to some."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
