"""The simulated patients a calibration reads: imaged as in a cohort, read by regions and by the quantifier."""

import multiprocessing
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from cohort.calibration.regions import pixel_axes_mm, read_regions
from cohort.simulator.anatomy import BRAIN_CENTER_MM, Array, Brain, Template, load_template, sample_volume
from cohort.simulator.imaging import Camera
from cohort.simulator.ischaemia import Side
from cohort.simulator.patients import PATIENT_GROUPS, PatientPlan, apportion
from cohort.simulator.perfusion import Tracer
from cohort.simulator.study import Patient, SimulatedSlice, draw_patient, image_patient
from spect.conditions import Level, Pattern
from spect.quantify import quantify

# Part of every seed: no patient of a cohort is read here.
CALIBRATION_STREAM = 9
TISSUE = 0.5  # least fraction of brain in a pixel whose flow factor counts
WORST_PERCENTILE = 2.0  # of a hemisphere's flow factors: the core of its deepest defect


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSlice:
    """What is read of one imaged slice, and what the simulator knows of it."""

    counts: Array  # (matrix, matrix)
    plane_mm: float
    mean_counts: float
    left_right_ratio: float
    true_left_right_ratio: float  # of flow, before the camera
    regions: Mapping[str, float]  # counts
    worst_factor: float  # diseased over healthy flow in the core of the deepest defect; 1 in health


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPatient:
    """One patient's slices by level, and the patient."""

    patient: Patient
    slices: Mapping[Level, ReadSlice]

    @property
    def regions(self) -> dict[str, float]:
        """Counts of every region, averaged over the levels that show it."""
        found: dict[str, list[float]] = {}
        for one in self.slices.values():
            for name, counts in one.regions.items():
                found.setdefault(name, []).append(counts)
        return {name: float(np.mean(counts)) for name, counts in found.items()}

    def affected_over_normal(self, level: Level, *, true: bool = False) -> float:
        """Flow of the diseased hemisphere over the other's at a level: of the image, or before the camera."""
        one = self.slices[level]
        ratio = one.true_left_right_ratio if true else one.left_right_ratio
        return ratio if self.patient.disease.side is Side.LEFT else 1 / ratio


def plan_normals(count: int, seed: int) -> list[PatientPlan]:
    """Healthy persons with all three levels."""
    return [_plan(Pattern.NORMAL, tuple(Level), (seed, CALIBRATION_STREAM, number)) for number in range(count)]


def plan_ill(pattern: Pattern, count: int, seed: int) -> list[PatientPlan]:
    """Unilateral or bilateral patients in the mix of the cohort's table."""
    groups = [(levels, size) for of, levels, size in PATIENT_GROUPS if of is pattern]
    sizes = apportion([size for _, size in groups], count)
    members = [levels for (levels, _), size in zip(groups, sizes, strict=True) for _ in range(size)]
    stream = CALIBRATION_STREAM + list(Pattern).index(pattern)
    return [_plan(pattern, levels, (seed, stream, number)) for number, levels in enumerate(members)]


def _plan(pattern: Pattern, levels: tuple[Level, ...], seed: tuple[int, int, int]) -> PatientPlan:
    name = f"calibration-{pattern}-{seed[-1]:05d}"
    return PatientPlan(name=name, pattern=pattern, levels=levels, imaged=levels, split="test", seed=seed)


def read_patients(
    plans: Iterable[PatientPlan],
    camera: Camera,
    *,
    tracer: Tracer = Tracer.IMP,
    repeat: int = 0,
    workers: int = 1,
) -> Iterator[ReadPatient]:
    """Draw, image and read patients in the order of their plans; the same for any number of workers.

    Another `tracer` or `repeat` images the very same persons.
    """
    work = partial(_read_one, camera=camera, tracer=tracer, repeat=repeat)
    if workers == 1:
        yield from map(work, plans)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as executor:
        yield from executor.map(work, plans, chunksize=8)


def _read_one(plan: PatientPlan, *, camera: Camera, tracer: Tracer, repeat: int) -> ReadPatient:
    template = load_template()
    patient = draw_patient(plan, template, tracer=tracer)
    slices = image_patient(patient, camera, template, repeat=repeat)
    return ReadPatient(patient=patient, slices={one.level: _read_slice(patient, one, template) for one in slices})


def _read_slice(patient: Patient, one: SimulatedSlice, template: Template) -> ReadSlice:
    plane_mm = patient.planes_mm[one.level]
    mni_mm = locate_plane(patient.brain, one.counts.shape[-1], plane_mm)
    quantities = quantify(one.counts, pixel_spacing_mm=Camera(matrix=one.counts.shape[-1]).pixel_spacing_mm)
    return ReadSlice(
        counts=one.counts,
        plane_mm=plane_mm,
        mean_counts=float(quantities.mean_counts[0]),
        left_right_ratio=float(quantities.left_right_ratio[0]),
        true_left_right_ratio=one.left_right_ratio,
        regions=read_regions(one.counts, template, mni_mm, one.level),
        worst_factor=_find_worst_factor(patient, template, mni_mm),
    )


def locate_plane(brain: Brain, matrix: int, plane_mm: float) -> Array:
    """MNI coordinates (3, rows, columns) of a person's imaged plane."""
    x, y = pixel_axes_mm(matrix)
    located = brain.locate((x, y, np.array([plane_mm - BRAIN_CENTER_MM[2]], dtype=np.float32)))
    return np.ascontiguousarray(located[..., 0].transpose(0, 2, 1))


def _find_worst_factor(patient: Patient, template: Template, mni_mm: Array) -> float:
    if not patient.disease.hemispheres:
        return 1.0
    brain = sample_volume(template.fractions.sum(axis=0), template.origin_mm, mni_mm) > TISSUE
    affected = mni_mm[0] < 0 if patient.disease.side is Side.LEFT else mni_mm[0] > 0
    return float(np.percentile(patient.disease.factor(mni_mm)[brain & affected], WORST_PERCENTILE))
