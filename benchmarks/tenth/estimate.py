"""What each seed cuts and how long it will take: by the seeds that are done, else by an assumed speed."""

import statistics
from collections.abc import Mapping

import numpy as np
from study.estimate import count_images
from tenth.results import SeedResult, TenthRecord, Tenths

from cohort.store import Cohort
from spect.conditions import CONDITIONS
from training.run import RunDirectory

MEASURING_HOURS = 0.1  # 4,000 synthetic slices on one core


def print_plan(tenths: Tenths, record: TenthRecord, cuts: Mapping[int, Cohort], *, images_per_second: float) -> None:
    """Print each seed's tenth with how far it is and what is left of it, and the total."""
    done = tenths.results()
    total = 0.0
    print(f"{record.scale.images:,} images seen by every training, {record.slices} slices a condition")
    for seed, tenth in cuts.items():
        state, hours = "done", 0.0
        if not tenths.result_path(seed).exists():
            seen = count_images(RunDirectory(tenths.run_path(seed)))
            state = f"{seen:,} images seen" if seen else "not begun"
            training, measuring = _estimate_hours(record, done, images_per_second=images_per_second)
            hours = training * (1 - seen / record.scale.images) + measuring
        total += hours
        print(f"  seed {seed}: {describe_tenth(tenth)}; {state}, {hours:.2f} h")
    basis = "the seeds that are done" if done else f"{images_per_second:g} images/s"
    print(f"{len(cuts)} seeds, {total:.1f} h on one core by {basis}; two processes halve it on two cores")


def describe_tenth(tenth: Cohort) -> str:
    """Say how many patients and slices are left, and of which condition fewest to train on."""
    train = tenth.select(split="train")
    counts = np.bincount(train.condition_index, minlength=len(CONDITIONS))
    fewest = min(train.conditions(), key=lambda condition: int(counts[condition.index]))
    return (
        f"{len(np.unique(tenth.patient))} patients, {len(tenth)} slices, {len(train)} of them to train on, fewest "
        f"{counts[fewest.index]} of {fewest}"
    )


def _estimate_hours(record: TenthRecord, done: list[SeedResult], *, images_per_second: float) -> tuple[float, float]:
    trained = [result for result in done if result.training_hours > 0]
    if not trained:
        return record.scale.images / images_per_second / 3600, MEASURING_HOURS
    speed = statistics.median(result.images_seen / result.training_hours for result in trained)
    return record.scale.images / speed, statistics.median(result.measuring_hours for result in trained)
