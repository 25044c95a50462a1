"""The points of the curve: what a study's size needs a slice, and what its panels say in six numbers a seed."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from floor import Needs, count_needs
from inference import build_generator, draw_inputs, to_tensors
from study.plan import Arm, Scale
from study.results import ArmResult, Study, StudyRecord, first_measured, pick
from study.tables import LEFT_RIGHT_SPREAD

from registry.bundle.panel import Measurement
from spect.conditions import Pattern
from spect.errors import ConfigurationError
from training.inference_form import to_inference_form
from training.validation.beyond_conditioned import METRIC as BEYOND_CONDITIONED
from training.validation.mean_counts import MEAN_COUNTS_RATIO
from training.validation.principal_components import METRIC as COMPONENT_SPREAD
from training.validation.two_sample_classifier import INSIDE_OUTLINE

Take = Callable[[Measurement], float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelNumbers:
    """A panel in short; None where it does not say."""

    auc_mean: float | None  # linear, inside the outline, over the three patterns
    auc_worst: float | None
    auc_beyond_conditioned: float | None
    component_sd_ratio: float | None
    mean_counts_deviation: float | None  # from 1, the largest
    left_right_sd_ratio: float | None  # the farthest from 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """What became of one training."""

    seed: int
    outcome: str
    numbers: PanelNumbers | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One study: a size, what a slice of it needs, and its panel by seed."""

    matrix: int
    width: int
    images: int
    source: str  # of the cohorts: simulated or acquired
    gigaflops: float  # a slice, as released
    weight_mebibytes: float
    seeds: tuple[Seed, ...]
    null: PanelNumbers | None  # real against real, at this matrix
    floor: PanelNumbers | None  # the Gaussian, at this matrix

    @property
    def name(self) -> str:
        """Its size in words."""
        return f"{self.matrix} px, width {self.width}"

    @property
    def measured(self) -> list[PanelNumbers]:
        """Panels of the seeds that have one."""
        return [seed.numbers for seed in self.seeds if seed.numbers is not None]


def read_points(paths: Sequence[Path]) -> list[Point]:
    """Read studies, and order them by operations.

    Raises
    ------
    ConfigurationError
        A directory is no study, has no arm of ours on dataset A, or cannot be compared with the first; or nothing was
        measured anywhere.
    """
    studies = [Study(path) for path in paths]
    records = [study.record() for study in studies]
    _check_comparable(paths, records)
    points = [_read_point(study, record) for study, record in zip(studies, records, strict=True)]
    if not any(point.measured for point in points):
        raise ConfigurationError("no study holds a measured arm A-ours; `paper_study.py report STUDY` says why")
    return sorted(points, key=lambda point: point.gigaflops)


def _check_comparable(paths: Sequence[Path], records: Sequence[StudyRecord]) -> None:
    sizes: dict[tuple[int, int], Path] = {}
    for path, record in zip(paths, records, strict=True):
        for words, value, expected in zip(_SHARED, _shared(record), _shared(records[0]), strict=True):
            if value != expected:
                raise ConfigurationError(
                    f"{path} has {words} {value}, {paths[0]} has {expected}: their panels cannot be compared; "
                    "name studies that differ in matrix and width alone"
                )
        size = (record.scale.matrix, record.scale.width)
        if size in sizes:
            raise ConfigurationError(
                f"{sizes[size]} and {path} are both {size[0]} px, width {size[1]}; name one, and run its seeds there"
            )
        sizes[size] = path


_SHARED = ("training cohort", "test cohort", "images seen", "validation")


def _shared(record: StudyRecord) -> tuple[Any, ...]:
    cohorts = (record.training_fingerprint[:12], record.test_fingerprint[:12])
    return (*cohorts, record.scale.images, "quick" if record.is_quick else "full")


def _read_point(study: Study, record: StudyRecord) -> Point:
    arms = pick(study.results(), "A", "ours")
    if not arms:
        raise ConfigurationError(
            f"{study.path} holds no measured arm A-ours; run it with `paper_study.py run --only 'A-ours-*'`"
        )
    needs = count_released_needs(record.scale)
    beside = first_measured(arms, "A")
    return Point(
        matrix=record.scale.matrix,
        width=record.scale.width,
        images=record.scale.images,
        source=record.training_source,
        gigaflops=needs.gigaflops,
        weight_mebibytes=needs.weight_mebibytes,
        seeds=tuple(
            Seed(
                seed=arm.arm.seed,
                outcome=arm.outcome,
                numbers=shorten_panel(arm, lambda found: found.value) if arm.panel else None,
            )
            for arm in arms
        ),
        null=shorten_panel(beside, lambda found: found.null) if beside else None,
        floor=shorten_panel(beside, lambda found: found.floor) if beside else None,
    )


def count_released_needs(scale: Scale) -> Needs:
    """Count what a slice of this size needs as released; weights that are drawn do."""
    generator = build_generator(Arm(dataset="A", configuration="ours", seed=0).config(scale))
    return count_needs(to_inference_form(generator), to_tensors(draw_inputs(generator, 1)))


def shorten_panel(result: ArmResult, take: Take) -> PanelNumbers:
    """Return the panel of an arm in short: its values, or what stands beside them."""

    def over_patterns(metric: str) -> list[float]:
        found = [_take(result, metric, pattern, take) for pattern in Pattern]
        known = [value for value in found if value is not None]
        return known if len(known) == len(found) else []  # a mean over two of three would flatter

    auc = over_patterns(INSIDE_OUTLINE)
    counts = [abs(ratio - 1) for ratio in over_patterns(MEAN_COUNTS_RATIO.metric)]
    return PanelNumbers(
        auc_mean=sum(auc) / len(auc) if auc else None,
        auc_worst=max(auc, default=None),
        auc_beyond_conditioned=_take(result, BEYOND_CONDITIONED, "all", take),
        component_sd_ratio=_take(result, COMPONENT_SPREAD, "all", take),
        mean_counts_deviation=max(counts, default=None),
        left_right_sd_ratio=max(over_patterns(LEFT_RIGHT_SPREAD), key=_distance, default=None),
    )


def _take(result: ArmResult, metric: str, cell: str, take: Take) -> float | None:
    found = result.find(metric, cell)
    return None if found is None else take(found)


def _distance(ratio: float) -> float:
    """How far a ratio lies from 1: a half as far as two."""
    return abs(math.log(ratio)) if ratio > 0 else math.inf
