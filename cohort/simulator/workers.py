"""Patients over all cores, in order: as many ahead as keep the cores busy, no more."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from cohort.simulator.anatomy import Template, load_template
from cohort.simulator.imaging import Camera
from cohort.simulator.patients import PatientPlan
from cohort.simulator.study import SimulatedSlice, simulate_patient
from spect.cores import count_cores
from spect.errors import SimulationError

# Patients a worker has before it: enough that none waits for a slow one, few enough to forget about their memory.
AHEAD = 8


def simulate_patients(
    plans: Iterable[PatientPlan], camera: Camera, *, workers: int | None = None
) -> Iterator[list[SimulatedSlice]]:
    """Yield every patient's slices in the order of the plans, the same for any number of workers.

    Parameters
    ----------
    workers
        Processes; all cores where None, none but this one where 1.

    Raises
    ------
    SimulationError
        A worker was killed.
    """
    template, workers = load_template(), workers or count_cores()
    if workers == 1:
        for plan in plans:
            yield simulate_patient(plan, camera, template)
        return
    # spawn: forking a process whose libraries run threads can hang.
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(template, camera))
    try:
        yield from _map_in_order(executor, plans, ahead=workers * AHEAD)
    except BrokenProcessPool:
        raise SimulationError(
            "a worker process was killed, perhaps for want of memory; nothing was written: try fewer --workers"
        ) from None
    finally:
        executor.shutdown(cancel_futures=True)


def _map_in_order(
    executor: ProcessPoolExecutor, plans: Iterable[PatientPlan], *, ahead: int
) -> Iterator[list[SimulatedSlice]]:
    """Submit at most `ahead` patients beyond the one that is taken; `executor.map` submits them all at once."""
    pending: deque[Future[list[SimulatedSlice]]] = deque()
    for plan in plans:
        pending.append(executor.submit(_simulate_in_worker, plan))
        if len(pending) >= ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


_worker_scene: list[tuple[Template, Camera]] = []  # what a worker process was started with


def _start_worker(template: Template, camera: Camera) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker_scene.append((template, camera))


def _end_with_parent() -> None:
    """End this worker when its parent is gone: after a kill -9 nobody else would tell it to."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _simulate_in_worker(plan: PatientPlan) -> list[SimulatedSlice]:
    template, camera = _worker_scene[0]
    return simulate_patient(plan, camera, template)
