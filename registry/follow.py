"""Bring the version an alias points to into a directory, verified as a server will open it, and switch to it."""

import errno
import hashlib
import logging
import os
import random
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from registry.bundle.directory import Bundle, load_bundle
from registry.bundle.promotion_note import PROMOTION_NAME, PromotionNote, save_promotion_note
from registry.bundle.served_model import open_model
from registry.follow_metrics import FailureReason, FollowMetrics
from registry.followed_directory import FollowedDirectory
from registry.policy import Policy, load_policy
from registry.promotion import check_admitted, describe_alias
from registry.store import MANIFEST_TAG, ModelStore
from spect.errors import AdmissionError, BundleError, FollowError, InferenceError, InvalidOutputError, RegistryError

log = logging.getLogger(__name__)

DEFAULT_INTERVAL_SECONDS = 10.0
MAX_BACK_OFF_SECONDS = 300.0
JITTER = 0.2  # a share of the pause: many followers do not ask in step
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# What ends one look and not the follower: the directory keeps what it had.
_FAILURES = (RegistryError, FollowError, BundleError, InferenceError, InvalidOutputError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """What a directory holds after one look at the registry."""

    bundle: Bundle
    note: PromotionNote
    changed: bool


def follow_once(
    store: ModelStore, alias: str, directory: Path | FollowedDirectory, *, policy: Policy | None = None
) -> Followed:
    """Bring the alias's version into a directory, verified, and switch to it; nothing changes where it is there.

    Raises
    ------
    RegistryError
        If MLflow is away, the alias is not set, or (`AdmissionError`) the policy refuses how it was set.
    FollowError
        If the directory cannot be written, or another process follows into it.
    BundleError, InferenceError, InvalidOutputError
        If what the registry holds does not verify or cannot be served; the directory keeps what it had.
    """
    place = directory if isinstance(directory, FollowedDirectory) else FollowedDirectory(directory)
    try:
        with place.locked():
            return _bring_up_to_date(store, alias, place, policy or load_policy())
    except OSError as error:
        raise FollowError(
            f"{place.path} cannot be kept ({error.strerror or error}); make it a directory that can be written, "
            "with space for a bundle"
        ) from error


def _bring_up_to_date(store: ModelStore, alias: str, place: FollowedDirectory, policy: Policy) -> Followed:
    note = describe_alias(store, alias)
    if note is None:
        raise RegistryError(f"alias {alias!r} of model {store.name} is not set; promote a version first")
    check_admitted(note, policy)
    manifest_sha256 = store.find_version(note.version).tags.get(MANIFEST_TAG, "")
    current = place.load_current()
    if current is not None and (current.manifest_sha256, current.promotion) == (manifest_sha256, note):
        return Followed(bundle=current, note=note, changed=False)
    name = _pair_name(note, manifest_sha256)
    pair = place.find_pair(name, note, manifest_sha256) or _fetch(store, note, place, name)
    place.switch(pair)
    place.prune(pair)
    return Followed(bundle=load_bundle(place.path), note=note, changed=True)


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

    After a failure the pauses double, up to five minutes.
    """
    metrics = metrics or FollowMetrics()
    policy = load_policy()
    failures = 0
    store = None
    while not stop.is_set():
        try:
            store = store or open_store()
            followed = follow_once(store, alias, directory, policy=policy)
            _tell(followed, alias, directory, metrics)
            failures = 0
        except _FAILURES as error:
            failures += 1
            metrics.count_failure(find_reason(error))
            log.warning("%s keeps what it has: %s", directory, error)
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
