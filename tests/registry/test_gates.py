"""The gates at the edges of their limits, and what they do where nothing was measured."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from registry.bundle.directory import Bundle
from registry.gates import GateReport, GateRow, judge_bundle
from registry.policy import Judged, load_policy
from spect.errors import ConfigurationError
from tests.support.tiny_bundle import tiny_panel

POLICY = load_policy()


def _judge(bundle: Bundle, changes: dict[tuple[str, str], Any] | None = None, **panel_fields: Any) -> GateReport:
    panel = tiny_panel(bundle.sha256, changes).model_copy(update=panel_fields)
    return judge_bundle(POLICY, replace(bundle, panel=panel))


def _find(report: GateReport, metric: str, cell: str) -> GateRow:
    (row,) = [row for row in report.rows if (row.metric, row.cell) == (metric, cell)]
    return row


def test_a_good_panel_passes_every_gate(tiny_bundle: Bundle) -> None:
    report = judge_bundle(POLICY, tiny_bundle)

    assert report.passed
    assert report.in_words() == "all 20 gates passed"


@pytest.mark.parametrize(
    ("metric", "cell", "fields", "verdict"),
    [
        ("onnx_parity", "all", {"value": 1e-4}, "pass"),
        ("onnx_parity", "all", {"value": 1.01e-4}, "fail"),
        ("mean_counts_ratio", "normal", {"value": 1.0, "low": 0.95, "high": 1.05}, "pass"),
        ("mean_counts_ratio", "normal", {"value": 1.0, "low": 0.949, "high": 1.05}, "fail"),
        ("mean_counts_ratio", "bilateral", {"value": 1.0, "low": 0.95, "high": 1.051}, "fail"),
        ("left_right_ratio_difference", "normal", {"value": 0.0, "low": -0.02, "high": 0.02}, "pass"),
        ("left_right_ratio_difference", "bilateral", {"value": 0.0, "low": -0.021, "high": 0.0}, "fail"),
        ("absolute_log_left_right_ratio_difference", "unilateral", {"value": 0, "low": -0.03, "high": 0.03}, "pass"),
        ("absolute_log_left_right_ratio_difference", "unilateral", {"value": 0, "low": 0, "high": 0.031}, "fail"),
        ("mean_counts_sd_ratio", "unilateral", {"value": 0.8}, "pass"),
        ("mean_counts_sd_ratio", "unilateral", {"value": 0.79}, "fail"),
        ("log_left_right_ratio_sd_ratio", "normal", {"value": 1.25}, "pass"),
        ("log_left_right_ratio_sd_ratio", "normal", {"value": 1.26}, "fail"),
        ("c2st_auc_inside_outline", "bilateral", {"value": 0.85}, "pass"),
        ("c2st_auc_inside_outline", "bilateral", {"value": 0.86}, "fail"),
        ("principal_component_sd_ratio", "all", {"value": 0.7}, "pass"),
        ("principal_component_sd_ratio", "all", {"value": 1.31}, "fail"),
        ("memorisation_share", "all", {"value": 0.09, "low": 0.05, "high": 0.13}, "pass"),
        ("memorisation_share", "all", {"value": 0.09, "low": 0.051, "high": 0.13}, "fail"),
    ],
)
def test_a_limit_includes_its_edge_and_nothing_beyond(
    tiny_bundle: Bundle, metric: str, cell: str, fields: dict[str, float], verdict: str
) -> None:
    report = _judge(tiny_bundle, {(metric, cell): fields})

    assert _find(report, metric, cell).verdict == verdict
    assert report.passed == (verdict == "pass")


@pytest.mark.parametrize("rule", [r for r in POLICY.gates if r.judged not in {Judged.DIGESTS, Judged.CHAMPION}])
def test_what_was_not_measured_fails_its_gate(tiny_bundle: Bundle, rule: Any) -> None:
    for cell in rule.cells:
        missing = _find(_judge(tiny_bundle, {(rule.metric, cell): None}), rule.metric, cell)
        unmeasured = _judge(tiny_bundle, {(rule.metric, cell): {"value": None, "note": "no training cohort given"}})

        assert (missing.verdict, missing.note) == ("fail", "not measured")
        row = _find(unmeasured, rule.metric, cell)
        assert (row.verdict, row.note) == ("fail", "not measured: no training cohort given")


def test_an_interval_gate_without_an_interval_fails(tiny_bundle: Bundle) -> None:
    report = _judge(tiny_bundle, {("mean_counts_ratio", "normal"): {"value": 1.0}})

    assert _find(report, "mean_counts_ratio", "normal").note == "no interval was measured"


def test_a_bundle_without_a_panel_fails_every_gate(tiny_bundle: Bundle) -> None:
    report = judge_bundle(POLICY, replace(tiny_bundle, panel=None))

    assert len(report.failed) == len(report.gates) == 20


def test_a_panel_of_another_graph_fails_by_its_digest(tiny_bundle: Bundle) -> None:
    report = _judge(tiny_bundle, onnx_sha256="f" * 64)

    assert [row.metric for row in report.failed] == ["digests"]
    assert "the panel measured ffffffffffff" in report.failed[0].note


def test_a_quick_panel_fails_and_says_why(tiny_bundle: Bundle) -> None:
    report = _judge(tiny_bundle, quick=True)

    assert [row.metric for row in report.failed] == ["digests"]
    assert "validate it without --quick" in report.failed[0].note


def test_memorisation_against_another_training_cohort_fails_by_its_digest(tiny_bundle: Bundle) -> None:
    report = _judge(tiny_bundle, training_fingerprint="f" * 64)

    assert [row.metric for row in report.failed] == ["digests"]


WIDE = {"value": 1.02, "low": 0.9, "high": 1.14, "power": 0.3, "verdict": "inconclusive"}


@pytest.mark.parametrize("change", [{}, {"value": 1.04, "low": 0.97, "high": 1.09}], ids=str)
def test_a_small_acquired_cohort_passes_underpowered_and_says_so(tiny_bundle: Bundle, change: dict[str, Any]) -> None:
    report = _judge(tiny_bundle, {("mean_counts_ratio", "bilateral"): WIDE | change}, cohort_source="acquired")

    row = _find(report, "mean_counts_ratio", "bilateral")
    assert row.verdict == "pass"
    assert row.note.startswith("underpowered")
    assert row.power == 0.3


@pytest.mark.parametrize(
    "change",
    [{"value": 1.06}, {"value": 1.04, "low": 1.01, "high": 1.07}, {"power": 0.8}, {"power": None}],
    ids=str,
)
def test_a_small_acquired_cohort_is_no_excuse_for(tiny_bundle: Bundle, change: dict[str, Any]) -> None:
    report = _judge(tiny_bundle, {("mean_counts_ratio", "bilateral"): WIDE | change}, cohort_source="acquired")

    assert _find(report, "mean_counts_ratio", "bilateral").verdict == "fail"


def test_a_small_acquired_cohort_whose_difference_leaves_out_zero_fails(tiny_bundle: Bundle) -> None:
    measured = {"value": 0.015, "low": 0.002, "high": 0.028, "power": 0.3}
    report = _judge(tiny_bundle, {("left_right_ratio_difference", "normal"): measured}, cohort_source="acquired")

    assert _find(report, "left_right_ratio_difference", "normal").verdict == "fail"


def test_a_simulated_cohort_that_is_too_small_fails(tiny_bundle: Bundle) -> None:
    report = _judge(tiny_bundle, {("mean_counts_ratio", "bilateral"): WIDE})

    assert _find(report, "mean_counts_ratio", "bilateral").verdict == "fail"


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [
        ({"value": 0.80, "low": 0.77, "high": 0.83}, "fail"),  # the champion's 0.70 lies below the interval
        ({"value": 0.72, "low": 0.70, "high": 0.75}, "pass"),
        ({"value": 0.60, "low": 0.57, "high": 0.63}, "pass"),
        ({"value": 0.80}, "pass"),  # nothing to compare by
    ],
)
def test_worse_than_the_champion_means_beyond_the_interval(
    tiny_bundle: Bundle, ours: dict[str, float], verdict: str
) -> None:
    panel = tiny_panel(tiny_bundle.sha256, {("c2st_auc_inside_outline", "normal"): ours})

    report = judge_bundle(POLICY, replace(tiny_bundle, panel=panel), champions={"champion 1": tiny_bundle})

    assert _find(report, "worse_than_champion", "all").verdict == verdict


def test_a_spread_on_the_other_side_of_one_can_be_worse(tiny_bundle: Bundle) -> None:
    panel = tiny_panel(
        tiny_bundle.sha256, {("mean_counts_sd_ratio", "normal"): {"value": 1.2, "low": 1.1, "high": 1.3}}
    )

    report = judge_bundle(POLICY, replace(tiny_bundle, panel=panel), champions={"champion 1": tiny_bundle})

    assert _find(report, "worse_than_champion", "all").note == "worse than champion 1 in mean_counts_sd_ratio (normal)"


def test_a_champion_measured_on_another_cohort_fails_and_says_what_to_do(tiny_bundle: Bundle) -> None:
    panel = tiny_panel(tiny_bundle.sha256, cohort_fingerprint="9" * 64)

    report = judge_bundle(POLICY, replace(tiny_bundle, panel=panel), champions={"champion 1": tiny_bundle})

    row = _find(report, "worse_than_champion", "all")
    assert (row.verdict, report.failed) == ("fail", (row,))
    assert "validated on cohort 222222222222, this version on 999999999999" in row.note
    assert "--champion-panel" in row.note


def test_a_champion_that_was_never_validated_is_not_passed_over(tiny_bundle: Bundle) -> None:
    report = judge_bundle(POLICY, tiny_bundle, champions={"champion 1": replace(tiny_bundle, panel=None)})

    assert _find(report, "worse_than_champion", "all").note.startswith("not compared: champion 1 was validated never")


def test_a_champion_that_does_not_verify_fails_its_gate_and_can_be_overridden(tiny_bundle: Bundle) -> None:
    report = judge_bundle(POLICY, tiny_bundle, champions={"champion 1": "does not verify (a changed byte)"})

    row = _find(report, "worse_than_champion", "all")
    assert (row.verdict, row.note) == (
        "fail",
        "not compared: champion 1 does not verify (a changed byte); --override REASON replaces it",
    )


def test_without_another_champion_nothing_is_compared(tiny_bundle: Bundle) -> None:
    row = _find(judge_bundle(POLICY, tiny_bundle), "worse_than_champion", "all")

    assert (row.verdict, row.note) == ("pass", "there is no other champion")


def test_conditions_are_printed_beside_and_never_decide(tiny_bundle: Bundle) -> None:
    report = _judge(tiny_bundle, {("mean_counts_ratio", "COR/normal"): {"value": 3.0, "low": 2.9, "high": 3.1}})

    assert _find(report, "mean_counts_ratio", "COR/normal").verdict == "reported"
    assert report.passed


def test_a_report_is_plain_json(tiny_bundle: Bundle) -> None:
    fields = json.loads(json.dumps(judge_bundle(POLICY, tiny_bundle).to_dict()))

    assert fields["passed"] is True
    assert {"metric", "cell", "measured", "limit", "verdict", "power"} <= set(fields["gates"][0])


def test_a_report_is_a_table_of_markdown_with_one_row_a_gate(tiny_bundle: Bundle) -> None:
    changes = {("mean_counts_ratio", "COR/normal"): {"value": 1.1}, ("c2st_auc_inside_outline", "normal"): {"value": 1}}

    text = replace(_judge(tiny_bundle, changes), version="3", champion="2").to_markdown()

    assert text.startswith(f"Version 3, compared with champion 2, by policy {POLICY.digest}: 1 of 20 gates failed")
    rows = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert len(rows) == 21
    assert "| c2st_auc_inside_outline | normal | 1 |  | <= 0.85 | fail (outside the limit) |  |" in rows
    assert rows[-1] == "| mean_counts_ratio | COR/normal | 1.1 |  | 0.95 to 1.05 | reported |  |"


def test_every_gate_gives_its_reason() -> None:
    assert all(rule.reason for rule in POLICY.gates)


def test_a_gate_judged_by_its_interval_needs_its_ideal(tmp_path: Path) -> None:
    rule = "{metric: a, cells: [all], judged: interval, low: 0, high: 1, reason: b}"
    (tmp_path / "policy.yaml").write_text(f"schema_version: 1\nrequired_power: 0.8\ngates: [{rule}]")

    with pytest.raises(ConfigurationError, match="needs the value of no difference"):
        load_policy(tmp_path / "policy.yaml")


RULE = "{metric: a, cells: [all], judged: value, low: 0, high: 1, ideal: 0.5, reason: b}"


def _policy(rules: str = RULE, more: str = "") -> str:
    return f"schema_version: 1\nrequired_power: 0.8\ngates: [{rules}]\n{more}"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("gates: [", "is not YAML: line 1"),
        ("[" * 2000, "is not YAML: maximum recursion"),
        ("[]", r"it must be an object, got \[\]"),
        ("", "it must be an object, got null"),
        (_policy().replace("version: 1", "version: 2"), "schema_version"),
        (_policy(""), "gates"),
        (_policy(more="require_gate: true"), "require_gate"),
        (_policy(more="require_gates: perhaps"), "require_gates"),
        (_policy(f"{RULE}, {RULE}"), r"a \(all\) is judged twice"),
        (_policy(RULE.replace("all", "unilatral")), "'unilatral'; use all"),
        (_policy(RULE.replace("high: 1", "high: .nan")), "high"),
        (_policy(RULE.replace("low: 0", "low: 2")), "low <= ideal <= high"),
        (_policy(RULE.replace("reason: b", "reason: ''")), "reason"),
    ],
)
def test_a_policy_that_is_not_one_is_one_line(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "policy.yaml").write_text(text)

    with pytest.raises(ConfigurationError, match=rf"policy\.yaml.*{what}") as caught:
        load_policy(tmp_path / "policy.yaml")
    assert "\n" not in str(caught.value)


def test_a_policy_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"schema_version: 1 # \xe9")

    for place in (tmp_path / "none.yaml", tmp_path, tmp_path / "latin.yaml"):
        with pytest.raises(ConfigurationError, match=r"name a policy in SYNSPECT_POLICY, or unset it|is not YAML"):
            load_policy(place)


def test_a_policy_of_ones_own_is_named_by_one_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.yaml").write_text(_policy(more="require_gates: true"))
    monkeypatch.chdir(tmp_path)

    monkeypatch.setenv("SYNSPECT_POLICY", "own.yaml")
    own = load_policy()
    monkeypatch.setenv("SYNSPECT_POLICY", "")
    shipped = load_policy()

    assert (own.require_gates, len(own.gates)) == (True, 1)
    assert (shipped, shipped.digest) == (POLICY, POLICY.digest)
    assert own.digest != shipped.digest


def test_a_policy_is_told_by_what_it_says_and_not_by_its_comments(tmp_path: Path) -> None:
    text = _policy()
    policies = []
    for name, written in {"a": text, "b": f"# a comment\n{text}", "c": text.replace("0.8", "0.9")}.items():
        (tmp_path / name).write_text(written)
        policies.append(load_policy(tmp_path / name))

    assert policies[0].digest == policies[1].digest != policies[2].digest


def test_the_gates_are_not_required_unless_the_policy_says_so(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(_policy(more="require_gates: true"))

    assert not POLICY.require_gates
    assert load_policy(tmp_path / "policy.yaml").require_gates
