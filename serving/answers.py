"""What the service says of its model: the conditions it serves, and the model itself."""

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from registry.bundle.served_model import ServedModel
from serving.schemas import MATRICES, MAX_PIXELS
from serving.settings import MAX_SLICES
from spect.conditions import ABSENT_REASON, CONDITIONS, Condition, Level, Pattern
from spect.density import LOG_LEFT_RIGHT_RATIO, MEAN_COUNTS
from spect.formats.npz import NOTICE
from spect.formats.writer import NAMES
from spect.sampling import MAX_SEED


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class ReferenceQuantiles(_Answer):
    """Where the reference slices of a condition lie; empty where they come from too few patients to describe."""

    mean_counts: Mapping[str, float] = Field(description="probability -> value; fewer of them where slices are few")
    left_right_ratio: Mapping[str, float]


class ConditionAnswer(_Answer):
    """A condition that can be asked for, and the scans it was learnt from."""

    level: Level
    pattern: Pattern
    reference_slices: int
    reference_source: Literal["acquired", "simulated"]
    mean_counts: tuple[float, float]  # what may be asked for
    left_right_ratio: tuple[float, float]
    reference_quantiles: ReferenceQuantiles


class AbsentAnswer(_Answer):
    """A pair that is not served, and why."""

    level: Level
    pattern: Pattern
    reason: str


class Limits(_Answer):
    """Bounds of a request."""

    max_count: int = MAX_SLICES
    max_pixels: int = MAX_PIXELS
    max_seed: int = MAX_SEED
    matrices: tuple[int, ...] = MATRICES
    formats: tuple[str, ...] = NAMES


class ConditionsAnswer(_Answer):
    """Answer of GET /v1/conditions."""

    conditions: tuple[ConditionAnswer, ...]
    absent: tuple[AbsentAnswer, ...]
    limits: Limits = Limits()


class ModelAnswer(_Answer):
    """Answer of GET /v1/model."""

    name: str
    version: str
    sha256: str
    provider: str  # what ONNX Runtime really runs on
    promotion: Literal["gates", "override", "outside", "none"]
    promotion_reason: str
    promoted_by: str
    promoted_at: str
    reference_source: Literal["acquired", "simulated"]
    matrix: int
    pixel_spacing_mm: float
    intensity_unit: str
    notice: str = NOTICE
    manifest: dict[str, Any]
    card: str


def describe_conditions(model: ServedModel) -> ConditionsAnswer:
    """Say what can be asked of a model."""
    density = model.bundle.manifest.density()
    conditions = []
    for condition in CONDITIONS:
        low, high = density.support[condition][MEAN_COUNTS]
        log_low, log_high = density.support[condition][LOG_LEFT_RIGHT_RATIO]
        conditions.append(_describe(condition, model, (low, high), (log_low, log_high)))
    absent = AbsentAnswer(level=Level.CEREBELLUM, pattern=Pattern.BILATERAL, reason=ABSENT_REASON)
    return ConditionsAnswer(conditions=tuple(conditions), absent=(absent,))


def _describe(
    condition: Condition, model: ServedModel, mean_counts: tuple[float, float], log_ratio: tuple[float, float]
) -> ConditionAnswer:
    low, high = (round(math.exp(edge), 4) for edge in log_ratio)
    return ConditionAnswer(
        level=condition.level,
        pattern=condition.pattern,
        reference_slices=model.reference_slices.get(str(condition), 0),
        reference_source=model.profile.reference_source,
        mean_counts=mean_counts,
        left_right_ratio=(low, high),
        reference_quantiles=ReferenceQuantiles.model_validate(model.profile.reference_quantiles(condition)),
    )


def describe_model(model: ServedModel) -> ModelAnswer:
    """Say everything about the model that answers now."""
    manifest, note = model.bundle.manifest, model.bundle.promotion
    return ModelAnswer(
        name=manifest.name,
        version=model.version,
        sha256=model.bundle.sha256,
        provider=model.generator.provider,
        promotion=note.promotion if note else "none",
        promotion_reason=note.reason if note else "",
        promoted_by=note.who if note else "",
        promoted_at=note.when if note else "",
        reference_source=model.profile.reference_source,
        matrix=manifest.matrix,
        pixel_spacing_mm=manifest.pixel_spacing_mm,
        intensity_unit=manifest.training_cohort.intensity_unit,
        manifest=manifest.model_dump(mode="json"),
        card=model.bundle.card,
    )
