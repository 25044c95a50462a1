"""One patient's study: a brain, its flow and its disease, imaged at the levels the cohort holds."""

from dataclasses import dataclass

import numpy as np

from cohort.simulator.anatomy import BRAIN_CENTER_MM, Array, Axes, Brain, Template
from cohort.simulator.attenuation import map_attenuation
from cohort.simulator.correction import ChangCorrection
from cohort.simulator.imaging import Camera
from cohort.simulator.ischaemia import Disease, Side, draw_disease
from cohort.simulator.patients import PatientPlan
from cohort.simulator.perfusion import BloodFlow, Tracer, retain
from spect.conditions import Level
from spect.outline import SIGMA_PER_FWHM

# Axial planes that make up a slice, the camera's plane spacing apart: enough for an axial response 10 mm wide.
PLANES = 7
FINE_MATRIX = 128
HEAD_ROWS = slice(8, 120)  # the window of the field that a head can fill, in rows and columns of the fine matrix
HEAD_COLUMNS = slice(16, 112)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedSlice:
    """One slice and what only the simulator knows of it."""

    counts: Array  # (matrix, matrix)
    level: Level
    plan: PatientPlan
    side: Side
    territory: str
    severity: float  # share of flow lost in the diseased hemisphere's part of the slab
    left_right_ratio: float  # of flow, before the camera
    mean_flow: float  # of tissue, before the camera, mL/100g/min
    midline_shift_mm: float  # of the middle of the field to the plane x = 0, positive to image right
    midline_angle_deg: float  # of the line x cos + y sin = shift, as `spect.midline` has it


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """What all slices of a patient share."""

    plan: PatientPlan
    tracer: Tracer
    brain: Brain
    flow: BloodFlow
    disease: Disease
    planes_mm: dict[Level, float]  # MNI z of each level's plane
    correction: ChangCorrection
    noise: np.random.SeedSequence


def simulate_patient(plan: PatientPlan, camera: Camera, template: Template) -> list[SimulatedSlice]:
    """Draw one patient and cut the imaged levels from the same brain and disease."""
    return image_patient(draw_patient(plan, template), camera, template)


def draw_patient(plan: PatientPlan, template: Template, *, tracer: Tracer = Tracer.IMP) -> Patient:
    """Draw all that is not the camera's: brain, flow, disease, where the planes lie, what the operator sets."""
    # Each part has its own stream: a change in one leaves the others' draws alone.
    children = np.random.SeedSequence(plan.seed).spawn(6)
    streams = [np.random.default_rng(child) for child in children]
    brain = Brain.draw(streams[0])
    return Patient(
        plan=plan,
        tracer=tracer,
        brain=brain,
        flow=BloodFlow.draw(streams[1], age_years=brain.age_years, tracer=tracer),
        disease=draw_disease(plan.pattern, plan.levels, streams[2], template),
        planes_mm=_draw_planes(streams[3]),
        correction=ChangCorrection.draw(streams[5]),
        noise=children[4],
    )


def image_patient(patient: Patient, camera: Camera, template: Template, *, repeat: int = 0) -> list[SimulatedSlice]:
    """Image a patient's levels; every `repeat` is another scan of the same person, with noise of its own."""
    noise = np.random.SeedSequence(patient.noise.entropy, spawn_key=(*patient.noise.spawn_key, repeat))
    seeds = dict(zip(Level, noise.spawn(len(Level)), strict=True))
    return [
        _cut_slice(patient, level, camera, template, np.random.default_rng(seeds[level]))
        for level in patient.plan.imaged
    ]


def _draw_planes(rng: np.random.Generator) -> dict[Level, float]:
    jitter = rng.normal(0, 1.5, 3)
    return {
        Level.CEREBELLUM: -36 + jitter[0],
        Level.BASAL_GANGLIA: 6 + jitter[1],
        Level.CORTEX: float(rng.uniform(40, 45)) + jitter[2] / 3,
    }


def _cut_slice(
    patient: Patient,
    level: Level,
    camera: Camera,
    template: Template,
    rng: np.random.Generator,
) -> SimulatedSlice:
    axes = _slab_axes(patient.planes_mm[level], camera.plane_spacing_mm)
    mni_mm = patient.brain.locate(axes)
    healthy = patient.flow.evaluate(template, patient.brain, axes, mni_mm)
    shown = retain(patient.disease.factor(mni_mm), patient.tracer) if patient.disease.hemispheres else np.float32(1)
    diseased = healthy * shown
    slab = _on_matrix(diseased.transpose(2, 1, 0), camera.matrix)
    attenuation = _on_matrix(_map_middle(template, mni_mm)[None], camera.matrix)[0]
    # As the camera weighs the planes at the middle of the field: what the truths and the counts are of.
    weights = _plane_weights(camera)
    before, after = (np.einsum("xyz,z->yx", volume, weights) for volume in (healthy, diseased))
    share = _counts_share(_on_matrix(after[None], camera.matrix), camera, patient.flow.total(template))
    shift_mm, angle_deg = _find_true_midline(axes, mni_mm)
    mni_x = mni_mm[0, :, :, PLANES // 2].T
    return SimulatedSlice(
        counts=camera.acquire(slab, attenuation, counts_share=share, correction=patient.correction, rng=rng),
        level=level,
        plan=patient.plan,
        side=patient.disease.side,
        territory=patient.disease.territories,
        severity=_severity(before, after, mni_x),
        left_right_ratio=float(after[mni_x < 0].sum() / after[mni_x > 0].sum())
        / float(before[mni_x < 0].sum() / before[mni_x > 0].sum()),
        mean_flow=float(after[before > 5].mean()),
        midline_shift_mm=shift_mm,
        midline_angle_deg=angle_deg,
    )


def _slab_axes(plane_mm: float, plane_spacing_mm: float) -> Axes:
    """Person's coordinates of the slab, columns first: x falls from image left (patient right), y from the top."""
    centers = ((FINE_MATRIX - 1) / 2 - np.arange(FINE_MATRIX, dtype=np.float32)) * np.float32(256 / FINE_MATRIX)
    offsets = (np.arange(PLANES, dtype=np.float32) - PLANES // 2) * np.float32(plane_spacing_mm)
    return centers[HEAD_COLUMNS], centers[HEAD_ROWS], offsets + np.float32(plane_mm - BRAIN_CENTER_MM[2])


def _plane_weights(camera: Camera) -> Array:
    """Weights (planes,) of the axial response at the middle of the field."""
    offsets = (np.arange(PLANES) - PLANES // 2) * camera.plane_spacing_mm
    sigma = float(camera.axial_fwhm_mm(np.array(camera.orbit_radius_mm))) * SIGMA_PER_FWHM
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    normed: Array = (weights / weights.sum()).astype(np.float32)
    return normed


def _map_middle(template: Template, mni_mm: Array) -> Array:
    """Attenuation (rows, columns) of the slab's middle plane."""
    middle = np.ascontiguousarray(mni_mm[..., PLANES // 2].transpose(0, 2, 1))
    return map_attenuation(template, middle, 256 / FINE_MATRIX)


def _on_matrix(windows: Array, matrix: int) -> Array:
    """Lay the head's windows (n, rows, columns) into the field, binned to the camera's matrix."""
    field = np.zeros((len(windows), FINE_MATRIX, FINE_MATRIX), dtype=np.float32)
    field[:, HEAD_ROWS, HEAD_COLUMNS] = windows
    step = FINE_MATRIX // matrix
    binned: Array = field.reshape(-1, matrix, step, matrix, step).mean(axis=(2, 4))
    return binned


def _counts_share(activity: Array, camera: Camera, brain_total: float) -> float:
    """Share of the study's counts that falls on the slice, as thick as the axial filter makes it count."""
    volume_ml = camera.pixel_spacing_mm**2 * camera.effective_thickness_mm / 1000
    return float(activity.sum(dtype=np.float64)) * volume_ml / brain_total


def _severity(before: Array, after: Array, mni_x: Array) -> float:
    """Share of flow lost in the hemisphere that lost more."""
    lost = [1 - float(after[half].sum() / before[half].sum()) for half in (mni_x < 0, mni_x > 0)]
    return max(lost)


def _find_true_midline(axes: Axes, mni_mm: Array) -> tuple[float, float]:
    """Shift (mm to image right) and angle (degrees) of the line where MNI x is 0, in the middle plane of the slab."""
    mni_x = mni_mm[0, :, :, PLANES // 2]  # (columns, rows)
    rows = slice(len(axes[1]) // 4, -len(axes[1]) // 4)
    crossing = [float(np.interp(0.0, -column, -axes[0])) for column in mni_x[:, rows].T]
    slope, shift = np.polyfit(-axes[1][rows], crossing, 1)
    angle = np.arctan(-slope)
    return float(shift * np.cos(angle)), float(np.rad2deg(angle))
