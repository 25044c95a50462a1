"""Bring the version an alias points to into a directory, and switch to it atomically.

DIR/versions/<name>/ holds a pair, `bundle/` and `promotion.json`, that never changes once it has its name; DIR/current
is a symbolic link to one of them. Servers read through the link and need neither MLflow nor this process.
"""

import fcntl
import hashlib
import logging
import random
import shutil
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from registry.bundle.directory import BUNDLE_NAME, CURRENT_NAME, Bundle, load_bundle
from registry.bundle.generator import ReleasedGenerator
from registry.bundle.promotion_note import PROMOTION_NAME, PromotionNote, save_promotion_note
from registry.promotion import describe_alias
from registry.store import MANIFEST_TAG, ModelStore
from spect.errors import BundleError, RegistryError

log = logging.getLogger(__name__)

VERSIONS_NAME = "versions"
_LOCK_NAME = ".lock"
_INCOMING = ".incoming-"
DEFAULT_INTERVAL_SECONDS = 10.0
MAX_BACK_OFF_SECONDS = 300.0
JITTER = 0.2  # a share of the pause: many followers do not ask in step
KEPT_PAIRS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """What a directory holds after one look at the registry."""

    bundle: Bundle
    changed: bool


def follow_once(store: ModelStore, alias: str, directory: Path) -> Followed:
    """Bring the alias's version into a directory, verified, and switch to it; nothing changes where it is there.

    Raises
    ------
    RegistryError
        If MLflow is away, the alias is not set, or another process follows into this directory.
    BundleError
        If what the registry holds does not verify; the directory keeps what it had.
    """
    with _locked(directory):
        note = describe_alias(store, alias)
        if note is None:
            raise RegistryError(f"alias {alias!r} of model {store.name} is not set; promote a version first")
        manifest_sha256 = store.find_version(note.version).tags.get(MANIFEST_TAG, "")
        current = _load_current(directory)
        if current is not None and (current.manifest_sha256, current.promotion) == (manifest_sha256, note):
            return Followed(bundle=current, changed=False)
        pair = directory / VERSIONS_NAME / _pair_name(note, manifest_sha256)
        if not _is_whole(pair, manifest_sha256):
            _fetch(store, note, pair)
        _switch(directory, pair)
        _prune(directory, pair)
        return Followed(bundle=load_bundle(directory), changed=True)


def follow(
    open_store: Callable[[], ModelStore],
    alias: str,
    directory: Path,
    *,
    stop: threading.Event,
    interval_seconds: float = DEFAULT_INTERVAL_SECONDS,
) -> None:
    """Follow an alias until `stop` is set; a registry that is away or a broken version never ends it.

    After a failure the pauses double, up to five minutes.
    """
    failures = 0
    store = None
    while not stop.is_set():
        try:
            store = store or open_store()
            followed = follow_once(store, alias, directory)
            if followed.changed:
                log.info("%s now serves version %s", directory, followed.bundle.version)
            failures = 0
        except (RegistryError, BundleError) as error:
            failures += 1
            log.warning("%s keeps what it has: %s", directory, error)
        stop.wait(compute_pause(interval_seconds, failures))


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


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / _LOCK_NAME).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RegistryError(f"another process follows into {directory}; stop it or choose another one") from None
        yield


def _load_current(directory: Path) -> Bundle | None:
    if not (directory / CURRENT_NAME).is_symlink():
        return None
    try:
        return load_bundle(directory)
    except BundleError as error:
        log.warning("what %s holds is fetched again: %s", directory, error)
        return None


def _pair_name(note: PromotionNote, manifest_sha256: str) -> str:
    """One name for one bundle with one note, so that a fetch that was cut off is repeated into the same place."""
    digest = hashlib.sha256(f"{manifest_sha256}\n{note.model_dump_json()}".encode()).hexdigest()
    return f"{note.version}-{digest[:12]}"


def _is_whole(pair: Path, manifest_sha256: str) -> bool:
    try:
        return load_bundle(pair / BUNDLE_NAME).manifest_sha256 == manifest_sha256
    except BundleError:
        return False


def _fetch(store: ModelStore, note: PromotionNote, pair: Path) -> None:
    pair.parent.mkdir(parents=True, exist_ok=True)
    for leftover in pair.parent.glob(f"{_INCOMING}*"):
        shutil.rmtree(leftover)
    incoming = pair.parent / f"{_INCOMING}{uuid.uuid4().hex[:8]}"
    try:
        bundle = store.download(note.version, incoming)
        ReleasedGenerator(bundle, threads=1)  # the graph opens and is what its manifest says
        save_promotion_note(note, incoming / PROMOTION_NAME)
        shutil.rmtree(pair, ignore_errors=True)
        incoming.rename(pair)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def _switch(directory: Path, pair: Path) -> None:
    """Point `current` to a pair in one step: a reader sees the old pair or the new one, never neither."""
    pair.touch()  # the newest is kept longest
    link = directory / f".{CURRENT_NAME}-{uuid.uuid4().hex[:8]}"
    link.symlink_to(Path(VERSIONS_NAME) / pair.name)
    link.replace(directory / CURRENT_NAME)


def _prune(directory: Path, current: Path) -> None:
    others = [pair for pair in (directory / VERSIONS_NAME).iterdir() if pair != current]
    others.sort(key=lambda pair: pair.stat().st_mtime_ns, reverse=True)
    for pair in others[KEPT_PAIRS - 1 :]:
        shutil.rmtree(pair, ignore_errors=True)
    for link in directory.glob(f".{CURRENT_NAME}-*"):
        link.unlink()  # left by a switch that was cut off
