"""A followed directory holds one whole pair whatever happens: kills, a full disk, stray links, servers that hold it."""

import itertools
import os
import shutil
import signal
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from registry.bundle.directory import Bundle, load_bundle
from registry.bundle.hold import remove_unless_held
from registry.bundle.served_model import ServedModel, open_model
from registry.follow import Follower, follow_once
from registry.followed_directory import FollowedDirectory
from registry.promotion import rollback
from registry.store.facts import CHAMPION
from registry.store.model_store import ModelStore
from spect.errors import ConfigurationError, FollowError
from tests.support.followed_directory import kept_versions
from tests.support.follower_process import run_follower, serving_process
from tests.support.registered import make_champion


@pytest.mark.parametrize("step", ["download", "switch", "prune"])
def test_a_follower_killed_at_any_step_can_be_repeated(
    store: ModelStore, directory: Path, tmp_path: Path, step: str
) -> None:
    make_champion(store, tmp_path, 1)
    follow_once(store, CHAMPION, directory)
    make_champion(store, tmp_path, 2)

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
    make_champion(store, tmp_path, 1)
    follow_once(store, CHAMPION, directory)
    make_champion(store, tmp_path, 2)

    said = run_follower(store.uri, directory, "limit", str(64 * 1024))

    assert said.stdout.startswith(f"FollowError: {directory} cannot be kept (File too large); make it a directory that")
    assert load_bundle(directory).version == "1"
    assert len(list((directory / "versions").iterdir())) == 1
    assert follow_once(store, CHAMPION, directory).bundle.version == "2"


def test_a_directory_that_cannot_be_written_is_one_line(store: ModelStore, tmp_path: Path) -> None:
    make_champion(store, tmp_path, 1)

    with pytest.raises(FollowError, match=r"/proc/followed cannot be kept \(No such file .*\); make it a directory"):
        follow_once(store, CHAMPION, Path("/proc/followed"))


@pytest.mark.parametrize("name", ["current", "versions"])
def test_what_lies_where_a_follower_would_write_is_not_touched(
    store: ModelStore, directory: Path, tmp_path: Path, name: str
) -> None:
    make_champion(store, tmp_path, 1)
    directory.mkdir()
    (directory / name).write_text("mine")

    with pytest.raises(FollowError, match=f"{name} is no"):
        follow_once(store, CHAMPION, directory)
    assert (directory / name).read_text() == "mine"


def test_a_lock_file_that_leads_elsewhere_is_not_followed(store: ModelStore, directory: Path, tmp_path: Path) -> None:
    make_champion(store, tmp_path, 1)
    directory.mkdir()
    (tmp_path / "precious").write_text("mine")
    (directory / ".lock").symlink_to(tmp_path / "precious")

    with pytest.raises(FollowError, match="cannot be kept"):
        follow_once(store, CHAMPION, directory)
    assert (tmp_path / "precious").read_text() == "mine"


def test_links_among_the_versions_are_removed_and_never_what_they_lead_to(
    store: ModelStore, directory: Path, tmp_path: Path
) -> None:
    make_champion(store, tmp_path, 1)
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
    make_champion(store, tmp_path, 1)
    follow_once(store, CHAMPION, directory)
    outside = shutil.copytree((directory / "current").resolve(), tmp_path / "outside")
    (directory / "current").unlink()
    (directory / "current").symlink_to(outside)

    assert follow_once(store, CHAMPION, directory).changed
    assert (directory / "current").resolve().parent == (directory / "versions").resolve()


def test_a_pair_that_a_server_holds_is_kept_until_it_lets_go(
    store: ModelStore, directory: Path, tmp_path: Path
) -> None:
    make_champion(store, tmp_path, 1)
    follow_once(store, CHAMPION, directory)
    served: ServedModel | None = open_model(directory, threads=1)
    for number in range(2, 6):
        make_champion(store, tmp_path, number)
        follow_once(store, CHAMPION, directory)
    assert kept_versions(directory) == ["1", "3", "4", "5"]

    assert served is not None
    assert served.version == "1"
    del served
    make_champion(store, tmp_path, 6)
    follow_once(store, CHAMPION, directory)

    assert kept_versions(directory) == ["4", "5", "6"]


def test_a_pair_that_another_process_serves_is_kept_until_that_process_is_killed(
    store: ModelStore, directory: Path, tmp_path: Path
) -> None:
    make_champion(store, tmp_path, 1)
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
    make_champion(store, tmp_path, 1)
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
    make_champion(store, tmp_path, 1)
    follow_once(store, CHAMPION, directory)
    ahead = time.time() + 86_400
    os.utime((directory / "current").resolve(), (ahead, ahead))  # written while the clock was a day ahead

    for number in range(2, 5):
        make_champion(store, tmp_path, number)
        follow_once(store, CHAMPION, directory)

    assert kept_versions(directory) == ["2", "3", "4"]


def test_a_reader_never_finds_the_link_missing_or_broken(store: ModelStore, directory: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        make_champion(store, tmp_path, number)
    follow_once(store, CHAMPION, directory)
    rollback(store)
    follow_once(store, CHAMPION, directory)
    pairs = list((directory / "versions").iterdir())
    stop, looked_often, missing = threading.Event(), threading.Event(), []

    def read() -> None:
        for look in itertools.count():
            if stop.is_set():
                return
            if look == 1000:
                looked_often.set()
            if not (directory / "current" / "bundle" / "manifest.json").exists():
                missing.append(1)

    reader = threading.Thread(target=read)
    reader.start()
    turn = 0
    while turn < 500 or not looked_often.is_set():
        FollowedDirectory(directory).switch(pairs[turn % 2])
        turn += 1
    stop.set()
    reader.join()

    assert len(pairs) == 2
    assert not missing


def test_a_follower_keeps_others_out_for_as_long_as_it_lives(
    store: ModelStore, directory: Path, tmp_path: Path
) -> None:
    make_champion(store, tmp_path, 1)
    other = ModelStore(store.uri, name="other")
    make_champion(other, tmp_path, 2)
    with closing(Follower(store, CHAMPION, directory)) as follower:
        follower.look()
        with pytest.raises(FollowError, match=f"another process follows into {directory}; stop it or choose another"):
            follow_once(other, CHAMPION, directory)
        assert not follower.look().changed
    assert load_bundle(directory).card == "# 1\n"

    assert follow_once(other, CHAMPION, directory).changed
    assert follow_once(store, CHAMPION, directory).changed


def test_a_directory_that_was_removed_under_its_follower_is_taken_anew(
    store: ModelStore, directory: Path, tmp_path: Path
) -> None:
    make_champion(store, tmp_path, 1)
    with closing(Follower(store, CHAMPION, directory)) as follower:
        follower.look()
        shutil.rmtree(directory)

        assert follower.look().changed
        with pytest.raises(FollowError, match="another process follows into"):
            follow_once(store, CHAMPION, directory)


def test_leftovers_of_a_killed_download_are_removed(store: ModelStore, directory: Path, tmp_path: Path) -> None:
    make_champion(store, tmp_path, 1)
    leftover = directory / "versions" / ".incoming-0000"
    leftover.mkdir(parents=True)
    shutil.copy(__file__, leftover)

    follow_once(store, CHAMPION, directory)

    assert not leftover.exists()


@pytest.mark.parametrize("kind", ["a bundle", "a pair"])
def test_a_released_bundle_is_no_place_to_follow_into(
    store: ModelStore, tiny_bundle: Bundle, tmp_path: Path, kind: str
) -> None:
    place = tmp_path / "released"
    shutil.copytree(tiny_bundle.path, place if kind == "a bundle" else place / "bundle")
    before = sorted(place.rglob("*"))

    with pytest.raises(ConfigurationError, match="is a bundle, which never changes; name a new directory"):
        follow_once(store, CHAMPION, place)

    assert sorted(place.rglob("*")) == before
