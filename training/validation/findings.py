"""What a panel says, question by question, in words: the head of the report."""

from dataclasses import dataclass
from typing import Literal

from registry.bundle.panel import Measurement, Panel
from spect.conditions import Pattern
from training.validation import (
    beyond_conditioned,
    convolutional_classifier,
    defects,
    membership,
    memorisation,
    principal_components,
    utility,
)
from training.validation.left_right import left_right_metric
from training.validation.mean_counts import MEAN_COUNTS_RATIO
from training.validation.two_sample_classifier import INSIDE_OUTLINE

C2ST_LIMIT, C2ST_AIM = 0.85, 0.60
SPREAD_BAND = (0.7, 1.3)
NOT_MEASURED = "not measured"

Status = Literal["good", "bad", "unclear", "missing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One question, its answer in a few words, the number behind it, and whether that is good."""

    question: str
    answer: str
    detail: str
    status: Status


def list_findings(panel: Panel) -> list[Finding]:
    """Answer every question from the panel alone."""
    return [
        _equivalence(panel),
        _separability(panel),
        _beyond(panel),
        _defects(panel),
        _variety(panel),
        _memorisation(panel),
        _utility(panel),
    ]


def _equivalence(panel: Panel) -> Finding:
    found = [
        measurement
        for pattern in Pattern
        for metric in (MEAN_COUNTS_RATIO.metric, left_right_metric(pattern))
        if (measurement := panel.find(metric, pattern.value)) is not None
    ]
    equal = sum(one.verdict == "equivalent" for one in found)
    different = sum(one.verdict == "different" for one in found)
    return Finding(
        question="Are mean counts and left/right ratio equivalent?",
        answer=f"{equal} of {len(found)}",
        detail=f"{different} different, {len(found) - equal - different} inconclusive; asked of the generator, so this "
        "is control and no proof of realism",
        status="good" if found and equal == len(found) else "bad" if different else "unclear",
    )


def _separability(panel: Panel) -> Finding:
    found = [one for pattern in Pattern if (one := panel.find(INSIDE_OUTLINE, pattern.value)) is not None]
    highest = max((one for one in found if one.value is not None), key=lambda one: one.value or 0, default=None)
    network = panel.find(convolutional_classifier.METRIC, "all")
    detail = f"AUC inside the outline, worst pattern; gate {C2ST_LIMIT:g}, aim {C2ST_AIM:g}, a coin 0.5"
    detail += f"; small CNN {_number(network)}" if network is not None else "; a CNN is asked in the full panel"
    return Finding(
        question="Can a classifier tell them from reference slices?",
        answer=_number(highest),
        detail=detail,
        status=_judge(highest, high=C2ST_LIMIT),
    )


def _beyond(panel: Panel) -> Finding:
    found = panel.find(beyond_conditioned.METRIC, "all")
    null = f"{found.null:.2f}" if found is not None and found.null is not None else NOT_MEASURED
    floor = f"{found.floor:.2f}" if found is not None and found.floor is not None else NOT_MEASURED
    is_below_floor = found is not None and found.value is not None and found.floor is not None
    good = is_below_floor and found is not None and (found.value or 1) <= (found.floor or 0)
    return Finding(
        question="And in what was not asked of it?",
        answer=_number(found),
        detail=f"AUC beyond the conditioned scores; real against real {null}, a Gaussian {floor}",
        status="missing" if found is None or found.value is None else "good" if good else "bad",
    )


def _defects(panel: Panel) -> Finding:
    found = [
        one for one in panel.measurements if one.metric in {defects.EXTENT, defects.DEPTH} and one.verdict is not None
    ]
    equal = sum(one.verdict == "equivalent" for one in found)
    different = sum(one.verdict == "different" for one in found)
    return Finding(
        question="Do defects lie, reach and deepen as they should?",
        answer=f"{equal} of {len(found)}" if found else NOT_MEASURED,
        detail=f"extents and depths equivalent, {different} different; nobody asked for them",
        status="missing" if not found else "good" if equal == len(found) else "bad" if different else "unclear",
    )


def _variety(panel: Panel) -> Finding:
    found = panel.find(principal_components.METRIC, "all")
    recalls = [
        one.value for one in panel.measurements if one.metric == "recall_relative_to_real" and one.value is not None
    ]
    recall = f"{min(recalls):.2f}" if recalls else NOT_MEASURED
    return Finding(
        question="Are they as varied?",
        answer=_number(found),
        detail=f"SD ratio along 24 components, 1 is ideal; recall at least {recall} of real against real",
        status=_judge(found, low=SPREAD_BAND[0], high=SPREAD_BAND[1]),
    )


def _memorisation(panel: Panel) -> Finding:
    found, attack = panel.find(memorisation.METRIC, "all"), panel.find(membership.METRIC, "all")
    measured = found is not None and found.value is not None and found.low is not None
    copies = found is not None and (found.low or 0) > memorisation.EXPECTED_SHARE
    detail = "of synthetic slices lie nearer to a training slice than 95 % of unseen ones; 5 % is expected"
    if attack is not None and attack.value is not None:
        detail += f"; membership inference AUC {attack.value:.2f}, upper bound {attack.high or 0:.2f}"
    return Finding(
        question="Are training slices copied?",
        answer=f"{100 * (found.value or 0):.1f} %" if found is not None and measured else NOT_MEASURED,
        detail=detail if measured else "give the training cohort to measure it",
        status="missing" if not measured else "bad" if copies else "good",
    )


def _utility(panel: Panel) -> Finding:
    alone, gain = panel.find(utility.SYNTHETIC_ALONE, "all"), panel.find(utility.GAIN, "all")
    if alone is None or alone.value is None or gain is None or gain.value is None:
        return Finding(
            question="Can a model learn from them?",
            answer=NOT_MEASURED,
            detail="asked in the full panel" if alone is None else alone.note,
            status="missing",
        )
    return Finding(
        question="Can a model learn from them?",
        answer=f"{100 * alone.value:.0f} %",
        detail=f"of the accuracy real slices teach ({100 * utility.LEAST_SHARE:.0f} % aimed at); added to a tenth of "
        f"the real ones they gain {100 * gain.value:+.1f} points ({100 * (gain.low or 0):+.1f} to "
        f"{100 * (gain.high or 0):+.1f})",
        status="good" if alone.value >= utility.LEAST_SHARE else "bad",
    )


def _number(found: Measurement | None) -> str:
    return NOT_MEASURED if found is None or found.value is None else f"{found.value:.2f}"


def _judge(found: Measurement | None, *, low: float = -float("inf"), high: float) -> Status:
    if found is None or found.value is None:
        return "missing"
    return "good" if low <= found.value <= high else "bad"
