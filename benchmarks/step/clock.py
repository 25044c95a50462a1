"""Seconds of work that may go on after its call returns, as a GPU's does."""

import time
from collections.abc import Callable

import torch


def time_once(work: Callable[[], object]) -> float:
    """Return the seconds until the device has done a work."""
    wait_for_device()
    started = time.perf_counter()
    work()
    wait_for_device()
    return time.perf_counter() - started


def wait_for_device() -> None:
    """Return when the GPU has nothing left to do; at once without one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
