"""A followed directory always holds one whole, verified pair, whatever happens to the registry or the follower."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from registry.bundle.directory import Bundle, load_bundle
from registry.bundle.hold import remove_unless_held
from registry.bundle.promotion_note import PromotionNote
from registry.bundle.served_model import ServedModel, open_model
from registry.follow import Follower, compute_pause, follow, follow_once, stopped_by_signals
from registry.follow_metrics import FAILURE_REASONS, FollowMetrics
from registry.followed_directory import FollowedDirectory
from registry.policy import load_policy
from registry.promotion import judge_version, promote, rollback
from registry.store.facts import CANDIDATE, CHAMPION, VersionFacts
from registry.store.model_store import ModelStore
from spect.errors import AdmissionError, BundleError, FollowError, InvalidOutputError, RegistryError
from tests.support.follower_process import run_follower, serving_process
from tests.support.tiny_bundle import build_tiny_bundle, unbounded_graph


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


def _kept(directory: Path) -> list[str]:
    return sorted(path.name.split("-")[0] for path in (directory / "versions").iterdir())


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
    second = store.register_bundle(build_tiny_bundle(tmp_path / "second"))
    store.set_alias(CHAMPION, second)

    followed = follow_once(store, CHAMPION, directory)

    assert followed.bundle.promotion is not None
    assert (followed.bundle.version, followed.bundle.promotion.promotion) == (second, "outside")


def test_a_champion_set_by_hand_is_not_followed_where_the_policy_requires_gates(
    store: ModelStore, directory: Path, tmp_path: Path
) -> None:
    policy = load_policy().model_copy(update={"require_gates": True})
    _champion(store, tmp_path, 1)
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

    assert _kept(directory) == ["3", "4", "5"]


@pytest.mark.parametrize("step", ["download", "switch", "prune"])
def test_a_follower_killed_at_any_step_can_be_repeated(
    store: ModelStore, directory: Path, tmp_path: Path, step: str
) -> None:
    _champion(store, tmp_path, 1)
    follow_once(store, CHAMPION, directory)
    _champion(store, tmp_path, 2)

    killed = run_follower(store.uri, directory, "die", step)

    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert load_bundle(directory).version == ("2" if step == "prune" else "1")
    assert follow_once(store, CHAMPION, directory).bundle.version == "2"
    assert not [path for path in (directory / "versions").iterdir() if path.name.startswith(".incoming-")]
    assert sorted(path.name for path in directory.iterdir()) == [".lock", "current", "versions"]


def test_a_full_disk_is_one_line_and_the_directory_keeps_what_it_had(
    store: ModelStore, directory: Path, tmp_path: Path
) -> None:
    """The kernel's limit on a file's size fails a write as a full disk does."""
    _champion(store, tmp_path, 1)
    follow_once(store, CHAMPION, directory)
    _champion(store, tmp_path, 2)

    said = run_follower(store.uri, directory, "limit", str(64 * 1024))

    assert said.stdout.startswith(f"FollowError: {directory} cannot be kept (File too large); make it a directory that")
    assert load_bundle(directory).version == "1"
    assert len(list((directory / "versions").iterdir())) == 1
    assert follow_once(store, CHAMPION, directory).bundle.version == "2"


def test_a_directory_that_cannot_be_written_is_one_line(store: ModelStore, tmp_path: Path) -> None:
    _champion(store, tmp_path, 1)
    (tmp_path / "file").write_text("mine")

    with pytest.raises(FollowError, match=r"file/followed cannot be kept \(Not a directory\); make it a directory"):
        follow_once(store, CHAMPION, tmp_path / "file" / "followed")


@pytest.mark.parametrize("name", ["current", "versions"])
def test_what_lies_where_a_follower_would_write_is_not_touched(
    store: ModelStore, directory: Path, tmp_path: Path, name: str
) -> None:
    _champion(store, tmp_path, 1)
    directory.mkdir()
    (directory / name).write_text("mine")

    with pytest.raises(FollowError, match=f"{name} is no"):
        follow_once(store, CHAMPION, directory)
    assert (directory / name).read_text() == "mine"


def test_a_lock_file_that_leads_elsewhere_is_not_followed(store: ModelStore, directory: Path, tmp_path: Path) -> None:
    _champion(store, tmp_path, 1)
    directory.mkdir()
    (tmp_path / "precious").write_text("mine")
    (directory / ".lock").symlink_to(tmp_path / "precious")

    with pytest.raises(FollowError, match="cannot be kept"):
        follow_once(store, CHAMPION, directory)
    assert (tmp_path / "precious").read_text() == "mine"


def test_links_among_the_versions_are_removed_and_never_what_they_lead_to(
    store: ModelStore, directory: Path, tmp_path: Path
) -> None:
    _champion(store, tmp_path, 1)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "data").write_text("mine")
    (directory / "versions").mkdir(parents=True)
    for name in (".incoming-0", "a", "b", "c", "d"):
        (directory / "versions" / name).symlink_to(precious)

    follow_once(store, CHAMPION, directory)

    assert load_bundle(directory).version == "1"
    assert (precious / "data").read_text() == "mine"
    assert not (directory / "versions" / ".incoming-0").is_symlink()


def test_a_current_link_that_leads_out_of_the_directory_is_set_right(
    store: ModelStore, directory: Path, tmp_path: Path
) -> None:
    _champion(store, tmp_path, 1)
    follow_once(store, CHAMPION, directory)
    outside = shutil.copytree((directory / "current").resolve(), tmp_path / "outside")
    (directory / "current").unlink()
    (directory / "current").symlink_to(outside)

    assert follow_once(store, CHAMPION, directory).changed
    assert (directory / "current").resolve().parent == (directory / "versions").resolve()


def test_a_pair_that_a_server_holds_is_kept_until_it_lets_go(
    store: ModelStore, directory: Path, tmp_path: Path
) -> None:
    _champion(store, tmp_path, 1)
    follow_once(store, CHAMPION, directory)
    served: ServedModel | None = open_model(directory, threads=1)
    for number in range(2, 6):
        _champion(store, tmp_path, number)
        follow_once(store, CHAMPION, directory)
    assert _kept(directory) == ["1", "3", "4", "5"]

    assert served is not None
    assert served.version == "1"
    del served
    _champion(store, tmp_path, 6)
    follow_once(store, CHAMPION, directory)

    assert _kept(directory) == ["4", "5", "6"]


def test_a_pair_that_another_process_serves_is_kept_until_that_process_is_killed(
    store: ModelStore, directory: Path, tmp_path: Path
) -> None:
    _champion(store, tmp_path, 1)
    pair = Path(follow_once(store, CHAMPION, directory).bundle.path).parent
    with serving_process(directory) as server:
        assert not remove_unless_held(pair)
        assert load_bundle(pair).version == "1"
        server.kill()
        server.wait()
        assert remove_unless_held(pair)
    assert not pair.exists()


def test_a_broken_pair_in_use_is_replaced_by_another_and_not_changed(
    store: ModelStore, directory: Path, tmp_path: Path
) -> None:
    _champion(store, tmp_path, 1)
    follow_once(store, CHAMPION, directory)
    served = open_model(directory, threads=1)
    before = (directory / "current").resolve()
    (before / "bundle" / "card.md").write_text("broken")

    assert follow_once(store, CHAMPION, directory).changed
    assert served.version == "1"
    assert before.is_dir()
    assert (directory / "current").resolve() != before


def test_the_order_of_use_survives_a_clock_that_was_set_back(
    store: ModelStore, directory: Path, tmp_path: Path
) -> None:
    _champion(store, tmp_path, 1)
    follow_once(store, CHAMPION, directory)
    ahead = time.time() + 86_400
    os.utime((directory / "current").resolve(), (ahead, ahead))  # written while the clock was a day ahead

    for number in range(2, 5):
        _champion(store, tmp_path, number)
        follow_once(store, CHAMPION, directory)

    assert _kept(directory) == ["2", "3", "4"]


def test_a_version_that_cannot_be_served_never_reaches_the_directory(
    store: ModelStore, directory: Path, tmp_path: Path
) -> None:
    """Its digests are right and its graph opens; what it makes is out of range, or its profile says nothing."""
    _champion(store, tmp_path, 1)
    follow_once(store, CHAMPION, directory)
    for name, broken in {"profile": {"profile": b"{}"}, "range": {"graph": unbounded_graph()}}.items():
        bundle = build_tiny_bundle(tmp_path / name, **broken)
        store.set_alias(CHAMPION, store.register_bundle(bundle))

        with pytest.raises((BundleError, InvalidOutputError), match=r"profile cannot be used|out of range"):
            follow_once(store, CHAMPION, directory)
        assert load_bundle(directory).version == "1"


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
        FollowedDirectory(directory).switch(pairs[turn % 2])
    stop.set()
    reader.join()

    assert len(pairs) == 2
    assert not missing


def test_two_followers_of_one_directory_do_not_meet(store: ModelStore, directory: Path, tmp_path: Path) -> None:
    _champion(store, tmp_path, 1)
    with (
        FollowedDirectory(directory).locked(),
        pytest.raises(FollowError, match="another process follows into"),
    ):
        follow_once(store, CHAMPION, directory)
    assert follow_once(store, CHAMPION, directory).changed


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

    _champion(store, tmp_path, 1)
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
    _champion(store, tmp_path, 1)
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
    refused: tuple[CountingStore, Follower], store: ModelStore
) -> None:
    counting, follower = refused
    promote(store, "2", report=judge_version(store, "2"), override="look again", who="ada")
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


def test_the_version_before_is_no_longer_told() -> None:
    metrics = FollowMetrics()
    for version in ("1", "2"):
        metrics.set_version(CHAMPION, PromotionNote(version=version, promotion="gates"))

    told = [name for name in _read(metrics) if name.startswith("synspect_follow_version_info")]
    assert told == ['synspect_follow_version_info{alias="champion",promotion="gates",version="2"}']


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
