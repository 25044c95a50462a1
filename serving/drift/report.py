"""Build the answer of GET /v1/drift: how every condition's windows stand."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from serving.drift.answers import DriftAnswer
from serving.drift.window_store import CompleteWindow, ConditionState, SliceOutcome
from spect.conditions import Pattern
from spect.drift import MINIMUM_SLICES
from spect.equivalence import MEAN_COUNTS_MARGIN, log_ratio_margin
from spect.judgement import DriftVerdict, worst_verdict
from spect.profile import ReferenceProfile

SCOPE = "the workers of this server; other replicas keep windows of their own"


def build_report(
    profile: ReferenceProfile,
    states: Mapping[str, ConditionState],
    *,
    model_sha256: str,
    window_slices: int,
    sample_every: int,
    problem: str | None,
) -> DriftAnswer:
    """Build the answer for one model; a condition of which nothing is known reads "not_enough_data"."""
    conditions = [_describe_condition(name, profile, states.get(name, ConditionState())) for name in profile.conditions]
    tallies = [state.tallies for state in states.values()]
    fields = {
        "model_sha256": model_sha256,
        "verdict": str(worst_verdict(DriftVerdict(entry["verdict"]) for entry in conditions)),
        "problem": problem,
        "scope": SCOPE,
        "window_slices": window_slices,
        "minimum_slices": MINIMUM_SLICES,
        "sample_every": sample_every,
        "sampled": _shares({outcome: sum(tally.get(outcome, 0) for tally in tallies) for outcome in SliceOutcome}),
        "reference_source": profile.reference_source,
        "profile_slices": profile.profile_slices,
        "false_alarm_rate": profile.false_alarm_rate,
        "smallest_false_alarm_rate": profile.smallest_false_alarm_rate,
        "shift_thresholds": {str(size): threshold for size, threshold in profile.shift_thresholds.items()},
        "margins": {
            "mean_counts_ratio": [MEAN_COUNTS_MARGIN.low, MEAN_COUNTS_MARGIN.high],
            **{f"log_ratio_difference_{pattern}": _bounds(pattern) for pattern in Pattern},
        },
        "conditions": conditions,
    }
    return DriftAnswer.model_validate(fields)


def _bounds(pattern: Pattern) -> list[float]:
    margin = log_ratio_margin(pattern)
    return [margin.low, margin.high]


def _shares(tallies: Mapping[SliceOutcome, int]) -> dict[str, Any]:
    """Name the counts, and the share of what was offered that was measured."""
    offered = tallies.get(SliceOutcome.OFFERED, 0)
    share = tallies.get(SliceOutcome.MEASURED, 0) / offered if offered else None
    return {str(outcome): tallies.get(outcome, 0) for outcome in SliceOutcome} | {"share": share}


def _describe_condition(name: str, profile: ReferenceProfile, state: ConditionState) -> dict[str, Any]:
    level, pattern = name.split("/")
    reference = profile.conditions[name].reference
    return {
        "level": level,
        "pattern": pattern,
        "verdict": _verdict_of(state.window),
        "gathered": state.gathered,
        "sampled": _shares({outcome: state.tallies.get(outcome, 0) for outcome in SliceOutcome}),
        "reference": {
            "slices": reference.slices,
            "patients": reference.patients,
            "features": {
                feature: {"mean": summary.mean, "sd": summary.sd} for feature, summary in reference.features.items()
            },
        },
        "window": _describe_window(state.window),
    }


def _verdict_of(window: CompleteWindow | None) -> str:
    if window is None:
        return str(DriftVerdict.NOT_ENOUGH_DATA)
    return str(worst_verdict(DriftVerdict(judgement["verdict"]) for judgement in window.judgements))


def _describe_window(window: CompleteWindow | None) -> dict[str, Any] | None:
    if window is None:
        return None
    return {
        "number": window.number,
        "completed_at": datetime.fromtimestamp(window.completed_at, tz=UTC).isoformat(timespec="seconds"),
        "slices": window.slices,
        "statistics": window.statistics,
        "judgements": window.judgements,
    }
