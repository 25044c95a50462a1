"""How long a study will take: by the arms that are done where there are any, else by an assumed speed."""

import statistics
from collections.abc import Sequence

from study.plan import Arm, Scale
from study.results import ArmResult, Study

from training.run import RunDirectory
from training.tracking.reporting import AT, read_metrics

PAPER_SPEED = 0.6  # of ours: 15 against 25 images a second of one core, 64 px, width 16; a batch of two fills it badly
VALIDATION_HOURS = 0.1  # of an arm at matrix 64, on one core


def estimate_hours(
    arm: Arm, scale: Scale, done: Sequence[ArmResult], *, images_per_second: float
) -> tuple[float, float]:
    """Hours of training and of validation of a whole arm."""
    alike = [result for result in done if result.arm.configuration == arm.configuration and result.training_hours > 0]
    speed = images_per_second * 3600 * (PAPER_SPEED if arm.configuration == "paper" else 1)
    if alike:
        speed = statistics.median(result.images_seen / result.training_hours for result in alike)
    measured = [result.validation_hours for result in done if result.panel is not None]
    validation = statistics.median(measured) if measured else VALIDATION_HOURS * (scale.matrix / 64) ** 2
    return scale.images / speed, validation


def print_plan(study: Study, plan: Sequence[Arm], scale: Scale, *, images_per_second: float) -> None:
    """Print each arm with how far it is and what is left of it, and the total."""
    done = study.results()
    total = 0.0
    print(f"matrix {scale.matrix}, width {scale.width}, {scale.images:,} images seen by every arm")
    for arm in plan:
        state, hours = "done", 0.0
        if not study.result_path(arm).exists():
            seen = count_images(RunDirectory(study.runs / arm.name))
            state = f"{seen:,} images seen" if seen else "not begun"
            training, validation = estimate_hours(arm, scale, done, images_per_second=images_per_second)
            hours = training * (1 - seen / scale.images) + validation
        total += hours
        print(f"  {arm.name:<62} {state:>20} {hours:7.2f} h")
    basis = "the arms that are done" if done else f"{images_per_second:g} images/s for ours"
    print(f"{len(plan)} arms, {total:.1f} h on one core by {basis}; two processes halve it on two cores")


def count_images(run: RunDirectory) -> int:
    """Images a run has seen so far, as it logged."""
    metrics = run.metrics
    lines = read_metrics(metrics) if metrics.exists() else []
    return int(lines[-1][AT]) if lines else 0
