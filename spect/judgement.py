"""What a drift check can say: the two tests, the four verdicts, and one judgement with its numbers."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from spect.conditions import Condition


class DriftTest(StrEnum):
    """What slices are compared with."""

    SHIFT = "shift"  # the released model's own output; for new scans, the reference scans
    DISTANCE = "distance"  # the reference scans, by the margins of equivalence


class DriftVerdict(StrEnum):
    """What came out; the last two never mean "no drift"."""

    OK = "ok"
    DRIFT = "drift"
    NOT_ENOUGH_DATA = "not_enough_data"
    NOT_COMPARABLE = "not_comparable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """How large a difference is, with its interval and its margin.

    A ratio for mean counts, a difference of the log for the left/right ratio (of its absolute value where unilateral).
    """

    value: float
    low: float
    high: float
    margin_low: float
    margin_high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One feature of one condition under one test; it drifts where the score passes the threshold."""

    test: DriftTest
    condition: Condition
    feature: str
    verdict: DriftVerdict
    slices: int
    score: float | None = None
    threshold: float | None = None
    effect: Effect | None = None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types, without what was not measured."""
        fields: dict[str, Any] = {
            "test": str(self.test),
            "level": str(self.condition.level),
            "pattern": str(self.condition.pattern),
            "feature": self.feature,
            "verdict": str(self.verdict),
            "slices": self.slices,
        }
        if self.score is not None and self.threshold is not None:
            fields |= {"score": self.score, "threshold": self.threshold}
        if self.effect is not None:
            fields["effect"] = {name: getattr(self.effect, name) for name in Effect.__slots__}
        return fields | ({"note": self.note} if self.note else {})


def worst_verdict(verdicts: Iterable[DriftVerdict]) -> DriftVerdict:
    """Sum up: drift if any drifts, then what could not be judged, and ok only where everything was judged ok.

    No verdict at all is not enough data.
    """
    given = set(verdicts)
    for verdict in (DriftVerdict.DRIFT, DriftVerdict.NOT_ENOUGH_DATA, DriftVerdict.NOT_COMPARABLE, DriftVerdict.OK):
        if verdict in given:
            return verdict
    return DriftVerdict.NOT_ENOUGH_DATA
