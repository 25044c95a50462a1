"""A rollback returns to the champion before, whatever happened to it or to the alias in between."""

import re
from pathlib import Path

import pytest

from registry.promotion import describe_alias, read_history, rollback
from registry.store.facts import CHAMPION
from registry.store.model_store import ModelStore
from spect.errors import BundleError, RegistryError, VersionError
from tests.support.registered import BAD, break_card, describe_champion, promote_version, register


def test_rollback_returns_through_the_champions_one_by_one(store: ModelStore, tmp_path: Path) -> None:
    first, second, third = register(store, tmp_path, 3)
    promote_version(store, first)
    promote_version(store, second)
    promote_version(store, third)

    assert rollback(store, who="bob").version == second
    assert rollback(store, who="bob").version == first
    with pytest.raises(RegistryError, match="no earlier champion"):
        rollback(store)
    assert store.alias_version(CHAMPION) == first
    assert [entry.action for entry in read_history(store).entries] == ["promote"] * 3 + ["rollback"] * 2


def test_after_a_rollback_a_promotion_can_be_undone_again(store: ModelStore, tmp_path: Path) -> None:
    first, second, third = register(store, tmp_path, 3)
    promote_version(store, first)
    promote_version(store, second)
    rollback(store)
    promote_version(store, third)

    assert rollback(store).version == first


def test_rollback_passes_over_versions_that_were_deleted(store: ModelStore, tmp_path: Path) -> None:
    first, second, third = register(store, tmp_path, 3)
    for version in (first, second, third):
        promote_version(store, version)
    store._client.delete_model_version("synspect", second)
    assert rollback(store).version == first

    promote_version(store, third)
    store._client.delete_model_version("synspect", third)  # and the alias with it
    assert store.alias_version(CHAMPION) is None
    assert rollback(store).version == first


def test_rollback_keeps_why_the_earlier_champion_was_promoted(store: ModelStore, tmp_path: Path) -> None:
    (bad,) = register(store, tmp_path / "bad", 1, BAD)
    (good,) = register(store, tmp_path / "good", 1)
    promote_version(store, bad, override="first one")
    promote_version(store, good)

    note = rollback(store)

    assert (note.version, note.promotion, note.reason) == (bad, "override", "first one")


def test_rollback_after_a_move_by_hand_returns_to_the_last_promoted(store: ModelStore, tmp_path: Path) -> None:
    first, second = register(store, tmp_path, 2)
    promote_version(store, first)
    store.set_alias(CHAMPION, second)

    assert rollback(store).version == first


def test_rollback_returns_to_a_champion_that_was_set_by_hand(store: ModelStore, tmp_path: Path) -> None:
    first, by_hand, third = register(store, tmp_path, 3)
    promote_version(store, first)
    store.set_alias(CHAMPION, by_hand)
    promote_version(store, third)

    note = rollback(store)

    assert (note.version, note.promotion, note.reason) == (by_hand, "outside", "the alias was moved in MLflow by hand")
    assert describe_alias(store, CHAMPION) == note
    assert rollback(store).version == first


def test_rollback_of_a_promotion_repeated_over_a_move_by_hand_returns_to_that_move(
    store: ModelStore, tmp_path: Path
) -> None:
    first, by_hand = register(store, tmp_path, 2)
    promote_version(store, first)
    store.set_alias(CHAMPION, by_hand)
    promote_version(store, first)

    assert rollback(store).version == by_hand


def test_rollback_passes_over_versions_that_are_damaged_and_says_so(
    store: ModelStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, third = register(store, tmp_path, 3)
    for version in (first, second, third):
        promote_version(store, version)
    break_card(tmp_path, "# 1\n")

    assert rollback(store).version == first

    assert "a rollback passes over version 2: version 2 of synspect is damaged: card.md has sha256" in caplog.text
    assert describe_champion(store) == (first, "gates")


def test_a_damaged_version_is_told_by_its_number_and_with_what_to_do(store: ModelStore, tmp_path: Path) -> None:
    (version,) = register(store, tmp_path, 1)
    break_card(tmp_path, "# 0\n")

    with pytest.raises(BundleError) as caught:
        store.download(version, tmp_path / "fetched")

    assert re.fullmatch(
        r"version 1 of synspect is damaged: card\.md has sha256 \w{12}, manifest says \w{12}; "
        "release it again, or promote another version",
        str(caught.value),
    )
    (card,) = (tmp_path / "mlartifacts").rglob("bundle/card.md")
    card.unlink()
    with pytest.raises(BundleError, match=r"^version 1 of synspect is damaged: its bundle lacks card\.md; release it"):
        store.download(version, tmp_path / "again")


def test_a_rollback_that_finds_no_whole_version_leaves_the_champion(store: ModelStore, tmp_path: Path) -> None:
    first, second = register(store, tmp_path, 2)
    promote_version(store, first)
    promote_version(store, second)
    break_card(tmp_path, "# 0\n")

    with pytest.raises(VersionError, match="has no earlier champion that could be served to return to"):
        rollback(store)
    assert describe_champion(store) == (second, "gates")
