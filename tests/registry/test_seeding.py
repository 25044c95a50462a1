"""A fresh registry is given its first champion once."""

from pathlib import Path

from registry.bundle.directory import Bundle
from registry.promotion import read_history
from registry.seeding import seed_registry
from registry.store.model_store import ModelStore
from tests.support.registered import BAD, promote_version, register
from tests.support.tiny_bundle import build_tiny_bundle


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
    (own,) = register(store, tmp_path, 1)
    promote_version(store, own)

    seeded = seed_registry(store, tiny_bundle.path, override="first reference model")

    assert seeded.champion.version == own
    assert store.find_version(seeded.version)


def test_seeding_that_was_cut_off_before_the_promotion_goes_on(store: ModelStore, tiny_bundle: Bundle) -> None:
    version = store.register_bundle(tiny_bundle)

    seeded = seed_registry(store, tiny_bundle.path, override="first reference model")

    assert seeded.version == version == seeded.champion.version
