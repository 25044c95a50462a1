"""Promotion moves the champion by its gates, tells how, and can be undone, repeated and cut off."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from registry.bundle.directory import Bundle
from registry.gates import GateReport
from registry.policy import load_policy
from registry.promotion import check_admitted, describe_alias, judge_version, promote, read_history, rollback
from registry.seeding import seed_registry
from registry.store.facts import CANDIDATE, CHAMPION
from registry.store.model_store import ModelStore
from spect.errors import BundleError, ConfigurationError, GateError, RegistryError
from tests.support.tiny_bundle import build_tiny_bundle, tiny_panel

BAD = {("c2st_auc_inside_outline", "normal"): {"value": 0.99, "low": 0.98, "high": 1.0}}


@pytest.fixture
def store(mlflow_uri: str) -> ModelStore:
    return ModelStore(mlflow_uri)


def _register(store: ModelStore, directory: Path, count: int, changes: Any = None) -> list[str]:
    bundles = [build_tiny_bundle(directory / f"b{i}", card=f"# {i}\n", changes=changes) for i in range(count)]
    return [store.register_bundle(bundle) for bundle in bundles]


def _promote(store: ModelStore, version: str, override: str | None = None) -> None:
    promote(store, version, report=judge_version(store, version), override=override, who="ada")


def test_a_version_that_passes_its_gates_becomes_champion(store: ModelStore, tiny_bundle: Bundle) -> None:
    version = store.register_bundle(tiny_bundle)

    note = promote(store, version, report=judge_version(store, version), who="ada")

    assert store.alias_version(CHAMPION) == version
    assert (note.promotion, note.reason, note.who) == ("gates", "", "ada")
    assert describe_alias(store, CHAMPION) == note
    assert store.find_version(version).tags["gates"] == "all 20 gates passed"


def test_a_failed_gate_leaves_the_champion_where_it_is(store: ModelStore, tiny_bundle: Bundle, tmp_path: Path) -> None:
    good = store.register_bundle(tiny_bundle)
    _promote(store, good)
    (bad,) = _register(store, tmp_path, 1, BAD)

    with pytest.raises(
        GateError, match=r"2 of 20 gates failed: c2st_auc_inside_outline \(normal\), worse_than_champion"
    ):
        _promote(store, bad)

    assert store.alias_version(CHAMPION) == good
    assert [entry.version for entry in read_history(store).entries] == [good]


def test_an_override_is_recorded_with_its_reason(store: ModelStore, tmp_path: Path) -> None:
    (bad,) = _register(store, tmp_path, 1, BAD)

    _promote(store, bad, override="first  reference\nmodel")

    note = describe_alias(store, CHAMPION)
    assert note is not None
    assert (note.version, note.promotion, note.reason, note.who) == (bad, "override", "first reference model", "ada")
    assert note.when


def test_an_override_that_was_not_needed_reads_as_gates(store: ModelStore, tiny_bundle: Bundle) -> None:
    version = store.register_bundle(tiny_bundle)

    _promote(store, version, override="to be safe")

    note = describe_alias(store, CHAMPION)
    assert note is not None
    assert (note.promotion, note.reason) == ("gates", "")


@pytest.mark.parametrize("reason", ["", "  \n", "x" * 501])
def test_an_override_needs_a_reason_of_one_line(store: ModelStore, tmp_path: Path, reason: str) -> None:
    (bad,) = _register(store, tmp_path, 1, BAD)

    with pytest.raises(ConfigurationError, match="an override needs a reason"):
        _promote(store, bad, override=reason)
    assert store.alias_version(CHAMPION) is None


def test_a_champion_moved_by_hand_reads_outside(store: ModelStore, tmp_path: Path) -> None:
    first, second = _register(store, tmp_path, 2)
    _promote(store, first)

    store.set_alias(CHAMPION, second)

    note = describe_alias(store, CHAMPION)
    assert note is not None
    assert (note.version, note.promotion) == (second, "outside")


def test_a_champion_moved_by_hand_to_one_promoted_before_still_reads_outside(store: ModelStore, tmp_path: Path) -> None:
    first, second = _register(store, tmp_path, 2)
    _promote(store, first)
    _promote(store, second)

    store.set_alias(CHAMPION, first)

    note = describe_alias(store, CHAMPION)
    assert note is not None
    assert note.promotion == "outside"


def test_rollback_returns_through_the_champions_one_by_one(store: ModelStore, tmp_path: Path) -> None:
    first, second, third = _register(store, tmp_path, 3)
    _promote(store, first)
    _promote(store, second)
    _promote(store, third)

    assert rollback(store, who="bob").version == second
    assert rollback(store, who="bob").version == first
    with pytest.raises(RegistryError, match="no earlier champion"):
        rollback(store)
    assert store.alias_version(CHAMPION) == first
    assert [entry.action for entry in read_history(store).entries] == ["promote"] * 3 + ["rollback"] * 2


def test_after_a_rollback_a_promotion_can_be_undone_again(store: ModelStore, tmp_path: Path) -> None:
    first, second, third = _register(store, tmp_path, 3)
    _promote(store, first)
    _promote(store, second)
    rollback(store)
    _promote(store, third)

    assert rollback(store).version == first


def test_rollback_keeps_why_the_earlier_champion_was_promoted(store: ModelStore, tmp_path: Path) -> None:
    (bad,) = _register(store, tmp_path / "bad", 1, BAD)
    (good,) = _register(store, tmp_path / "good", 1)
    _promote(store, bad, override="first one")
    _promote(store, good)

    note = rollback(store)

    assert (note.version, note.promotion, note.reason) == (bad, "override", "first one")


def test_rollback_after_a_move_by_hand_returns_to_the_last_promoted(store: ModelStore, tmp_path: Path) -> None:
    first, second = _register(store, tmp_path, 2)
    _promote(store, first)
    store.set_alias(CHAMPION, second)

    assert rollback(store).version == first


def test_rollback_returns_to_a_champion_that_was_set_by_hand(store: ModelStore, tmp_path: Path) -> None:
    first, by_hand, third = _register(store, tmp_path, 3)
    _promote(store, first)
    store.set_alias(CHAMPION, by_hand)
    _promote(store, third)

    note = rollback(store)

    assert (note.version, note.promotion, note.reason) == (by_hand, "outside", "the alias was moved in MLflow by hand")
    assert describe_alias(store, CHAMPION) == note
    assert rollback(store).version == first


def test_rollback_of_a_promotion_repeated_over_a_move_by_hand_returns_to_that_move(
    store: ModelStore, tmp_path: Path
) -> None:
    first, by_hand = _register(store, tmp_path, 2)
    _promote(store, first)
    store.set_alias(CHAMPION, by_hand)
    _promote(store, first)

    assert rollback(store).version == by_hand


def test_a_malformed_entry_of_the_log_is_named(store: ModelStore, tiny_bundle: Bundle) -> None:
    version = store.register_bundle(tiny_bundle)
    store.append_log("promotion/2026-01-01/intent", "not json")
    store.set_alias(CHAMPION, version)

    for read in (read_history, rollback, lambda store: describe_alias(store, CHAMPION)):
        with pytest.raises(RegistryError, match="tag promotion/2026-01-01/intent of model synspect") as caught:
            read(store)
        assert "\n" not in str(caught.value)


class Cut(Exception):  # noqa: N818 — stands for a killed process, not for an error of ours
    """The process dies here."""


class CutStore(ModelStore):
    """A store whose process dies at one of the four steps of a promotion."""

    cut_at = ""

    def append_log(self, key: str, value: str) -> None:
        self._maybe_die(key.rpartition("/")[2])
        super().append_log(key, value)

    def set_alias(self, alias: str, version: str) -> None:
        self._maybe_die("alias")
        super().set_alias(alias, version)

    def _maybe_die(self, step: str) -> None:
        if step == self.cut_at:
            raise Cut


@pytest.mark.parametrize(
    ("step", "serves", "how"), [("intent", 0, "gates"), ("alias", 0, "gates"), ("outcome", 1, "override")]
)
def test_a_promotion_cut_off_anywhere_tells_the_truth_and_can_be_repeated(
    mlflow_uri: str, store: ModelStore, tmp_path: Path, step: str, serves: int, how: str
) -> None:
    versions = [*_register(store, tmp_path / "good", 1), *_register(store, tmp_path / "bad", 1, BAD)]
    _promote(store, versions[0])
    dying = CutStore(mlflow_uri)
    dying.cut_at = step

    with pytest.raises(Cut):
        _promote(dying, versions[1], override="try it")

    after_cut = describe_alias(store, CHAMPION)
    assert after_cut is not None
    assert (after_cut.version, after_cut.promotion) == (versions[serves], how)
    _promote(store, versions[1], override="try it")
    repeated = describe_alias(store, CHAMPION)
    assert repeated is not None
    assert (repeated.version, repeated.promotion) == (versions[1], "override")
    previous = read_history(store).find_previous()
    assert previous is not None
    assert previous.version == versions[0]


class RacedStore(ModelStore):
    """A store in which somebody else sets the champion right after we did."""

    other = ""

    def set_alias(self, alias: str, version: str) -> None:
        super().set_alias(alias, version)
        super().set_alias(alias, self.other)


def test_two_promotions_at_once_are_noticed(mlflow_uri: str, store: ModelStore, tmp_path: Path) -> None:
    first, second = _register(store, tmp_path, 2)
    raced = RacedStore(mlflow_uri)
    raced.other = second

    with pytest.raises(RegistryError, match="champion reads version 2 after it was set; somebody else moved it"):
        _promote(raced, first)
    assert [entry.outcome and entry.outcome.result for entry in read_history(store).entries] == ["failed"]
    assert read_history(store).find_previous() is None


class InterruptedStore(ModelStore):
    """A store in which something happens right before a promotion writes the alias, or a tag."""

    before_alias: Callable[[], object] | None = None
    before_settling: Callable[[], object] | None = None

    def append_log(self, key: str, value: str) -> None:
        if key.endswith("/outcome"):
            self._interrupt("before_settling")
        super().append_log(key, value)
        if key.endswith("/intent"):
            self._interrupt("before_alias")

    def _interrupt(self, where: str) -> None:
        happens, _ = getattr(self, where), setattr(self, where, None)
        if happens is not None:
            happens()


def test_a_promotion_stops_where_the_champion_it_was_compared_with_is_gone(
    mlflow_uri: str, store: ModelStore, tmp_path: Path
) -> None:
    first, second, third = _register(store, tmp_path, 3)
    _promote(store, first)
    report = judge_version(store, second)
    _promote(store, third)

    with pytest.raises(RegistryError, match="champion is version 3 now, the gates compared with 1"):
        promote(store, second, report=report)
    assert store.alias_version(CHAMPION) == third


def test_a_promotion_that_meets_another_one_gives_way_before_it_sets_the_alias(
    mlflow_uri: str, store: ModelStore, tmp_path: Path
) -> None:
    first, second, third = _register(store, tmp_path, 3)
    _promote(store, first)
    late = InterruptedStore(mlflow_uri)
    late.before_alias = lambda: _promote(store, third)

    with pytest.raises(RegistryError, match="champion became version 3 before it was set; somebody else moved it"):
        _promote(late, second)

    history = read_history(store)
    assert _describe(store) == (third, "gates")
    assert [(entry.version, entry.is_done) for entry in history.entries] == [("1", True), ("3", True), ("2", False)]
    _promote(store, second)
    assert _describe(store) == (second, "gates")
    assert [reign.version for reign in read_history(store).reigns()] == [first, third, second]


def test_a_promotion_overtaken_before_it_wrote_its_outcome_is_told_in_order(
    mlflow_uri: str, store: ModelStore, tmp_path: Path
) -> None:
    first, second, third = _register(store, tmp_path, 3)
    _promote(store, first)
    slow = InterruptedStore(mlflow_uri)
    slow.before_settling = lambda: _promote(store, third)

    _promote(slow, second)

    assert _describe(store) == (third, "gates")
    assert [reign.version for reign in read_history(store).reigns()] == [first, second, third]
    assert rollback(store).version == second


def test_two_rollbacks_at_once_go_back_one_step(mlflow_uri: str, store: ModelStore, tmp_path: Path) -> None:
    versions = _register(store, tmp_path, 3)
    for version in versions:
        _promote(store, version)
    late = InterruptedStore(mlflow_uri)
    late.before_alias = lambda: rollback(store)

    with pytest.raises(RegistryError, match="champion became version 2 before it was set"):
        rollback(late)

    assert _describe(store) == (versions[1], "gates")
    assert rollback(store).version == versions[0]


@pytest.mark.parametrize(("step", "ends_at"), [("intent", "2"), ("alias", "2"), ("outcome", "2")])
def test_a_rollback_cut_off_anywhere_is_completed_by_repeating_it(
    mlflow_uri: str, store: ModelStore, tmp_path: Path, step: str, ends_at: str
) -> None:
    for version in _register(store, tmp_path, 3):
        _promote(store, version)
    dying = CutStore(mlflow_uri)
    dying.cut_at = step
    with pytest.raises(Cut):
        rollback(dying, who="bob")

    note = rollback(store, who="bob")

    assert (note.version, note.who) == (ends_at, "bob")
    assert _describe(store) == (ends_at, "gates")
    assert read_history(store).find_cut_off() is None
    assert rollback(store).version == "1"


def test_a_registry_that_goes_away_half_way_says_that_repeating_is_safe(
    mlflow_uri: str, store: ModelStore, tmp_path: Path
) -> None:
    first, second = _register(store, tmp_path, 2)
    _promote(store, first)
    away = InterruptedStore(mlflow_uri)
    database = tmp_path / "mlflow.db"
    away.before_alias = lambda: database.rename(tmp_path / "away.db") and database.mkdir()

    with pytest.raises(RegistryError, match="the promote of version 2 was cut off: repeat it, which is safe"):
        _promote(away, second)

    database.rmdir()
    (tmp_path / "away.db").rename(database)
    back = ModelStore(mlflow_uri)
    assert _describe(back) == (first, "gates")
    _promote(back, second)
    assert _describe(back) == (second, "gates")


def test_a_rollback_to_a_version_that_no_longer_verifies_leaves_the_champion(store: ModelStore, tmp_path: Path) -> None:
    first, second = _register(store, tmp_path, 2)
    _promote(store, first)
    _promote(store, second)
    _break_card(tmp_path, "# 0\n")

    with pytest.raises(BundleError, match=r"card\.md has sha256"):
        rollback(store)
    assert _describe(store) == (second, "gates")


def test_a_champion_that_no_longer_verifies_can_be_replaced_by_override(store: ModelStore, tmp_path: Path) -> None:
    first, second = _register(store, tmp_path, 2)
    _promote(store, first)
    _break_card(tmp_path, "# 0\n")

    with pytest.raises(GateError, match=r"1 of 20 gates failed: worse_than_champion"):
        _promote(store, second)
    _promote(store, second, override="the champion is broken")

    assert _describe(store) == (second, "override")


def test_a_champion_that_synspect_did_not_register_is_named(store: ModelStore, tmp_path: Path) -> None:
    first, second = _register(store, tmp_path, 2)
    store._client.delete_model_version_tag("synspect", first, "manifest_sha256")
    store.set_alias(CHAMPION, first)

    report = judge_version(store, second)

    assert [row.metric for row in report.failed] == ["worse_than_champion"]
    assert "version 1 of synspect holds no bundle, for it was not registered by synspect" in report.failed[0].note


def test_a_champion_validated_on_another_cohort_is_compared_by_a_panel_of_its_own(
    store: ModelStore, tmp_path: Path
) -> None:
    champion_bundle = build_tiny_bundle(tmp_path / "old", output_gain=0.9, cohort_fingerprint="8" * 64)
    first = store.register_bundle(champion_bundle)
    (second,) = _register(store, tmp_path, 1)
    _promote(store, first)
    same = tiny_panel(champion_bundle.sha256)
    better = tiny_panel(champion_bundle.sha256, {("c2st_auc_inside_outline", "normal"): {"value": 0.5}})

    with pytest.raises(GateError, match="worse_than_champion"):
        _promote(store, second)
    assert judge_version(store, second, champion_panel=same).passed
    assert not judge_version(store, second, champion_panel=better).passed
    with pytest.raises(ConfigurationError, match="validate it without --quick"):
        judge_version(store, second, champion_panel=same.model_copy(update={"quick": True}))
    with pytest.raises(ConfigurationError, match="the panel given for the champion measured ffffffffffff"):
        judge_version(store, second, champion_panel=tiny_panel("f" * 64))


def test_every_judgement_is_kept_beside_the_bundle(store: ModelStore, tmp_path: Path) -> None:
    (bad,) = _register(store, tmp_path, 1, BAD)
    with pytest.raises(GateError):
        _promote(store, bad)
    _promote(store, bad, override="why")

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
    first, second = _register(store, tmp_path, 2)
    _promote(store, first)
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
    (bad,) = _register(store, tmp_path, 1, BAD)
    _promote(store, bad, override="why")

    for alias in (CHAMPION, CANDIDATE):
        note = describe_alias(store, alias)
        assert note is not None
        check_admitted(note, REQUIRING)


def test_a_rollback_passes_over_a_version_set_by_hand_where_the_policy_requires_gates(
    store: ModelStore, tmp_path: Path
) -> None:
    first, by_hand, third = _register(store, tmp_path, 3)
    _promote(store, first)
    store.set_alias(CHAMPION, by_hand)
    _promote(store, third)

    assert rollback(store, policy=REQUIRING).version == first


def _describe(store: ModelStore) -> tuple[str, str]:
    note = describe_alias(store, CHAMPION)
    assert note is not None
    return note.version, note.promotion


def _break_card(directory: Path, text: str) -> None:
    (card,) = [path for path in (directory / "mlartifacts").rglob("bundle/card.md") if path.read_text() == text]
    card.write_text("changed")


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


def test_seeding_registers_and_promotes_once(store: ModelStore, tiny_bundle: Bundle) -> None:
    first = seed_registry(store, tiny_bundle.path, override="first reference model")
    again = seed_registry(store, tiny_bundle.path, override="first reference model")

    assert first.version == again.version == "1"
    assert (first.champion.promotion, again.champion) == ("gates", first.champion)
    assert len(store.versions()) == 1
    assert len(read_history(store).entries) == 1


def test_seeding_overrides_failed_gates_with_the_given_reason(store: ModelStore, tmp_path: Path) -> None:
    bad = build_tiny_bundle(tmp_path / "bad", changes=BAD)

    seeded = seed_registry(store, bad.path, override="first reference model")

    assert (seeded.champion.promotion, seeded.champion.reason) == ("override", "first reference model")
    assert seeded.report is not None
    assert not seeded.report.passed


def test_seeding_leaves_another_champion_in_place(store: ModelStore, tiny_bundle: Bundle, tmp_path: Path) -> None:
    (own,) = _register(store, tmp_path, 1)
    _promote(store, own)

    seeded = seed_registry(store, tiny_bundle.path, override="first reference model")

    assert seeded.champion.version == own
    assert store.find_version(seeded.version)


def test_seeding_that_was_cut_off_before_the_promotion_goes_on(store: ModelStore, tiny_bundle: Bundle) -> None:
    version = store.register_bundle(tiny_bundle)

    seeded = seed_registry(store, tiny_bundle.path, override="first reference model")

    assert seeded.version == version == seeded.champion.version


def test_a_panel_of_another_graph_is_not_promoted(store: ModelStore, tiny_bundle: Bundle) -> None:
    version = store.register_bundle(tiny_bundle)
    report = judge_version(store, version)
    failed = replace(report, rows=(replace(report.rows[0], verdict="fail"), *report.rows[1:]))

    with pytest.raises(GateError, match=r"digests \(all\)"):
        promote(store, version, report=failed)


class LateStore(ModelStore):
    """Somebody else's whole promotion happens between the last look at the alias and its setting."""

    happens: Callable[[], object] | None = None

    def set_alias(self, alias: str, version: str) -> None:
        happens, self.happens = self.happens, None
        if happens is not None and alias == CHAMPION:
            happens()
        super().set_alias(alias, version)


def test_a_promotion_that_went_over_another_one_gives_the_champion_back(
    mlflow_uri: str, store: ModelStore, tmp_path: Path
) -> None:
    first, late, quick = (
        store.register_bundle(build_tiny_bundle(tmp_path / str(n), card=f"# {n}\n")) for n in range(3)
    )
    promote(store, first, report=judge_version(store, first))
    slow = LateStore(mlflow_uri)
    slow.happens = lambda: promote(store, quick, report=judge_version(store, quick))
    with pytest.raises(RegistryError, match=f"version {quick} was promoted in between, and is champion again"):
        promote(slow, late, report=judge_version(slow, late))
    history = read_history(store)
    assert history.champion == quick
    note = history.describe_champion()
    assert note is not None
    assert note.promotion == "gates"
    assert promote(store, late, report=judge_version(store, late)).version == late
