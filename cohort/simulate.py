"""Patients to slices: cut every level of a patient from one brain and one disease, over all cores."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from numpy.typing import NDArray

from cohort.anatomy import Template, load_template
from cohort.imaging import Camera
from cohort.patients import PatientPlan, Preset, plan_patients
from cohort.store import Cohort, CohortDescription, build_cohort
from cohort.study import SimulatedSlice, simulate_patient
from spect.errors import CohortError
from spect.sampling import check_seed

SIMULATOR_VERSION = "1"
INTENSITY_UNIT = "mL/100g/min"
MATRICES = (64, 128)

Progress = Callable[[int], None]


def simulate_cohort(
    preset: Preset = Preset.PAPER,
    *,
    patients: int | None = None,
    matrix: int = 128,
    seed: int = 0,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Cohort:
    """Simulate a cohort; the same for any number of workers.

    Parameters
    ----------
    patients
        How many; the preset's own number where None. The mix of conditions is kept.
    workers
        Processes; all cores where None, none but this one where 1.
    progress
        Called with the number of slices of every patient done.

    Raises
    ------
    CohortError
        A matrix nobody reconstructs here, or no patients.
    """
    if matrix not in MATRICES:
        raise CohortError(f"matrix must be one of {', '.join(map(str, MATRICES))}, got {matrix}")
    plans = plan_patients(preset, patients=patients, seed=check_seed(seed))
    slices: list[SimulatedSlice] = []
    for made in _simulate_all(plans, Camera(matrix=matrix), workers or os.cpu_count() or 1):
        slices += made
        if progress is not None:
            progress(len(made))
    description = CohortDescription(
        name=preset.value,
        pixel_spacing_mm=Camera(matrix=matrix).pixel_spacing_mm,
        intensity_unit=INTENSITY_UNIT,
        intensity_scaling="whole-cohort",
        source="simulated",
        simulator_version=SIMULATOR_VERSION,
        seed=seed,
    )
    return build_cohort(_to_arrays(slices), description)


def _to_arrays(slices: list[SimulatedSlice]) -> dict[str, NDArray[np.generic]]:
    numbers = ("severity", "left_right_ratio", "mean_flow", "midline_shift_mm", "midline_angle_deg")
    return {
        "counts": np.stack([one.counts for one in slices]).astype(np.float32),
        "level": np.array([one.level.value for one in slices]),
        "pattern": np.array([one.plan.pattern.value for one in slices]),
        "patient": np.array([one.plan.name for one in slices]),
        "split": np.array([one.plan.split for one in slices]),
        "truth_side": np.array([one.side.value for one in slices]),
        "truth_territory": np.array([one.territory for one in slices]),
        **{f"truth_{name}": np.array([getattr(one, name) for one in slices], dtype=np.float32) for name in numbers},
    }


def _simulate_all(plans: list[PatientPlan], camera: Camera, workers: int) -> Iterator[list[SimulatedSlice]]:
    template = load_template()
    if workers == 1:
        for plan in plans:
            yield simulate_patient(plan, camera, template)
        return
    # spawn: forking a process whose libraries run threads can hang.
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(template, camera))
    try:
        yield from executor.map(_simulate_in_worker, plans, chunksize=4)
    finally:
        executor.shutdown(cancel_futures=True)


_worker_scene: list[tuple[Template, Camera]] = []  # what a worker process was started with


def _start_worker(template: Template, camera: Camera) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    _worker_scene.append((template, camera))


def _simulate_in_worker(plan: PatientPlan) -> list[SimulatedSlice]:
    template, camera = _worker_scene[0]
    return simulate_patient(plan, camera, template)
