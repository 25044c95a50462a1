"""Bring the version an alias points to into a directory, verified as a server will open it, and switch to it."""

import errno
import hashlib
import logging
import os
import random
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from registry.bundle.directory import Bundle, load_bundle
from registry.bundle.promotion_note import PROMOTION_NAME, PromotionNote, save_promotion_note
from registry.bundle.served_model import open_model
from registry.follow_metrics import FailureReason, FollowMetrics
from registry.followed_directory import FollowedDirectory, check_followable
from registry.policy import Policy, load_policy
from registry.promotion import check_admitted, describe_alias
from registry.store.facts import MANIFEST_TAG
from registry.store.model_store import ModelStore
from spect.errors import (
    AdmissionError,
    BundleError,
    FollowError,
    InferenceError,
    InvalidOutputError,
    RegistryError,
    SynspectError,
    VersionError,
)

log = logging.getLogger(__name__)

DEFAULT_INTERVAL_SECONDS = 10.0
MAX_BACK_OFF_SECONDS = 300.0
JITTER = 0.2  # a share of the pause: many followers do not ask in step
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
RECHECK_SECONDS = 3600.0  # what was refused may have been damaged on its way, or mended in its place
# A version that is not what was registered, or cannot be served.
_REFUSALS = (BundleError, InferenceError, InvalidOutputError)
# What ends one look and not the follower: the directory keeps what it had.
_FAILURES = (RegistryError, FollowError, *_REFUSALS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """What a directory holds after one look at the registry."""

    bundle: Bundle
    note: PromotionNote
    changed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refusal:
    """A version that did not verify or could not be served, as the registry described it then."""

    note: PromotionNote
    tags: Mapping[str, str]
    error: SynspectError
    at: float  # seconds of the monotonic clock

    def stands(self, note: PromotionNote, tags: Mapping[str, str]) -> bool:
        """Whether fetching the same again would tell nothing new."""
        return (self.note, self.tags) == (note, tags) and time.monotonic() - self.at < RECHECK_SECONDS


class Follower:
    """Keeps one directory at the version that one alias points to, and for itself; remembers what it refused.

    Parameters
    ----------
    store
        Where the alias is asked for.
    alias
        What is followed.
    directory
        What servers read.
    policy
        Whether a champion set by hand is admitted; `load_policy()` where None.
    """

    def __init__(
        self, store: ModelStore, alias: str, directory: Path | FollowedDirectory, *, policy: Policy | None = None
    ) -> None:
        self._store, self._alias = store, alias
        self._place = directory if isinstance(directory, FollowedDirectory) else FollowedDirectory(directory)
        self._policy = policy or load_policy()
        self._refusal: _Refusal | None = None

    def look(self) -> Followed:
        """Bring the alias's version into the directory, verified, and switch to it; nothing changes where it is there.

        What was refused is not fetched again until the alias or the version's tags change, or an hour has passed: the
        same error is raised, the very same object.

        Raises
        ------
        ConfigurationError
            If the directory is a file or a released bundle.
        RegistryError
            If MLflow is away, the alias is not set (`VersionError`), or (`AdmissionError`) the policy refuses how it
            was set; no directory is made.
        FollowError
            If the directory cannot be written, or another follower has it: each keeps its own for its life.
        BundleError, InferenceError, InvalidOutputError
            If what the registry holds does not verify or cannot be served; the directory keeps what it had.
        """
        try:
            check_followable(self._place.path)
            if self._place.path.exists():  # else it is made once there is something to keep in it
                self._place.take()
            note = self._find_note()
            self._place.take()
            return self._bring_up_to_date(note)
        except OSError as error:
            raise FollowError(
                f"{self._place.path} cannot be kept ({error.strerror or error}); make it a directory that can be "
                "written, with space for a bundle"
            ) from error

    def close(self) -> None:
        """Let other followers have the directory."""
        self._place.close()

    def _find_note(self) -> PromotionNote:
        note = describe_alias(self._store, self._alias)
        if note is None:
            raise VersionError(f"alias {self._alias!r} of model {self._store.name} is not set; promote a version first")
        check_admitted(note, self._policy)
        return note

    def _bring_up_to_date(self, note: PromotionNote) -> Followed:
        tags = self._store.find_version(note.version).tags
        manifest_sha256 = tags.get(MANIFEST_TAG, "")
        current = self._place.load_current()
        if current is not None and (current.manifest_sha256, current.promotion) == (manifest_sha256, note):
            return Followed(bundle=current, note=note, changed=False)
        name = _pair_name(note, manifest_sha256)
        pair = self._place.find_pair(name, note, manifest_sha256) or self._fetch(note, tags, name)
        self._place.switch(pair)
        self._place.prune(pair)
        return Followed(bundle=load_bundle(self._place.path), note=note, changed=True)

    def _fetch(self, note: PromotionNote, tags: Mapping[str, str], name: str) -> Path:
        if self._refusal is not None and self._refusal.stands(note, tags):
            raise self._refusal.error.with_traceback(None)
        try:
            return _fetch(self._store, note, self._place, name)
        except _REFUSALS as error:
            self._refusal = _Refusal(note=note, tags=tags, error=error, at=time.monotonic())
            raise


def follow_once(
    store: ModelStore, alias: str, directory: Path | FollowedDirectory, *, policy: Policy | None = None
) -> Followed:
    """Look once, as `Follower.look` does, and let go of the directory."""
    with closing(Follower(store, alias, directory, policy=policy)) as follower:
        return follower.look()


def _pair_name(note: PromotionNote, manifest_sha256: str) -> str:
    """One name for one bundle with one note, so that a fetch that was cut off is repeated into the same place."""
    digest = hashlib.sha256(f"{manifest_sha256}\n{note.model_dump_json()}".encode()).hexdigest()
    return f"{note.version}-{digest[:12]}"


def _fetch(store: ModelStore, note: PromotionNote, place: FollowedDirectory, name: str) -> Path:
    with place.incoming() as incoming:
        try:
            store.download(note.version, incoming)
        except RegistryError as error:
            _raise_if_disk_is_full(error)
            raise
        save_promotion_note(note, incoming / PROMOTION_NAME)
        open_model(incoming, threads=1)  # as a server will
        return place.keep(incoming, name)


def _raise_if_disk_is_full(error: RegistryError) -> None:
    """Raise the `OSError` behind a failed download where it is this machine's; MLflow passes it on as words."""
    for number in map(int, re.findall(r"\[Errno (\d+)\]", str(error.__cause__))):
        if number in _NO_SPACE:
            raise OSError(number, os.strerror(number)) from error


def follow(
    open_store: Callable[[], ModelStore],
    alias: str,
    directory: Path,
    *,
    stop: threading.Event,
    interval_seconds: float = DEFAULT_INTERVAL_SECONDS,
    metrics: FollowMetrics | None = None,
) -> None:
    """Follow an alias until `stop` is set; a registry that is away, a broken version or a full disk never ends it.

    Where another follower has the directory it waits for its end. After a failure the pauses double, up to five
    minutes. A refused version is said once and counted at each look.
    """
    with closing(FollowedDirectory(directory)) as place:
        _follow_into(
            place,
            open_store,
            alias,
            stop=stop,
            interval_seconds=interval_seconds,
            metrics=metrics or FollowMetrics(),
        )


def _follow_into(
    place: FollowedDirectory,
    open_store: Callable[[], ModelStore],
    alias: str,
    *,
    stop: threading.Event,
    interval_seconds: float,
    metrics: FollowMetrics,
) -> None:
    policy = load_policy()
    if (held := place.find_held()) is not None:
        metrics.set_version(alias, held)  # known without the registry, which may be away
    failures = 0
    follower: Follower | None = None
    said: Exception | None = None
    while not stop.is_set():
        try:
            follower = follower or Follower(open_store(), alias, place, policy=policy)
            _tell(follower.look(), alias, place.path, metrics)
            failures = 0
        except _FAILURES as error:
            failures += 1
            metrics.count_failure(find_reason(error))
            if error is not said:
                log.warning("%s keeps what it has: %s", place.path, error)
            said = error
        stop.wait(compute_pause(interval_seconds, failures))


def _tell(followed: Followed, alias: str, directory: Path, metrics: FollowMetrics) -> None:
    metrics.set_version(alias, followed.note)
    metrics.note_success()
    if followed.changed:
        metrics.count_switch()
        log.info("%s now serves version %s", directory, followed.bundle.version)


def find_reason(error: Exception) -> FailureReason:
    """Return which part failed, as a metric's label."""
    if isinstance(error, AdmissionError):
        return "gates"
    if isinstance(error, RegistryError):
        return "registry"
    return "directory" if isinstance(error, FollowError) else "bundle"


def compute_pause(interval_seconds: float, failures: int) -> float:
    """Return the seconds to wait after so many failures in a row, with jitter."""
    pause = min(interval_seconds * 2.0 ** min(failures, 16), max(MAX_BACK_OFF_SECONDS, interval_seconds))
    return pause * (1 + JITTER * random.uniform(-1, 1))  # noqa: S311 — spreads requests, guards nothing


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM and Ctrl-C set, so that a follower ends between two steps."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
