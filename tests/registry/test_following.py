"""The loop that follows: what it counts and says, what it refuses, how it pauses and ends."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from registry.bundle.directory import Bundle, load_bundle
from registry.bundle.promotion_note import PromotionNote
from registry.follow import Follower, compute_pause, follow, follow_once, stopped_by_signals
from registry.follow_metrics import FAILURE_REASONS, FollowMetrics
from registry.followed_directory import FollowedDirectory
from registry.gates import judge_bundle
from registry.policy import load_policy
from registry.promotion import promote
from registry.store.facts import CHAMPION, VersionFacts
from registry.store.model_store import ModelStore
from spect.errors import AdmissionError, BundleError, InvalidOutputError, RegistryError
from tests.support.registered import make_champion
from tests.support.tiny_bundle import build_tiny_bundle, unbounded_graph


def _read(metrics: FollowMetrics) -> dict[str, float]:
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in generate_latest(metrics.registry).decode().splitlines()
        if not line.startswith("#") and "_created" not in line
    }


def test_every_series_is_there_before_anything_happened() -> None:
    assert _read(FollowMetrics()) == {
        "synspect_follow_last_success_timestamp_seconds": 0,
        "synspect_follow_switches_total": 0,
        **{f'synspect_follow_failures_total{{reason="{reason}"}}': 0 for reason in FAILURE_REASONS},
    }


def test_failures_are_counted_by_their_reason_and_a_success_says_what_is_held(
    store: ModelStore, directory: Path, tmp_path: Path
) -> None:
    metrics, stop = FollowMetrics(), threading.Event()
    looks = iter(["away", "by hand", "open", "broken", "taken", "there"])

    def open_store() -> ModelStore:
        look = next(looks)
        if look == "away":
            raise RegistryError("MLflow is away")
        if look == "by hand":
            raise AdmissionError("set by hand")
        return LookingStore(store.uri)

    class LookingStore(ModelStore):
        def download(self, version: str, directory: Path) -> Bundle:
            look = next(looks)
            if look == "broken":
                self.tag_version(version, "mended", "yes")  # else it would not be fetched again
                raise BundleError("broken")
            if look == "taken":
                raise OSError(28, "No space left on device")
            stop.set()
            return super().download(version, directory)

    make_champion(store, tmp_path, 1)
    before = time.time()
    follow(open_store, CHAMPION, directory, stop=stop, interval_seconds=0.01, metrics=metrics)

    read = _read(metrics)
    for reason in FAILURE_REASONS:
        assert read[f'synspect_follow_failures_total{{reason="{reason}"}}'] == 1
    assert read['synspect_follow_version_info{alias="champion",promotion="gates",version="1"}'] == 1
    assert read["synspect_follow_switches_total"] == 1
    assert before - 1 <= read["synspect_follow_last_success_timestamp_seconds"] <= time.time()


class CountingStore(ModelStore):
    """Counts what is fetched."""

    fetched = 0

    def download(self, version: str, directory: Path) -> Bundle:
        self.fetched += 1
        return super().download(version, directory)


@pytest.fixture
def refused(store: ModelStore, directory: Path, tmp_path: Path) -> tuple[CountingStore, Follower]:
    """A directory that holds version 1, and a follower that has just refused version 2, which makes counts too high."""
    make_champion(store, tmp_path, 1)
    counting = CountingStore(store.uri)
    follower = Follower(counting, CHAMPION, directory)
    follower.look()
    store.set_alias(CHAMPION, store.register_bundle(build_tiny_bundle(tmp_path / "bad", graph=unbounded_graph())))
    with pytest.raises(InvalidOutputError, match="out of range"):
        follower.look()
    assert counting.fetched == 2
    return counting, follower


def test_a_refused_version_is_not_fetched_again(refused: tuple[CountingStore, Follower], directory: Path) -> None:
    counting, follower = refused

    with pytest.raises(InvalidOutputError, match="out of range"):
        follower.look()

    assert counting.fetched == 2
    assert load_bundle(directory).version == "1"


def test_a_refused_version_is_fetched_again_when_its_tags_change(refused: tuple[CountingStore, Follower]) -> None:
    counting, follower = refused
    counting.tag_version("2", "mended", "yes")

    for _ in range(2):
        with pytest.raises(InvalidOutputError, match="out of range"):
            follower.look()

    assert counting.fetched == 3


def test_a_refused_version_is_fetched_again_when_the_alias_is_set_anew(
    refused: tuple[CountingStore, Follower], store: ModelStore, tmp_path: Path
) -> None:
    counting, follower = refused
    report = judge_bundle(load_policy(), load_bundle(tmp_path / "bad"))
    promote(store, "2", report=report, override="look again", who="ada")
    with pytest.raises(InvalidOutputError, match="out of range"):
        follower.look()
    assert counting.fetched == 3

    store.set_alias(CHAMPION, "1")
    assert follower.look().bundle.version == "1"
    store.set_alias(CHAMPION, "2")
    with pytest.raises(InvalidOutputError, match="out of range"):
        follower.look()
    assert counting.fetched >= 4


def test_a_refused_version_is_said_once_and_counted_at_each_look(
    store: ModelStore, directory: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.set_alias(CHAMPION, store.register_bundle(build_tiny_bundle(tmp_path / "bad", graph=unbounded_graph())))
    metrics, stop = FollowMetrics(), threading.Event()

    class LookedAtStore(ModelStore):
        looks = 0

        def find_version(self, version: str) -> VersionFacts:
            self.looks += 1
            if self.looks == 6:  # the first look asks twice: what the tags are, and to fetch
                stop.set()
            return super().find_version(version)

    follow(lambda: LookedAtStore(store.uri), CHAMPION, directory, stop=stop, interval_seconds=0.001, metrics=metrics)

    assert _read(metrics)['synspect_follow_failures_total{reason="bundle"}'] == 5
    assert caplog.text.count("keeps what it has") == 1


def test_what_a_directory_holds_is_told_while_the_registry_is_away(
    store: ModelStore, directory: Path, tmp_path: Path
) -> None:
    make_champion(store, tmp_path, 1)
    follow_once(store, CHAMPION, directory)
    metrics, stop = FollowMetrics(), threading.Event()

    def open_store() -> ModelStore:
        stop.set()
        raise RegistryError("MLflow is away")

    follow(open_store, CHAMPION, directory, stop=stop, interval_seconds=0.01, metrics=metrics)

    read = _read(metrics)
    assert read['synspect_follow_version_info{alias="champion",promotion="gates",version="1"}'] == 1
    assert read["synspect_follow_last_success_timestamp_seconds"] == 0


def test_a_directory_whose_bundle_is_broken_holds_nothing_that_could_be_told(
    store: ModelStore, directory: Path, tmp_path: Path
) -> None:
    make_champion(store, tmp_path, 1)
    follow_once(store, CHAMPION, directory)
    (directory / "current" / "bundle" / "card.md").write_text("changed")

    assert FollowedDirectory(directory).find_held() is None


def test_the_version_before_is_no_longer_told() -> None:
    metrics = FollowMetrics()
    for version in ("1", "2"):
        metrics.set_version(CHAMPION, PromotionNote(version=version, promotion="gates"))

    told = [name for name in _read(metrics) if name.startswith("synspect_follow_version_info")]
    assert told == ['synspect_follow_version_info{alias="champion",promotion="gates",version="2"}']


def test_a_registry_that_is_away_never_ends_a_follower(store: ModelStore, directory: Path, tmp_path: Path) -> None:
    make_champion(store, tmp_path, 1)
    stop = threading.Event()
    outcomes = iter(["away", "away", "there"])

    class StoppingStore(ModelStore):
        def download(self, version: str, directory: Path) -> Bundle:
            stop.set()  # the look that is under way is the last one
            return super().download(version, directory)

    def open_store() -> ModelStore:
        if next(outcomes) == "away":
            raise RegistryError("MLflow is away")
        return StoppingStore(store.uri)

    follow(open_store, CHAMPION, directory, stop=stop, interval_seconds=0.01)

    assert list(outcomes) == []
    assert load_bundle(directory).version == "1"


def test_a_second_follower_waits_until_the_first_has_ended(store: ModelStore, directory: Path, tmp_path: Path) -> None:
    make_champion(store, tmp_path, 1)
    first = Follower(store, CHAMPION, directory)
    first.look()
    metrics, stop = FollowMetrics(), threading.Event()
    told: list[float] = []

    class WatchedStore(ModelStore):
        def find_version(self, version: str) -> VersionFacts:
            stop.set()  # the registry is asked, so that the directory is free
            told.append(_read(metrics)['synspect_follow_failures_total{reason="directory"}'])
            return super().find_version(version)

    threading.Timer(0.2, first.close).start()
    follow(lambda: WatchedStore(store.uri), CHAMPION, directory, stop=stop, interval_seconds=0.01, metrics=metrics)

    assert told[0] > 0
    assert _read(metrics)["synspect_follow_last_success_timestamp_seconds"] > 0


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
    make_champion(store, tmp_path, 1)

    class SignalledStore(ModelStore):
        def download(self, version: str, directory: Path) -> Bundle:
            os.kill(os.getpid(), signal.SIGTERM)
            return super().download(version, directory)

    with stopped_by_signals() as stop:
        follow(lambda: SignalledStore(store.uri), CHAMPION, directory, stop=stop, interval_seconds=3600)

    assert load_bundle(directory).version == "1"
