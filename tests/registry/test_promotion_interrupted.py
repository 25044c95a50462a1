"""A promotion or rollback that is killed, cut off or overtaken leaves one champion, and can be repeated."""

from collections.abc import Callable
from pathlib import Path

import pytest

from registry.promotion import describe_alias, promote, read_history, rollback
from registry.store.facts import CHAMPION
from registry.store.model_store import ModelStore
from registry.version_gates import judge_version
from spect.errors import RegistryError
from tests.support.registered import BAD, describe_champion, promote_version, register


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
    versions = [*register(store, tmp_path / "good", 1), *register(store, tmp_path / "bad", 1, BAD)]
    promote_version(store, versions[0])
    dying = CutStore(mlflow_uri)
    dying.cut_at = step

    with pytest.raises(Cut):
        promote_version(dying, versions[1], override="try it")

    after_cut = describe_alias(store, CHAMPION)
    assert after_cut is not None
    assert (after_cut.version, after_cut.promotion) == (versions[serves], how)
    promote_version(store, versions[1], override="try it")
    repeated = describe_alias(store, CHAMPION)
    assert repeated is not None
    assert (repeated.version, repeated.promotion) == (versions[1], "override")
    previous = read_history(store).find_previous()
    assert previous is not None
    assert previous.version == versions[0]


def test_what_is_cut_off_after_the_alias_keeps_its_reason_and_is_completed_where_another_gives_way(
    mlflow_uri: str, store: ModelStore, tmp_path: Path
) -> None:
    first, second, third = register(store, tmp_path, 3)
    promote_version(store, first)
    promote_version(store, second)
    dying = CutStore(mlflow_uri)
    dying.cut_at = "outcome"
    late = InterruptedStore(mlflow_uri)

    def return_to_the_first() -> None:
        with pytest.raises(Cut):
            rollback(dying, who="bob")

    late.before_alias = return_to_the_first
    with pytest.raises(RegistryError, match="champion became version 1 before it was set"):
        promote_version(late, third)

    assert describe_champion(store) == (first, "gates")
    assert rollback(store).version == first
    assert read_history(store).find_cut_off() is None


class RacedStore(ModelStore):
    """A store in which somebody else sets the champion right after we did."""

    other = ""

    def set_alias(self, alias: str, version: str) -> None:
        super().set_alias(alias, version)
        super().set_alias(alias, self.other)


def test_two_promotions_at_once_are_noticed(mlflow_uri: str, store: ModelStore, tmp_path: Path) -> None:
    first, second = register(store, tmp_path, 2)
    raced = RacedStore(mlflow_uri)
    raced.other = second

    with pytest.raises(RegistryError, match="champion reads version 2 after it was set; somebody else moved it"):
        promote_version(raced, first)
    assert [entry.outcome and entry.outcome.result for entry in read_history(store).entries] == ["failed"]
    assert read_history(store).find_previous() is None


class InterruptedStore(ModelStore):
    """A store in which something happens before a promotion looks at the alias, before it sets it, or writes a tag."""

    before_alias: Callable[[], object] | None = None
    at_alias: Callable[[], object] | None = None
    before_settling: Callable[[], object] | None = None

    def append_log(self, key: str, value: str) -> None:
        if key.endswith("/outcome"):
            self._interrupt("before_settling")
        super().append_log(key, value)
        if key.endswith("/intent"):
            self._interrupt("before_alias")

    def set_alias(self, alias: str, version: str) -> None:
        if alias == CHAMPION:
            self._interrupt("at_alias")
        super().set_alias(alias, version)

    def _interrupt(self, where: str) -> None:
        happens, _ = getattr(self, where), setattr(self, where, None)
        if happens is not None:
            happens()


def test_a_promotion_stops_where_the_champion_it_was_compared_with_is_gone(
    mlflow_uri: str, store: ModelStore, tmp_path: Path
) -> None:
    first, second, third = register(store, tmp_path, 3)
    promote_version(store, first)
    report = judge_version(store, second)
    promote_version(store, third)

    with pytest.raises(RegistryError, match="champion is version 3 now, the gates compared with 1"):
        promote(store, second, report=report)
    assert store.alias_version(CHAMPION) == third


def test_a_promotion_that_meets_another_one_gives_way_before_it_sets_the_alias(
    mlflow_uri: str, store: ModelStore, tmp_path: Path
) -> None:
    first, second, third = register(store, tmp_path, 3)
    promote_version(store, first)
    late = InterruptedStore(mlflow_uri)
    late.before_alias = lambda: promote_version(store, third)

    with pytest.raises(RegistryError, match="champion became version 3 before it was set; somebody else moved it"):
        promote_version(late, second)

    history = read_history(store)
    assert describe_champion(store) == (third, "gates")
    assert [(entry.version, entry.is_done) for entry in history.entries] == [("1", True), ("3", True), ("2", False)]
    promote_version(store, second)
    assert describe_champion(store) == (second, "gates")
    assert [reign.version for reign in read_history(store).reigns()] == [first, third, second]


def test_a_promotion_overtaken_before_it_wrote_its_outcome_is_told_in_order(
    mlflow_uri: str, store: ModelStore, tmp_path: Path
) -> None:
    first, second, third = register(store, tmp_path, 3)
    promote_version(store, first)
    slow = InterruptedStore(mlflow_uri)
    slow.before_settling = lambda: promote_version(store, third)

    with pytest.raises(RegistryError, match="version 2 became champion and is no longer, version 3 is: somebody else"):
        promote_version(slow, second)

    assert describe_champion(store) == (third, "gates")
    assert [reign.version for reign in read_history(store).reigns()] == [first, second, third]
    assert rollback(store).version == second


def test_two_rollbacks_at_once_go_back_one_step(mlflow_uri: str, store: ModelStore, tmp_path: Path) -> None:
    versions = register(store, tmp_path, 3)
    for version in versions:
        promote_version(store, version)
    late = InterruptedStore(mlflow_uri)
    late.before_alias = lambda: rollback(store)

    with pytest.raises(RegistryError, match="champion became version 2 before it was set"):
        rollback(late)

    assert describe_champion(store) == (versions[1], "gates")
    assert rollback(store).version == versions[0]


@pytest.mark.parametrize(("step", "ends_at"), [("intent", "2"), ("alias", "2"), ("outcome", "2")])
def test_a_rollback_cut_off_anywhere_is_completed_by_repeating_it(
    mlflow_uri: str, store: ModelStore, tmp_path: Path, step: str, ends_at: str
) -> None:
    for version in register(store, tmp_path, 3):
        promote_version(store, version)
    dying = CutStore(mlflow_uri)
    dying.cut_at = step
    with pytest.raises(Cut):
        rollback(dying, who="bob")

    note = rollback(store, who="bob")

    assert (note.version, note.who) == (ends_at, "bob")
    assert describe_champion(store) == (ends_at, "gates")
    assert read_history(store).find_cut_off() is None
    assert rollback(store).version == "1"


def test_a_registry_that_goes_away_half_way_says_that_repeating_is_safe(
    mlflow_uri: str, store: ModelStore, tmp_path: Path
) -> None:
    first, second = register(store, tmp_path, 2)
    promote_version(store, first)
    away = InterruptedStore(mlflow_uri)
    database = tmp_path / "mlflow.db"
    away.before_alias = lambda: database.rename(tmp_path / "away.db") and database.mkdir()

    with pytest.raises(RegistryError, match="the promote of version 2 was cut off: repeat it, which is safe"):
        promote_version(away, second)

    database.rmdir()
    (tmp_path / "away.db").rename(database)
    back = ModelStore(mlflow_uri)
    assert describe_champion(back) == (first, "gates")
    promote_version(back, second)
    assert describe_champion(back) == (second, "gates")


def test_a_promotion_that_went_over_another_one_gives_the_champion_back(
    mlflow_uri: str, store: ModelStore, tmp_path: Path
) -> None:
    first, second, third = register(store, tmp_path, 3)
    promote_version(store, first)
    late = InterruptedStore(mlflow_uri)
    late.at_alias = lambda: promote_version(store, third)

    with pytest.raises(RegistryError, match="version 3 was promoted in between, and is champion again"):
        promote_version(late, second)

    assert describe_champion(store) == (third, "gates")
    promote_version(store, second)
    assert describe_champion(store) == (second, "gates")
