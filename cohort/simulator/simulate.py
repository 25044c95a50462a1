"""Patients to slices: cut every level of a patient from one brain and one disease, over all cores."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cohort.simulator.imaging import Camera
from cohort.simulator.patients import PatientPlan, Preset, count_conditions, count_patients, plan_patients
from cohort.simulator.study import SimulatedSlice
from cohort.simulator.workers import simulate_patients
from cohort.store import Cohort, CohortDescription, build_cohort, check_destination, write_cohort
from spect.conditions import Condition
from spect.errors import CohortError
from spect.sampling import check_seed

SIMULATOR_VERSION = "2"
INTENSITY_UNIT = "mL/100g/min"
MATRICES = (64, 128)
# What a slice says beyond its counts, level and patient is the simulator's own knowledge: its ground truth.
_TRUTH = tuple(one.name for one in fields(SimulatedSlice) if one.name not in ("counts", "level", "plan"))

Arrays = dict[str, NDArray[np.generic]]
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """A cohort to simulate."""

    preset: Preset = Preset.PAPER
    patients: int | None = None  # the preset's own number where None; the mix of conditions is kept
    matrix: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if self.matrix not in MATRICES:
            raise CohortError(f"matrix must be one of {', '.join(map(str, MATRICES))}, got {self.matrix}")
        check_seed(self.seed)
        count_patients(self.preset, self.patients)

    @property
    def size(self) -> int:
        """How many patients."""
        return count_patients(self.preset, self.patients)

    @property
    def conditions(self) -> Counter[Condition]:
        """How many slices of every condition."""
        return count_conditions(self.preset, self.patients)

    def plan(self) -> Iterator[PatientPlan]:
        """Return who is in it, one at a time."""
        return plan_patients(self.preset, patients=self.patients, seed=self.seed)

    def describe(self) -> CohortDescription:
        """Return what its cohort.json says, but for the fingerprint."""
        return CohortDescription(
            name=self.preset.value,
            pixel_spacing_mm=Camera(matrix=self.matrix).pixel_spacing_mm,
            intensity_unit=INTENSITY_UNIT,
            intensity_scaling="whole-cohort",
            source="simulated",
            simulator_version=SIMULATOR_VERSION,
            seed=self.seed,
        )


def simulate_cohort(
    preset: Preset = Preset.PAPER,
    *,
    patients: int | None = None,
    matrix: int = 128,
    seed: int = 0,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Cohort:
    """Simulate a cohort in memory; the same for any number of workers.

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
    wanted = Simulation(preset=preset, patients=patients, matrix=matrix, seed=seed)
    slices = [one for made in _simulate(wanted, workers, progress) for one in made]
    return build_cohort(_to_arrays(slices), wanted.describe())


def write_simulated_cohort(
    wanted: Simulation, directory: Path, *, workers: int | None = None, progress: Progress | None = None
) -> None:
    """Simulate a cohort into a directory, patient by patient: memory does not grow with it.

    Raises
    ------
    CohortError
        The directory is not a place for a cohort, the disk is too small, or there are no patients.
    """
    check_destination(directory)
    _check_space(wanted, directory)
    with write_cohort(directory, wanted.describe()) as writer:
        for made in _simulate(wanted, workers, progress):
            writer.add(_to_arrays(made))


def _simulate(wanted: Simulation, workers: int | None, progress: Progress | None) -> Iterator[list[SimulatedSlice]]:
    for made in simulate_patients(wanted.plan(), Camera(matrix=wanted.matrix), workers=workers):
        yield made
        if progress is not None:
            progress(len(made))


def _check_space(wanted: Simulation, directory: Path) -> None:
    """Refuse before hours of work what the disk cannot hold; counts are float32, the rest is small."""
    slices = wanted.conditions.total()
    needed = slices * wanted.matrix**2 * np.dtype(np.float32).itemsize
    existing = next(parent for parent in directory.absolute().parents if parent.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise CohortError(
            f"{slices} slices need {_in_bytes(needed)}, {existing} has {_in_bytes(free)} free; "
            "make room, or ask for fewer patients or matrix 64"
        )


def _in_bytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _to_arrays(slices: list[SimulatedSlice]) -> Arrays:
    return {
        "counts": np.stack([one.counts for one in slices]).astype(np.float32),
        "level": np.array([one.level.value for one in slices]),
        "pattern": np.array([one.plan.pattern.value for one in slices]),
        "patient": np.array([one.plan.name for one in slices]),
        "split": np.array([one.plan.split for one in slices]),
        **{f"truth_{name}": _to_truth([getattr(one, name) for one in slices]) for name in _TRUTH},
    }


def _to_truth(values: list[object]) -> NDArray[np.generic]:
    """Words stay words (an enumeration gives its value), numbers become float32."""
    if all(isinstance(value, str) for value in values):
        return np.array(list(map(str, values)))
    return np.array(values, dtype=np.float32)
