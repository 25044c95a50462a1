"""A followed directory always holds one whole, verified pair, whatever happens to the registry or the follower."""

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import registry.follow
from registry.bundle.directory import Bundle, load_bundle
from registry.follow import compute_pause, follow, follow_once, stopped_by_signals
from registry.promotion import judge_version, promote, rollback
from registry.store import CANDIDATE, CHAMPION, ModelStore
from spect.errors import BundleError, RegistryError
from tests.support.tiny_bundle import build_tiny_bundle


@pytest.fixture
def store(mlflow_uri: str) -> ModelStore:
    return ModelStore(mlflow_uri)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "followed"


def _champion(store: ModelStore, directory: Path, number: int) -> Bundle:
    bundle = build_tiny_bundle(directory / f"b{number}", card=f"# {number}\n")
    version = store.register_bundle(bundle)
    promote(store, version, report=judge_version(store, version), who="ada")
    return bundle


def test_the_champion_arrives_with_its_promotion(store: ModelStore, directory: Path, tmp_path: Path) -> None:
    bundle = _champion(store, tmp_path, 1)

    followed = follow_once(store, CHAMPION, directory)

    assert followed.changed
    assert followed.bundle.manifest_sha256 == bundle.manifest_sha256
    served = load_bundle(directory)
    assert served.version == "1"
    assert served.promotion is not None
    assert (served.promotion.promotion, served.promotion.who) == ("gates", "ada")
    assert (directory / "current").is_symlink()


def test_nothing_is_touched_while_nothing_changes(store: ModelStore, directory: Path, tmp_path: Path) -> None:
    _champion(store, tmp_path, 1)
    follow_once(store, CHAMPION, directory)
    before = (directory / "current").lstat()

    assert not follow_once(store, CHAMPION, directory).changed
    after = (directory / "current").lstat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_new_champion_and_a_rollback_are_followed(store: ModelStore, directory: Path, tmp_path: Path) -> None:
    _champion(store, tmp_path, 1)
    follow_once(store, CHAMPION, directory)
    _champion(store, tmp_path, 2)
    assert follow_once(store, CHAMPION, directory).bundle.version == "2"

    rollback(store)

    assert follow_once(store, CHAMPION, directory).bundle.version == "1"


def test_an_override_after_the_fact_changes_the_note_alone(store: ModelStore, directory: Path, tmp_path: Path) -> None:
    _champion(store, tmp_path, 1)
    follow_once(store, CHAMPION, directory)
    second = store.register_bundle(build_tiny_bundle(tmp_path / "second", card="# second\n"))
    store.set_alias(CHAMPION, second)

    followed = follow_once(store, CHAMPION, directory)

    assert followed.bundle.promotion is not None
    assert (followed.bundle.version, followed.bundle.promotion.promotion) == (second, "outside")


def test_the_candidate_can_be_followed_before_any_promotion(
    store: ModelStore, directory: Path, tiny_bundle: Bundle
) -> None:
    store.register_bundle(tiny_bundle)

    followed = follow_once(store, CANDIDATE, directory)

    assert followed.bundle.promotion is not None
    assert followed.bundle.promotion.promotion == "none"


def test_an_alias_that_is_not_set_is_one_line_and_leaves_nothing_to_serve(store: ModelStore, directory: Path) -> None:
    with pytest.raises(RegistryError, match="alias 'champion' of model synspect is not set"):
        follow_once(store, CHAMPION, directory)
    assert not (directory / "current").exists()


def test_a_changed_byte_never_reaches_the_served_directory(store: ModelStore, directory: Path, tmp_path: Path) -> None:
    _champion(store, tmp_path, 1)
    follow_once(store, CHAMPION, directory)
    _champion(store, tmp_path, 2)
    (card,) = [path for path in (tmp_path / "mlartifacts").rglob("bundle/card.md") if path.read_text() == "# 2\n"]
    card.write_text("# 3\n")

    with pytest.raises(BundleError, match=r"card\.md has sha256"):
        follow_once(store, CHAMPION, directory)

    assert load_bundle(directory).version == "1"
    assert [path.name for path in (directory / "versions").iterdir() if path.name.startswith(".")] == []


def test_what_was_broken_on_disk_is_fetched_again(store: ModelStore, directory: Path, tmp_path: Path) -> None:
    _champion(store, tmp_path, 1)
    follow_once(store, CHAMPION, directory)
    (directory / "current" / "bundle" / "card.md").write_text("broken")

    assert follow_once(store, CHAMPION, directory).changed
    assert load_bundle(directory).card == "# 1\n"


def test_the_last_three_versions_are_kept(store: ModelStore, directory: Path, tmp_path: Path) -> None:
    for number in range(1, 6):
        _champion(store, tmp_path, number)
        follow_once(store, CHAMPION, directory)

    kept = sorted(path.name.split("-")[0] for path in (directory / "versions").iterdir())
    assert kept == ["3", "4", "5"]


class Cut(Exception):  # noqa: N818 — stands for a killed process, not for an error of ours
    """The process dies here."""


@pytest.mark.parametrize("step", ["save_promotion_note", "_switch", "_prune"])
def test_a_follower_killed_between_two_steps_can_be_repeated(
    store: ModelStore, directory: Path, tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _champion(store, tmp_path, 1)
    follow_once(store, CHAMPION, directory)
    _champion(store, tmp_path, 2)

    def die(*_: object) -> None:
        raise Cut

    with monkeypatch.context() as patched:
        patched.setattr(registry.follow, step, die)
        with pytest.raises(Cut):
            follow_once(store, CHAMPION, directory)

    assert load_bundle(directory).version == ("2" if step == "_prune" else "1")
    assert follow_once(store, CHAMPION, directory).bundle.version == "2"


def test_a_reader_never_finds_the_link_missing_or_broken(store: ModelStore, directory: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        _champion(store, tmp_path, number)
    follow_once(store, CHAMPION, directory)
    rollback(store)
    follow_once(store, CHAMPION, directory)
    pairs = list((directory / "versions").iterdir())
    stop, missing = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            if not (directory / "current" / "bundle" / "manifest.json").exists():
                missing.append(1)

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(500):
        registry.follow._switch(directory, pairs[turn % 2])
    stop.set()
    reader.join()

    assert len(pairs) == 2
    assert not missing


def test_two_followers_of_one_directory_do_not_meet(store: ModelStore, directory: Path, tmp_path: Path) -> None:
    _champion(store, tmp_path, 1)
    with registry.follow._locked(directory), pytest.raises(RegistryError, match="another process follows into"):
        follow_once(store, CHAMPION, directory)


def test_a_registry_that_is_away_never_ends_a_follower(store: ModelStore, directory: Path, tmp_path: Path) -> None:
    _champion(store, tmp_path, 1)
    stop = threading.Event()
    outcomes = iter(["away", "away", "there", "end"])

    def open_store() -> ModelStore:
        outcome = next(outcomes)
        if outcome == "away":
            raise RegistryError("MLflow is away")
        stop_soon.start()
        return store

    stop_soon = threading.Timer(0.5, stop.set)
    follow(open_store, CHAMPION, directory, stop=stop, interval_seconds=0.01)

    assert load_bundle(directory).version == "1"


def test_pauses_double_after_failures_up_to_five_minutes() -> None:
    pauses = [compute_pause(10, failures) for failures in (0, 1, 3, 50)]

    for pause, expected in zip(pauses, (10, 20, 80, 300), strict=True):
        assert 0.8 * expected <= pause <= 1.2 * expected


@pytest.fixture
def _signals_as_before() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.usefixtures("_signals_as_before")
def test_sigterm_ends_a_follower_between_two_looks(store: ModelStore, directory: Path, tmp_path: Path) -> None:
    _champion(store, tmp_path, 1)
    with stopped_by_signals() as stop:
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
        follow(lambda: store, CHAMPION, directory, stop=stop, interval_seconds=60)

    assert load_bundle(directory).version == "1"


def test_leftovers_of_a_killed_download_are_removed(store: ModelStore, directory: Path, tmp_path: Path) -> None:
    _champion(store, tmp_path, 1)
    leftover = directory / "versions" / ".incoming-0000"
    leftover.mkdir(parents=True)
    shutil.copy(__file__, leftover)

    follow_once(store, CHAMPION, directory)

    assert not leftover.exists()
