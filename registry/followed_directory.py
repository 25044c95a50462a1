"""A followed directory on disk: pairs that never change, a link that is switched in one step, one follower at a time.

DIR/versions/<name>/ holds a pair, `bundle/` and `promotion.json`; DIR/current is a symbolic link to one of them.
Servers read through the link and need neither MLflow nor a follower.
"""

import fcntl
import logging
import os
import shutil
import time
import uuid
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from registry.bundle.directory import BUNDLE_NAME, CURRENT_NAME, Bundle, load_bundle
from registry.bundle.hold import remove_unless_held
from registry.bundle.manifest import MANIFEST_NAME
from registry.bundle.promotion_note import PromotionNote
from spect.errors import BundleError, ConfigurationError, FollowError

log = logging.getLogger(__name__)

VERSIONS_NAME = "versions"
KEPT_PAIRS = 3
_LOCK_NAME = ".lock"
_INCOMING = ".incoming-"


class FollowedDirectory:
    """The directory that one follower keeps and any number of servers read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.versions = path / VERSIONS_NAME
        self._current = path / CURRENT_NAME
        self._lock: _Lock | None = None

    def take(self) -> None:
        """Make the directory where it is not there, and keep other followers out of it until `close`.

        The lock ends with the process however that ends. To take it again changes nothing.

        Raises
        ------
        FollowError
            Another follower has it, or something else lies where its files would go.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        if self._lock is None or not self._lock.is_at(self.path / _LOCK_NAME):  # somebody may have removed it all
            self.close()
            self._lock = _Lock(self.path / _LOCK_NAME)
        self._check_place()

    def close(self) -> None:
        """Let other followers have it."""
        if self._lock is not None:
            self._lock.release()
        self._lock = None

    def load_current(self) -> Bundle | None:
        """Return what the link leads to, verified; None where there is nothing, or nothing that may be served."""
        try:
            return self._load_linked()
        except BundleError as error:
            log.warning("what %s holds is fetched again: %s", self.path, error)
            return None

    def find_held(self) -> PromotionNote | None:
        """Return how what servers read here became champion; None where they can read nothing."""
        try:
            held = self._load_linked()
        except (BundleError, OSError):  # the first look says what is wrong, and mends it
            return None
        return held.promotion if held is not None else None

    def find_pair(self, name: str, note: PromotionNote, manifest_sha256: str) -> Path | None:
        """Return a whole pair of this name that lies here already."""
        for pair in self.versions.glob(f"{name}*"):
            try:
                bundle = load_bundle(pair)
                if not pair.is_symlink() and (bundle.manifest_sha256, bundle.promotion) == (manifest_sha256, note):
                    return pair
            except BundleError as error:
                log.warning("%s is not used again: %s", pair, error)
        return None

    @contextmanager
    def incoming(self) -> Iterator[Path]:
        """Yield a new directory to fill, and remove it with those that killed followers left, unless it was kept."""
        self.versions.mkdir(exist_ok=True)
        for leftover in self.versions.glob(f"{_INCOMING}*"):
            remove_unless_held(leftover)
        incoming = self.versions / f"{_INCOMING}{uuid.uuid4().hex[:8]}"
        try:
            yield incoming
        finally:
            shutil.rmtree(incoming, ignore_errors=True)

    def keep(self, incoming: Path, name: str) -> Path:
        """Give a filled directory its name; where that is taken by a broken pair, which may be in use, one like it."""
        pair = self.versions / name
        if os.path.lexists(pair):
            pair = self.versions / f"{name}-{uuid.uuid4().hex[:4]}"
        incoming.rename(pair)
        return pair

    def switch(self, pair: Path) -> None:
        """Point `current` to a pair in one step: a reader sees the old pair or the new one, never neither."""
        self._make_newest(pair)
        link = self.path / f".{CURRENT_NAME}-{uuid.uuid4().hex[:8]}"
        link.symlink_to(Path(VERSIONS_NAME) / pair.name)
        link.replace(self._current)

    def prune(self, current: Path) -> None:
        """Remove all but the newest pairs; never the current one, nor one that a server holds."""
        others = [pair for pair in self.versions.iterdir() if pair != current]
        others.sort(key=_age, reverse=True)
        for pair in others[KEPT_PAIRS - 1 :]:
            try:
                if not remove_unless_held(pair):
                    log.info("%s is kept: a server still holds it", pair)
            except OSError as error:
                log.warning("%s cannot be removed (%s); look at its owner", pair, error.strerror)
        for link in self.path.glob(f".{CURRENT_NAME}-*"):
            link.unlink()  # left by a switch that was cut off

    def _load_linked(self) -> Bundle | None:
        if not self._current.is_symlink() or self._current.readlink().parent != Path(VERSIONS_NAME):
            return None
        return load_bundle(self.path)

    def _check_place(self) -> None:
        if self.versions.is_symlink() or (self.versions.exists() and not self.versions.is_dir()):
            raise FollowError(f"{self.versions} is not a directory of its own; move it away, or choose another one")
        if self._current.exists() and not self._current.is_symlink():
            raise FollowError(f"{self._current} is no link of a follower; move it away, or choose another directory")

    def _make_newest(self, pair: Path) -> None:
        """Order by use and not by the clock, which may have been set back."""
        newest = max((_age(other) for other in self.versions.iterdir() if other != pair), default=0)
        moment = max(time.time_ns(), newest + 1)
        os.utime(pair, ns=(moment, moment))


class _Lock:
    """A follower's lock on its directory, for as long as this object lives."""

    def __init__(self, path: Path) -> None:
        # Never through a link: a lock file that leads elsewhere would be another one's file.
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        self.release = weakref.finalize(self, os.close, self._descriptor)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise FollowError(
                f"another process follows into {path.parent}; stop it or choose another directory"
            ) from None

    def is_at(self, path: Path) -> bool:
        """Whether the file that is locked still lies there."""
        return path.exists() and os.path.samestat(path.lstat(), os.fstat(self._descriptor))


def check_followable(path: Path) -> None:
    """Raise `ConfigurationError` for what is no directory, or a released bundle, into which nothing may be followed."""
    there = next((place for place in (path, *path.parents) if place.exists()), path)
    if there.exists() and not there.is_dir():
        raise ConfigurationError(f"{there} is a file, and what is followed needs a directory; name another place")
    if (path / MANIFEST_NAME).exists() or (path / BUNDLE_NAME).exists():
        raise ConfigurationError(
            f"{path} is a bundle, which never changes; name a new directory, or one that a follower has kept"
        )


def _age(pair: Path) -> int:
    return pair.lstat().st_mtime_ns
