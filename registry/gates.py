"""The gates of a promotion: a bundle's panel held against the policy; pure, no files and no registry."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from registry.bundle.directory import Bundle
from registry.bundle.panel import Measurement, Panel
from registry.policy import GateRule, Judged, Policy

# Above float32's rounding and below anything the limits distinguish: 0.95 read back from JSON is inside [0.95, 1.05].
_EDGE = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRow:
    """One gate in one cell, or one measurement that is printed beside the gates ("reported")."""

    metric: str
    cell: str
    measured: float | None
    low: float | None
    high: float | None
    limit: str
    verdict: Literal["pass", "fail", "reported"]
    power: float | None
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReport:
    """Every gate of one version; it passes only if all do."""

    rows: tuple[GateRow, ...]
    policy: str  # its digest
    version: str | None = None  # None: judged before it was registered
    champion: str | None = None  # whom it was compared with

    @property
    def gates(self) -> tuple[GateRow, ...]:
        """Rows that decide."""
        return tuple(row for row in self.rows if row.verdict != "reported")

    @property
    def failed(self) -> tuple[GateRow, ...]:
        """Gates that did not pass."""
        return tuple(row for row in self.rows if row.verdict == "fail")

    @property
    def passed(self) -> bool:
        """Whether every gate passed."""
        return not self.failed

    def in_words(self) -> str:
        """Return the verdict in one line."""
        if self.passed:
            return f"all {len(self.gates)} gates passed"
        names = ", ".join(f"{row.metric} ({row.cell})" for row in self.failed)
        return f"{len(self.failed)} of {len(self.gates)} gates failed: {names}"

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "version": self.version,
            "champion": self.champion,
            "policy": self.policy,
            "passed": self.passed,
            "summary": self.in_words(),
            "gates": [asdict(row) for row in self.rows],
        }

    def to_markdown(self) -> str:
        """As a table for people, with what decides nothing below what decides."""
        about = f"Version {self.version or 'not registered'}, compared with champion {self.champion or 'none'}"
        lines = [
            f"{about}, by policy {self.policy}: {self.in_words()}.",
            "",
            "| gate | cell | measured | interval | limit | verdict | power |",
        ]
        lines.append("| --- | --- | --- | --- | --- | --- | --- |")
        for row in sorted(self.rows, key=lambda row: row.verdict == "reported"):
            interval = "" if row.low is None or row.high is None else f"{row.low:.4g} to {row.high:.4g}"
            numbers = ["" if value is None else f"{value:.4g}" for value in (row.measured, row.power)]
            verdict = f"{row.verdict} ({row.note})" if row.note else row.verdict
            cells = (row.metric, row.cell, numbers[0], interval, row.limit, verdict, numbers[1])
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        return "\n".join(lines) + "\n"


def judge_bundle(policy: Policy, bundle: Bundle, *, champions: Mapping[str, Bundle | str] | None = None) -> GateReport:
    """Hold a bundle's panel against every gate, and against the champions', measured on the same cohort.

    `champions` are by what they are called; the reason in words stands for one that cannot be compared.
    """
    rows = [row for rule in policy.gates for row in _judge_rule(rule, policy, bundle, champions or {})]
    return GateReport(rows=(*rows, *_reported(policy, bundle.panel)), policy=policy.digest)


def _judge_rule(
    rule: GateRule, policy: Policy, bundle: Bundle, champions: Mapping[str, Bundle | str]
) -> Iterator[GateRow]:
    if bundle.panel is None:
        yield from (_row(rule, cell, None, "the bundle holds no panel; validate it") for cell in rule.cells)
    elif rule.judged is Judged.DIGESTS:
        yield _row(rule, rule.cells[0], None, _mismatch(bundle, bundle.panel))
    elif rule.judged is Judged.CHAMPION:
        yield _compare(rule, policy, bundle.panel, champions)
    else:
        for cell in rule.cells:
            yield _judge_measurement(rule, cell, bundle.panel, policy.required_power)


def _row(rule: GateRule, cell: str, measurement: Measurement | None, failure: str | None, *, note: str = "") -> GateRow:
    return GateRow(
        metric=rule.metric,
        cell=cell,
        measured=measurement.value if measurement else None,
        low=measurement.low if measurement else None,
        high=measurement.high if measurement else None,
        limit=rule.limit,
        verdict="pass" if failure is None else "fail",
        power=measurement.power if measurement else None,
        note=note if failure is None else failure,
    )


def _judge_measurement(rule: GateRule, cell: str, panel: Panel, required_power: float) -> GateRow:
    measurement = panel.find(rule.metric, cell)
    if measurement is None:
        return _row(rule, cell, None, "not measured")
    if measurement.value is None:
        return _row(rule, cell, measurement, f"not measured: {measurement.note or 'no reason was given'}")
    if rule.judged is Judged.VALUE:
        return _row(rule, cell, measurement, None if _inside(rule, measurement.value) else "outside the limit")
    if measurement.low is None or measurement.high is None:
        return _row(rule, cell, measurement, "no interval was measured")
    if rule.judged is Judged.LOWER_BOUND:
        over = rule.high is not None and measurement.low > rule.high + _EDGE
        return _row(rule, cell, measurement, "the lower bound is above the limit" if over else None)
    return _judge_interval(rule, cell, measurement, underpowered=_is_underpowered(panel, measurement, required_power))


def _is_underpowered(panel: Panel, measurement: Measurement, required_power: float) -> bool:
    # A simulated test cohort is as large as it must be: there, too few slices are a fault, not a circumstance.
    return panel.cohort_source == "acquired" and measurement.power is not None and measurement.power < required_power


def _judge_interval(rule: GateRule, cell: str, measurement: Measurement, *, underpowered: bool) -> GateRow:
    value, low, high = measurement.value, measurement.low, measurement.high
    if low is not None and high is not None and _inside(rule, low) and _inside(rule, high):
        return _row(rule, cell, measurement, None)
    if not underpowered:
        return _row(rule, cell, measurement, "the interval leaves the margin")
    if value is not None and _inside(rule, value) and _holds_ideal(rule, low, high):
        return _row(rule, cell, measurement, None, note="underpowered: inside the margin and not different")
    return _row(rule, cell, measurement, "underpowered, and outside the margin or different")


def _holds_ideal(rule: GateRule, low: float | None, high: float | None) -> bool:
    """Whether an interval contains no difference: 1 of a ratio, 0 of a difference."""
    if rule.ideal is None or low is None or high is None:
        return False
    return low - _EDGE <= rule.ideal <= high + _EDGE


def _inside(rule: GateRule, value: float) -> bool:
    above = rule.low is None or value >= rule.low - _EDGE
    return above and (rule.high is None or value <= rule.high + _EDGE)


def _mismatch(bundle: Bundle, panel: Panel) -> str | None:
    if panel.quick:
        return "a quick validation saw fewer slices than a release demands; validate it without --quick"
    if panel.onnx_sha256 != bundle.sha256:
        return f"the panel measured {panel.onnx_sha256[:12]}, the bundle holds {bundle.sha256[:12]}; validate it again"
    trained_on = bundle.manifest.training_cohort.fingerprint
    if panel.training_fingerprint not in {None, trained_on}:
        return f"memorisation was measured against {str(panel.training_fingerprint)[:12]}, not {trained_on[:12]}"
    return None


def _compare(rule: GateRule, policy: Policy, panel: Panel, champions: Mapping[str, Bundle | str]) -> GateRow:
    faults = [fault for name, champion in champions.items() if (fault := _find_worse(policy, panel, name, champion))]
    compared = f"compared with {' and with '.join(champions)}" if champions else "there is no other champion"
    return _row(rule, rule.cells[0], None, "; ".join(faults) or None, note=compared)


def _find_worse(policy: Policy, panel: Panel, name: str, champion: Bundle | str) -> str | None:
    """Return in what a panel is worse than a champion's, or why the two cannot be compared; None for neither."""
    if isinstance(champion, str):
        return f"not compared: {name} {champion}; --override REASON replaces it"
    if champion.panel is None or champion.panel.cohort_fingerprint != panel.cohort_fingerprint:
        return _not_comparable(panel, name, champion.panel)
    worse = list(_worse(policy, panel, champion.panel))
    return f"worse than {name} in {', '.join(worse)}" if worse else None


def _not_comparable(panel: Panel, name: str, champion: Panel | None) -> str:
    measured_on = f"on cohort {champion.cohort_fingerprint[:12]}" if champion else "never"
    return (
        f"not compared: {name} was validated {measured_on}, this version on {panel.cohort_fingerprint[:12]}; run "
        "`synspect validate` on it with this version's test cohort and give the panel as --champion-panel"
    )


def _worse(policy: Policy, panel: Panel, champion: Panel) -> Iterator[str]:
    for rule in policy.gates:
        for cell in rule.cells if rule.ideal is not None else ():
            ours, theirs = panel.find(rule.metric, cell), champion.find(rule.metric, cell)
            if ours and theirs and theirs.value is not None and _lies_farther(rule, ours, theirs.value):
                yield f"{rule.metric} ({cell})"


def _lies_farther(rule: GateRule, ours: Measurement, champion_value: float) -> bool:
    """Whether our whole interval lies farther from ideal than the champion's value."""
    if ours.low is None or ours.high is None or rule.ideal is None:
        return False
    nearest = min(max(rule.ideal, ours.low), ours.high)
    return _distance(rule, nearest) > _distance(rule, champion_value) + _EDGE


def _distance(rule: GateRule, value: float) -> float:
    ideal = rule.ideal or 0.0
    # Without a lower limit less is never worse.
    return max(0.0, value - ideal) if rule.low is None else abs(value - ideal)


def _reported(policy: Policy, panel: Panel | None) -> Iterator[GateRow]:
    limits = {rule.metric: rule for rule in policy.gates}
    for measurement in panel.measurements if panel else ():
        rule = limits.get(measurement.metric)
        if rule is None or measurement.cell in rule.cells:
            continue
        yield GateRow(
            metric=measurement.metric,
            cell=measurement.cell,
            measured=measurement.value,
            low=measurement.low,
            high=measurement.high,
            limit=rule.limit,
            verdict="reported",
            power=measurement.power,
            note=measurement.note,
        )
