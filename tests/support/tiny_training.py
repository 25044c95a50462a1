"""The smallest cohort and configuration that training runs on."""

import dataclasses
from collections.abc import Iterable
from functools import cache

import numpy as np

from cohort.store import Cohort, CohortDescription, build_cohort
from spect.conditions import CONDITIONS
from tests.support.toy_slices import draw_toy_counts
from training.config import TrainingConfig
from training.prepare import Prepared, prepare
from training.presets import PRESETS

PER_CONDITION = 16

TINY = dataclasses.replace(
    PRESETS["smoke"],
    width=2,
    latent_size=8,
    embedding_size=8,
    principal_scores=4,
    batch_size=8,
    images=96,
    log_every=16,
    checkpoint_every=48,
    validate_every=48,
    validation_slices=8,
    r1_interval=4,
)

# Three steps, for processes that share each batch.
SHARED = dataclasses.replace(TINY, images=24, log_every=8, checkpoint_every=24, validate_every=24, r1_interval=1)


@cache
def tiny_cohort() -> Cohort:
    """A quarter of each condition's slices for selection; one slice a patient."""
    counts, index = draw_toy_counts(PER_CONDITION, seed=5)
    rows = range(len(index))
    return build_cohort(
        {
            "counts": counts,
            "level": np.array([CONDITIONS[i].level.value for i in index]),
            "pattern": np.array([CONDITIONS[i].pattern.value for i in index]),
            "patient": np.array([f"patient-{row}" for row in rows]),
            "split": np.array(["selection" if row % 4 == 0 else "train" for row in rows]),
        },
        CohortDescription(
            name="tiny",
            pixel_spacing_mm=4.0,
            intensity_unit="counts",
            intensity_scaling="whole-cohort",
            source="simulated",
        ),
    )


@cache
def tiny_prepared(config: TrainingConfig = TINY) -> Prepared:
    """The tiny cohort made ready."""
    return prepare(tiny_cohort(), config)


class SilentProgress:
    """Counts the updates, shows nothing; asks to stop after so many images where told to."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def update(self, images_seen: int, **_: float | None) -> None:
        self.seen.append(images_seen)


def same_tensors(first: Iterable, second: Iterable) -> bool:
    """Whether two sequences of tensors are equal bit for bit."""
    return all(bool((a == b).all()) for a, b in zip(first, second, strict=True))
