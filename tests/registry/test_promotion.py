"""Promotion moves the champion by its gates, or against them with a reason, and tells how."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from registry.bundle.directory import Bundle
from registry.gates import GateReport
from registry.policy import load_policy
from registry.promotion import check_admitted, describe_alias, promote, read_history, rollback
from registry.store.facts import CANDIDATE, CHAMPION
from registry.store.model_store import ModelStore
from registry.version_gates import judge_version
from spect.errors import BundleError, ConfigurationError, GateError, RegistryError
from tests.support.registered import BAD, break_card, describe_champion, promote_version, register
from tests.support.tiny_bundle import build_tiny_bundle, tiny_panel


def test_a_version_that_passes_its_gates_becomes_champion(store: ModelStore, tiny_bundle: Bundle) -> None:
    version = store.register_bundle(tiny_bundle)

    note = promote(store, version, report=judge_version(store, version), who="ada")

    assert store.alias_version(CHAMPION) == version
    assert (note.promotion, note.reason, note.who) == ("gates", "", "ada")
    assert describe_alias(store, CHAMPION) == note
    assert store.find_version(version).tags["gates"] == "all 20 gates passed"


def test_a_failed_gate_leaves_the_champion_where_it_is(store: ModelStore, tiny_bundle: Bundle, tmp_path: Path) -> None:
    good = store.register_bundle(tiny_bundle)
    promote_version(store, good)
    (bad,) = register(store, tmp_path, 1, BAD)

    with pytest.raises(
        GateError, match=r"2 of 20 gates failed: c2st_auc_inside_outline \(normal\), worse_than_champion"
    ):
        promote_version(store, bad)

    assert store.alias_version(CHAMPION) == good
    assert [entry.version for entry in read_history(store).entries] == [good]


def test_an_override_is_recorded_with_its_reason(store: ModelStore, tmp_path: Path) -> None:
    (bad,) = register(store, tmp_path, 1, BAD)

    promote_version(store, bad, override="first  reference\nmodel")

    note = describe_alias(store, CHAMPION)
    assert note is not None
    assert (note.version, note.promotion, note.reason, note.who) == (bad, "override", "first reference model", "ada")
    assert note.when


def test_an_override_that_was_not_needed_reads_as_gates(store: ModelStore, tiny_bundle: Bundle) -> None:
    version = store.register_bundle(tiny_bundle)

    promote_version(store, version, override="to be safe")

    note = describe_alias(store, CHAMPION)
    assert note is not None
    assert (note.promotion, note.reason) == ("gates", "")


@pytest.mark.parametrize("reason", ["", "  \n", "x" * 501])
def test_an_override_needs_a_reason_of_one_line(store: ModelStore, tmp_path: Path, reason: str) -> None:
    (bad,) = register(store, tmp_path, 1, BAD)

    with pytest.raises(ConfigurationError, match="an override needs a reason"):
        promote_version(store, bad, override=reason)
    assert store.alias_version(CHAMPION) is None


def test_a_champion_moved_by_hand_reads_outside(store: ModelStore, tmp_path: Path) -> None:
    first, second = register(store, tmp_path, 2)
    promote_version(store, first)

    store.set_alias(CHAMPION, second)

    note = describe_alias(store, CHAMPION)
    assert note is not None
    assert (note.version, note.promotion) == (second, "outside")


def test_a_champion_moved_by_hand_to_one_promoted_before_still_reads_outside(store: ModelStore, tmp_path: Path) -> None:
    first, second = register(store, tmp_path, 2)
    promote_version(store, first)
    promote_version(store, second)

    store.set_alias(CHAMPION, first)

    note = describe_alias(store, CHAMPION)
    assert note is not None
    assert note.promotion == "outside"


def test_a_malformed_entry_of_the_log_is_named(store: ModelStore, tiny_bundle: Bundle) -> None:
    version = store.register_bundle(tiny_bundle)
    store.append_log("promotion/2026-01-01/intent", "not json")
    store.set_alias(CHAMPION, version)

    for read in (read_history, rollback, lambda store: describe_alias(store, CHAMPION)):
        with pytest.raises(RegistryError, match="tag promotion/2026-01-01/intent of model synspect") as caught:
            read(store)
        assert "\n" not in str(caught.value)


def test_a_champion_that_no_longer_verifies_can_be_replaced_by_override(store: ModelStore, tmp_path: Path) -> None:
    first, second = register(store, tmp_path, 2)
    promote_version(store, first)
    break_card(tmp_path, "# 0\n")

    with pytest.raises(GateError, match=r"1 of 20 gates failed: worse_than_champion"):
        promote_version(store, second)
    promote_version(store, second, override="the champion is broken")

    assert describe_champion(store) == (second, "override")


def test_a_champion_that_synspect_did_not_register_is_named(store: ModelStore, tmp_path: Path) -> None:
    first, second = register(store, tmp_path, 2)
    store._client.delete_model_version_tag("synspect", first, "manifest_sha256")
    store.set_alias(CHAMPION, first)

    report = judge_version(store, second)

    assert [row.metric for row in report.failed] == ["worse_than_champion"]
    assert "version 1 of synspect holds no bundle, for it was not registered by synspect" in report.failed[0].note


def test_setting_a_version_by_hand_first_does_not_spare_it_the_comparison(store: ModelStore, tmp_path: Path) -> None:
    first = store.register_bundle(build_tiny_bundle(tmp_path / "old", output_gain=0.9, cohort_fingerprint="8" * 64))
    (second,) = register(store, tmp_path, 1)
    promote_version(store, first)

    store.set_alias(CHAMPION, second)

    with pytest.raises(GateError, match="worse_than_champion"):
        promote_version(store, second)
    store._client.delete_model_version("synspect", first)
    assert "champion 1 is no longer in the registry" in judge_version(store, second).failed[0].note


@pytest.mark.parametrize("by_hand", ["promoted", "never promoted"])
def test_a_poor_version_set_by_hand_does_not_lower_the_gate_for_the_next(
    store: ModelStore, tmp_path: Path, by_hand: str
) -> None:
    measured = ({"value": 0.8, "low": 0.78, "high": 0.82}, {"value": 0.6, "low": 0.58, "high": 0.62})
    poor, good, candidate = (
        register(store, tmp_path / name, 1, {("c2st_auc_inside_outline", "normal"): auc})[0]
        for name, auc in (("poor", measured[0]), ("good", measured[1]), ("candidate", measured[0]))
    )
    if by_hand == "promoted":
        promote_version(store, poor)
    promote_version(store, good)
    store.set_alias(CHAMPION, poor)

    with pytest.raises(GateError, match="worse_than_champion"):
        promote_version(store, candidate)

    (row,) = judge_version(store, candidate).failed
    assert row.note == f"worse than the last promoted champion {good} in c2st_auc_inside_outline (normal)"
    (row,) = judge_version(store, poor).failed
    assert row.note == f"worse than the last promoted champion {good} in c2st_auc_inside_outline (normal)"
    compared = [row.note for row in judge_version(store, good).gates if row.metric == "worse_than_champion"]
    assert compared == [f"compared with champion {poor}"]


def test_what_was_promoted_before_a_deleted_version_is_compared_with_where_the_champion_was_set_by_hand(
    store: ModelStore, tmp_path: Path
) -> None:
    first, second, by_hand, candidate = register(store, tmp_path, 4)
    promote_version(store, first)
    promote_version(store, second)
    store.set_alias(CHAMPION, by_hand)
    store._client.delete_model_version("synspect", second)

    report = judge_version(store, candidate)

    notes = [row.note for row in report.gates if row.metric == "worse_than_champion"]
    assert notes == [f"compared with champion {by_hand} and with the last promoted champion {first}"]
    assert report.passed


def test_a_champion_validated_on_another_cohort_is_compared_by_a_panel_of_its_own(
    store: ModelStore, tmp_path: Path
) -> None:
    champion_bundle = build_tiny_bundle(tmp_path / "old", output_gain=0.9, cohort_fingerprint="8" * 64)
    first = store.register_bundle(champion_bundle)
    (second,) = register(store, tmp_path, 1)
    promote_version(store, first)
    same = tiny_panel(champion_bundle.sha256)
    better = tiny_panel(champion_bundle.sha256, {("c2st_auc_inside_outline", "normal"): {"value": 0.5}})

    with pytest.raises(GateError, match="worse_than_champion"):
        promote_version(store, second)
    assert judge_version(store, second, champion_panel=same).passed
    assert not judge_version(store, second, champion_panel=better).passed
    with pytest.raises(ConfigurationError, match="validate it without --quick"):
        judge_version(store, second, champion_panel=same.model_copy(update={"quick": True}))
    with pytest.raises(ConfigurationError, match="the panel given for the champion measured ffffffffffff"):
        judge_version(store, second, champion_panel=tiny_panel("f" * 64))


def test_every_judgement_is_kept_beside_the_bundle(store: ModelStore, tmp_path: Path) -> None:
    (bad,) = register(store, tmp_path, 1, BAD)
    with pytest.raises(GateError):
        promote_version(store, bad)
    promote_version(store, bad, override="why")

    tables = sorted((tmp_path / "mlartifacts").glob("models/*/artifacts/gates/*.json"))
    assert len(tables) == 2
    kept = json.loads(tables[0].read_text())
    assert (kept["version"], kept["champion"], kept["passed"]) == ("1", None, False)
    assert "| fail (outside the limit) |" in tables[0].with_suffix(".md").read_text()
    tags = store.find_version(bad).tags
    assert tags["gates"] == "1 of 20 gates failed: c2st_auc_inside_outline (normal)"
    assert tags["promotion"].endswith("promote by ada: override why")
    assert store.download(bad, tmp_path / "again").manifest_sha256 == tags["manifest_sha256"]


def test_who_promoted_is_whom_mlflow_takes_us_for(
    store: ModelStore, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = store.register_bundle(tiny_bundle)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "grace")

    assert promote(store, version, report=judge_version(store, version)).who == "grace"


REQUIRING = load_policy().model_copy(update={"require_gates": True})


def test_a_champion_set_by_hand_is_refused_only_where_the_policy_requires_gates(
    store: ModelStore, tmp_path: Path
) -> None:
    first, second = register(store, tmp_path, 2)
    promote_version(store, first)
    by_gates = describe_alias(store, CHAMPION)
    store.set_alias(CHAMPION, second)
    by_hand = describe_alias(store, CHAMPION)

    assert by_gates is not None
    assert by_hand is not None
    check_admitted(by_gates, REQUIRING)
    check_admitted(by_hand, load_policy())
    with pytest.raises(RegistryError, match=r"2 is champion outside the gates .* `synspect registry promote 2`"):
        check_admitted(by_hand, REQUIRING)


def test_an_override_and_a_candidate_are_admitted_where_the_policy_requires_gates(
    store: ModelStore, tmp_path: Path
) -> None:
    (bad,) = register(store, tmp_path, 1, BAD)
    promote_version(store, bad, override="why")

    for alias in (CHAMPION, CANDIDATE):
        note = describe_alias(store, alias)
        assert note is not None
        check_admitted(note, REQUIRING)


def test_a_rollback_passes_over_a_version_set_by_hand_where_the_policy_requires_gates(
    store: ModelStore, tmp_path: Path
) -> None:
    first, by_hand, third = register(store, tmp_path, 3)
    promote_version(store, first)
    store.set_alias(CHAMPION, by_hand)
    promote_version(store, third)

    assert rollback(store, policy=REQUIRING).version == first


def test_the_candidate_is_described_without_a_promotion(store: ModelStore, tiny_bundle: Bundle) -> None:
    assert describe_alias(store, CANDIDATE) is None
    store.register_bundle(tiny_bundle)

    note = describe_alias(store, CANDIDATE)
    assert note is not None
    assert note.promotion == "none"


def test_an_unknown_version_cannot_be_promoted(store: ModelStore) -> None:
    with pytest.raises(RegistryError, match="has no version '9'"):
        promote(store, "9", report=GateReport(rows=(), policy=""))


def test_a_version_changed_in_mlflow_is_never_judged(store: ModelStore, tiny_bundle: Bundle, tmp_path: Path) -> None:
    version = store.register_bundle(tiny_bundle)
    (panel,) = (tmp_path / "mlartifacts").rglob("bundle/panel.json")
    panel.write_text(panel.read_text().replace("0.7", "0.5"))

    with pytest.raises(BundleError, match=r"panel\.json has sha256"):
        judge_version(store, version)


def test_a_panel_of_another_graph_is_not_promoted(store: ModelStore, tiny_bundle: Bundle) -> None:
    version = store.register_bundle(tiny_bundle)
    report = judge_version(store, version)
    failed = replace(report, rows=(replace(report.rows[0], verdict="fail"), *report.rows[1:]))

    with pytest.raises(GateError, match=r"digests \(all\)"):
        promote(store, version, report=failed)
