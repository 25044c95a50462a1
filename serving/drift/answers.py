"""What the service says of drift: the answers of GET /v1/drift and POST /v1/drift/check, and so their descriptions."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from spect.conditions import Level, Pattern
from spect.judgement import DriftTest, DriftVerdict

_VERDICT = "worst of what it sums up: drift, not_comparable, not_enough_data, and ok only where all was judged ok"


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    def to_json(self) -> bytes:
        """As the body of an answer; what was not measured is left out."""
        return self.model_dump_json(exclude_unset=True).encode()


class EffectAnswer(_Answer):
    """How large a difference is, with its interval and its margin."""

    value: float = Field(description="ratio of mean counts, or difference of log left/right (absolute if unilateral)")
    low: float
    high: float
    margin_low: float
    margin_high: float


class JudgementAnswer(_Answer):
    """One feature of one condition under one test; it drifts where the score passes the threshold."""

    test: DriftTest
    level: Level
    pattern: Pattern
    feature: str
    verdict: DriftVerdict
    slices: int
    score: float | None = Field(default=None, description="absent where it was not judged")
    threshold: float | None = Field(default=None, description="absent where it was not judged")
    effect: EffectAnswer | None = Field(default=None, description="of distance alone")
    note: str = Field(default="", description="why it was not judged")


class Sampled(_Answer):
    """What became of the slices that were served as the model draws them."""

    offered: int = Field(description="all of them")
    measured: int
    dropped: int = Field(description="chosen, and the queue was full")
    unmeasurable: int = Field(description="chosen, and no brain outline was found")
    lost: int = Field(description="chosen, and not kept: the store is broken, or an unexpected error")
    share: float | None = Field(description="measured of offered; null before anything was offered")


class Statistics(_Answer):
    """Mean and spread of one feature."""

    mean: float
    sd: float


class ReferenceAnswer(_Answer):
    """The reference scans of a condition; no features where there are too few patients to describe."""

    slices: int
    patients: int
    features: Mapping[str, Statistics]


class WindowAnswer(_Answer):
    """The last complete window of a condition."""

    number: int = Field(description="counts from 1")
    completed_at: str = Field(json_schema_extra={"format": "date-time"})
    slices: int
    statistics: Mapping[str, Statistics]
    judgements: tuple[JudgementAnswer, ...]


class ConditionDrift(_Answer):
    """How one condition stands."""

    level: Level
    pattern: Pattern
    verdict: DriftVerdict = Field(description=_VERDICT)
    gathered: int = Field(description="slices toward the next window")
    sampled: Sampled
    reference: ReferenceAnswer
    window: WindowAnswer | None = Field(description="null until the first is complete")


class DriftAnswer(_Answer):
    """Answer of GET /v1/drift."""

    model_sha256: str
    verdict: DriftVerdict = Field(description=_VERDICT)
    problem: str | None = Field(description="what keeps windows from being gathered; null where nothing does")
    scope: str = Field(description="whose slices the windows hold")
    window_slices: int
    minimum_slices: int
    sample_every: int = Field(description="one slice in this many is measured")
    sampled: Sampled
    reference_source: Literal["acquired", "simulated"]
    profile_slices: int = Field(description="per condition, of the model's own output, that shift is judged by")
    false_alarm_rate: float = Field(description="of a round: one window of every condition, all features")
    smallest_false_alarm_rate: float = Field(description="that the profile supports")
    shift_thresholds: Mapping[str, float] = Field(description="score above which it is a shift, by window size")
    margins: Mapping[str, tuple[float, float]] = Field(description="of distance")
    conditions: tuple[ConditionDrift, ...]


class DriftCheckAnswer(_Answer):
    """Answer of POST /v1/drift/check."""

    model_sha256: str
    verdict: DriftVerdict = Field(description=_VERDICT)
    slices: int
    unmeasurable: int = Field(description="slices without a brain outline; they are in no judgement")
    judgements: tuple[JudgementAnswer, ...]

    @classmethod
    def from_check(cls, check: Mapping[str, Any], *, model_sha256: str) -> "DriftCheckAnswer":
        """Name the model beside what `ScanCheck.to_dict` says."""
        return cls.model_validate({**check, "model_sha256": model_sha256})
