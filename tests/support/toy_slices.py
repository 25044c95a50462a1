"""Toy patients: ellipses with a rim and a defect, varied in size, pose, flow and side; quick to draw and to measure."""

from dataclasses import replace
from functools import cache

import numpy as np
import scipy.ndimage

from cohort.store import Cohort, CohortDescription, build_cohort
from spect.conditions import CONDITIONS, Condition, Level, Pattern
from training.validation.comparison import Comparison, TrainingSlices, build_comparison
from training.validation.sample import Sample, measure_sample

MATRIX = 64
PIXEL_SPACING_MM = 4.0
MEAN_COUNTS = 50.0
_HALF_AXES_MM = {Level.CEREBELLUM: (52, 44), Level.BASAL_GANGLIA: (66, 82), Level.CORTEX: (60, 74)}


def draw_toy_slice(condition: Condition, rng: np.random.Generator) -> np.ndarray:
    """One slice (64, 64) of one patient."""
    axis_mm = (np.arange(MATRIX) - (MATRIX - 1) / 2) * PIXEL_SPACING_MM
    y, x = np.meshgrid(axis_mm - rng.normal(0, 2), axis_mm - rng.normal(0, 2), indexing="ij")
    half_x, half_y = np.array(_HALF_AXES_MM[condition.level]) * rng.normal(1, 0.03, 2)
    radius = np.hypot(x / half_x, y / half_y)
    flow = 0.6 + rng.normal(0.6, 0.06) * np.exp(-(((radius - 0.8) / 0.2) ** 2))
    for _ in range(4):  # regional variety that no single number describes
        spot_x, spot_y = rng.uniform(-0.5, 0.5, 2) * (half_x, half_y)
        flow += rng.normal(0, 0.06) * np.exp(-(((x - spot_x) / 18) ** 2) - ((y - spot_y) / 18) ** 2)
    flow *= _disease(condition.pattern, x / half_x, rng)
    flow[radius > 1] = 0
    counts = rng.normal(MEAN_COUNTS, 6) * scipy.ndimage.gaussian_filter(flow, 1.0)
    noise = scipy.ndimage.gaussian_filter(rng.standard_normal((MATRIX, MATRIX)), 0.6) * np.sqrt(counts) * 0.5
    return np.maximum(counts + noise, 0).astype(np.float32)


def _disease(pattern: Pattern, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if pattern is Pattern.NORMAL:
        return np.ones_like(x)
    depth = np.clip(rng.normal(0.25, 0.07), 0.05, 0.6)
    side = rng.choice([-1, 1])
    hemispheres = 1 / (1 + np.exp(-12 * side * x))
    return 1 - depth * (hemispheres if pattern is Pattern.UNILATERAL else 1 - 0.3 * hemispheres)


def draw_toy_counts(per_condition: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts (8 per_condition, 64, 64) and condition indices."""
    index = np.repeat(np.arange(len(CONDITIONS)), per_condition)
    counts = [draw_toy_slice(CONDITIONS[i], np.random.default_rng([seed, row])) for row, i in enumerate(index)]
    return np.stack(counts), index.astype(np.int64)


def toy_sample(counts: np.ndarray, index: np.ndarray, prefix: str = "p") -> Sample:
    """Measure toy counts, one slice a patient."""
    return measure_sample(
        counts,
        condition_index=index,
        patient=np.array([f"{prefix}{row}" for row in range(len(counts))]),
        pixel_spacing_mm=PIXEL_SPACING_MM,
        workers=1,
    )


@cache
def reference_sample(per_condition: int = 40) -> Sample:
    """The reference of every test: drawn and measured once."""
    return toy_sample(*draw_toy_counts(per_condition, seed=1), prefix="reference-")


@cache
def honest_sample(per_condition: int = 40) -> Sample:
    """What a perfect generator would make: other patients of the same population."""
    return toy_sample(*draw_toy_counts(per_condition, seed=2), prefix="synthetic-")


@cache
def training_slices(per_condition: int = 40) -> TrainingSlices:
    """A third population sample: what a generator was trained on."""
    counts, index = draw_toy_counts(per_condition, seed=3)
    return TrainingSlices(counts=counts, condition_index=index)


def corrupt(change) -> Sample:
    """An honest sample whose counts went through `change`, measured again."""
    honest = honest_sample()
    return toy_sample(
        np.maximum(change(honest.counts.copy()), 0).astype(np.float32), honest.condition_index, "synthetic-"
    )


@cache
def honest_comparison() -> Comparison:
    """The comparison of a perfect generator."""
    return build_comparison(
        synthetic=honest_sample(), reference=reference_sample(), training=training_slices(), seed=0, workers=1
    )


def compare(synthetic: Sample) -> Comparison:
    """Compare with the same reference, halves, floor and training slices as `honest_comparison`."""
    return replace(honest_comparison(), synthetic=synthetic)


def toy_cohort(
    per_condition: int, *, seed: int, split: str = "test", name: str = "test", source: str = "simulated"
) -> Cohort:
    """A cohort of toy patients; of a training cohort every fourth is a selection patient."""
    counts, index = draw_toy_counts(per_condition, seed)
    return build_cohort(
        {
            "counts": counts,
            "level": np.array([CONDITIONS[i].level.value for i in index]),
            "pattern": np.array([CONDITIONS[i].pattern.value for i in index]),
            "patient": np.array([f"{name}-{seed}-{row}" for row in range(len(counts))]),
            "split": np.array(
                ["selection" if split == "train" and row % 4 == 0 else split for row in range(len(counts))]
            ),
        },
        CohortDescription(
            name=name,
            pixel_spacing_mm=PIXEL_SPACING_MM,
            intensity_unit="mL/100g/min",
            intensity_scaling="whole-cohort",
            source=source,
            simulator_version="toy" if source == "simulated" else None,
            seed=seed if source == "simulated" else None,
        ),
    )
