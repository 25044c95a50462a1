"""A look at the registry brings the version of an alias into a directory, verified, with how it was promoted."""

from pathlib import Path

import pytest

from registry.bundle.directory import load_bundle
from registry.follow import follow_once
from registry.policy import load_policy
from registry.promotion import promote, rollback
from registry.store.facts import CANDIDATE, CHAMPION
from registry.store.model_store import ModelStore
from registry.version_gates import judge_version
from spect.errors import AdmissionError, BundleError, InvalidOutputError, RegistryError
from tests.support.followed_directory import kept_versions
from tests.support.registered import make_champion
from tests.support.tiny_bundle import build_tiny_bundle, unbounded_graph


def test_the_champion_arrives_with_its_promotion(store: ModelStore, directory: Path, tmp_path: Path) -> None:
    bundle = make_champion(store, tmp_path, 1)

    followed = follow_once(store, CHAMPION, directory)

    assert followed.changed
    assert followed.bundle.manifest_sha256 == bundle.manifest_sha256
    served = load_bundle(directory)
    assert served.version == "1"
    assert served.promotion is not None
    assert (served.promotion.promotion, served.promotion.who) == ("gates", "ada")
    assert (directory / "current").is_symlink()


def test_nothing_is_touched_while_nothing_changes(store: ModelStore, directory: Path, tmp_path: Path) -> None:
    make_champion(store, tmp_path, 1)
    follow_once(store, CHAMPION, directory)
    before = (directory / "current").lstat()

    assert not follow_once(store, CHAMPION, directory).changed
    after = (directory / "current").lstat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_new_champion_and_a_rollback_are_followed(store: ModelStore, directory: Path, tmp_path: Path) -> None:
    make_champion(store, tmp_path, 1)
    follow_once(store, CHAMPION, directory)
    make_champion(store, tmp_path, 2)
    assert follow_once(store, CHAMPION, directory).bundle.version == "2"

    rollback(store)

    assert follow_once(store, CHAMPION, directory).bundle.version == "1"


def test_an_override_after_the_fact_changes_the_note_alone(store: ModelStore, directory: Path, tmp_path: Path) -> None:
    make_champion(store, tmp_path, 1)
    follow_once(store, CHAMPION, directory)
    second = store.register_bundle(build_tiny_bundle(tmp_path / "second"))
    store.set_alias(CHAMPION, second)

    followed = follow_once(store, CHAMPION, directory)

    assert followed.bundle.promotion is not None
    assert (followed.bundle.version, followed.bundle.promotion.promotion) == (second, "outside")


def test_a_champion_set_by_hand_is_not_followed_where_the_policy_requires_gates(
    store: ModelStore, directory: Path, tmp_path: Path
) -> None:
    policy = load_policy().model_copy(update={"require_gates": True})
    make_champion(store, tmp_path, 1)
    follow_once(store, CHAMPION, directory, policy=policy)
    second = store.register_bundle(build_tiny_bundle(tmp_path / "second", card="# second\n"))
    store.set_alias(CHAMPION, second)

    with pytest.raises(AdmissionError, match="version 2 is champion outside the gates"):
        follow_once(store, CHAMPION, directory, policy=policy)
    assert load_bundle(directory).version == "1"

    promote(store, second, report=judge_version(store, second), who="ada")
    assert follow_once(store, CHAMPION, directory, policy=policy).bundle.version == second


def test_the_candidate_can_be_followed_before_any_promotion(store: ModelStore, directory: Path, tmp_path: Path) -> None:
    store.register_bundle(build_tiny_bundle(tmp_path / "b"))

    followed = follow_once(store, CANDIDATE, directory)

    assert followed.bundle.promotion is not None
    assert followed.bundle.promotion.promotion == "none"


def test_an_alias_that_is_not_set_is_one_line_and_leaves_nothing_to_serve(store: ModelStore, directory: Path) -> None:
    with pytest.raises(RegistryError, match="alias 'champion' of model synspect is not set"):
        follow_once(store, CHAMPION, directory)
    assert not (directory / "current").exists()


def test_a_changed_byte_never_reaches_the_served_directory(store: ModelStore, directory: Path, tmp_path: Path) -> None:
    make_champion(store, tmp_path, 1)
    follow_once(store, CHAMPION, directory)
    make_champion(store, tmp_path, 2)
    (card,) = [path for path in (tmp_path / "mlartifacts").rglob("bundle/card.md") if path.read_text() == "# 2\n"]
    card.write_text("# 3\n")

    with pytest.raises(BundleError, match=r"card\.md has sha256"):
        follow_once(store, CHAMPION, directory)

    assert load_bundle(directory).version == "1"
    assert [path.name for path in (directory / "versions").iterdir() if path.name.startswith(".")] == []


def test_what_was_broken_on_disk_is_fetched_again(store: ModelStore, directory: Path, tmp_path: Path) -> None:
    make_champion(store, tmp_path, 1)
    follow_once(store, CHAMPION, directory)
    (directory / "current" / "bundle" / "card.md").write_text("broken")

    assert follow_once(store, CHAMPION, directory).changed
    assert load_bundle(directory).card == "# 1\n"


def test_the_last_three_versions_are_kept(store: ModelStore, directory: Path, tmp_path: Path) -> None:
    for number in range(1, 6):
        make_champion(store, tmp_path, number)
        follow_once(store, CHAMPION, directory)

    assert kept_versions(directory) == ["3", "4", "5"]


def test_a_version_that_cannot_be_served_never_reaches_the_directory(
    store: ModelStore, directory: Path, tmp_path: Path
) -> None:
    """Its digests are right and its graph opens; what it makes is out of range, or its profile says nothing."""
    make_champion(store, tmp_path, 1)
    follow_once(store, CHAMPION, directory)
    for name, broken in {"profile": {"profile": b"{}"}, "range": {"graph": unbounded_graph()}}.items():
        bundle = build_tiny_bundle(tmp_path / name, **broken)
        store.set_alias(CHAMPION, store.register_bundle(bundle))

        with pytest.raises((BundleError, InvalidOutputError), match=r"profile cannot be used|out of range"):
            follow_once(store, CHAMPION, directory)
        assert load_bundle(directory).version == "1"
