"""Notice a new bundle, verify it, warm it up, and switch to it between two requests."""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from registry.bundle.directory import BUNDLE_NAME, find_pair
from registry.bundle.manifest import MANIFEST_NAME
from registry.bundle.promotion_note import PROMOTION_NAME
from registry.bundle.served_model import ServedModel
from serving.problems import NotReadyError
from spect.errors import BundleError, SynspectError

log = logging.getLogger(__name__)

_RETRY_AFTER_SECONDS = 5
_LONGEST_PAUSE_SECONDS = 60.0  # between two tries of a bundle that could not be opened

# Where a bundle lies and when its two mutable neighbours were written: changes whenever another one is to be served.
Identity = tuple[str, tuple[int, int, int], tuple[int, int, int] | None]


class ReloadObserver(Protocol):
    """Who is told of reloads: `ServiceMetrics` in the service."""

    def count_reload(self, result: str) -> None:
        """Count a bundle that took another's place ("swapped"), or one that was tried and not taken ("refused")."""
        ...

    def set_model(self, *, version: str, sha256: str, provider: str, reference_source: str, promotion: str) -> None:
        """Say which model answers now."""
        ...


class ModelSlot:
    """The model that answers now; watches a directory for the next one.

    A request takes `current()` once and keeps it: the old generator lives until its last request ends. A bundle that
    fails is refused, logged and counted, the first one too, and the one before it goes on answering. What fails
    verification is not tried again until it changes; what fails for another reason (memory, a device, a disk) may
    pass later and is tried again, at once and then after ever longer pauses.
    """

    def __init__(
        self,
        directory: Path,
        observer: ReloadObserver,
        *,
        open_model: Callable[[Path], ServedModel],
        prepare: Callable[[ServedModel], None] = lambda _: None,
    ) -> None:
        self._directory = directory
        self._observer = observer
        self._open_model = open_model
        self._prepare = prepare
        self._current: ServedModel | None = None
        self._tried: Identity | None = None
        self._failures = 0  # of the bundle tried last, in a row
        self._try_again_at = 0.0  # on the monotonic clock
        self.reason = "no bundle has been loaded yet"  # why the slot is empty, or why the newest bundle was refused

    @property
    def is_ready(self) -> bool:
        """Whether a model answers."""
        return self._current is not None

    def current(self) -> ServedModel:
        """Return the model that answers now; raise `NotReadyError` where there is none."""
        if self._current is None:
            # Why is for the log alone: it names files of this machine.
            raise NotReadyError(
                "no model is served; the server's log says which bundle it waits for or refused",
                retry_after_seconds=_RETRY_AFTER_SECONDS,
            )
        return self._current

    def refresh(self) -> bool:
        """Open the bundle that stands in the directory, unless it is known; return whether a new one answers.

        Never raises for a bundle, whatever happens to it: a watcher that dies would leave the service with its old
        model, or with none, for ever. Blocks for as long as verification and the first slices take: call it outside
        the event loop.
        """
        identity = identify(self._directory)
        if identity is None:
            self._refuse_missing()
            return False
        if identity != self._tried:
            self._failures, self._try_again_at = 0, 0.0
        elif time.monotonic() < self._try_again_at:
            return False
        self._tried, self._try_again_at = identity, math.inf
        try:
            model = self._open_model(self._directory)
            self._prepare(model)
            self._switch(model)
        except BundleError as error:
            self._refuse(_in_one_line(error))
            return False
        except Exception as error:  # noqa: BLE001 — ONNX Runtime's errors share no base; the watcher must outlive any
            self._put_off(error)
            return False
        return True

    async def watch(self, poll_seconds: float) -> None:
        """Look for another bundle for ever, off the event loop."""
        while True:
            await asyncio.sleep(poll_seconds)
            await asyncio.to_thread(self.refresh)

    def _switch(self, model: ServedModel) -> None:
        is_swap = self._current is not None
        self._current = model
        self.reason = ""
        self._observer.set_model(
            version=model.version,
            sha256=model.bundle.sha256,
            provider=model.generator.provider,
            reference_source=model.profile.reference_source,
            promotion=model.promotion,
        )
        if is_swap:
            self._observer.count_reload("swapped")
        log.info(
            "serving %s version %s (promotion: %s), generator %s, on %s",
            model.bundle.manifest.name,
            model.version,
            model.promotion,
            model.bundle.sha256[:12],
            model.generator.provider,
        )

    def _put_off(self, error: Exception) -> None:
        if not isinstance(error, SynspectError):  # ours say all in one line
            log.error("a bundle could not be opened", exc_info=error)
        self._failures += 1
        pause = min(2.0 ** min(self._failures - 1, 10) - 1, _LONGEST_PAUSE_SECONDS)  # 0, 1, 3, 7 s, ...
        self._try_again_at = time.monotonic() + pause
        self._refuse(_in_one_line(error))

    def _refuse(self, reason: str) -> None:
        self.reason = reason
        self._observer.count_reload("refused")
        kept = f"; {self._current.version} goes on answering" if self._current else ""
        log.error("bundle refused: %s%s", reason, kept)

    @property
    def is_waiting(self) -> bool:
        """Whether nothing answers because there was nothing to open yet: a follower's first version is on its way."""
        return self._current is None and self._tried is None

    def _refuse_missing(self) -> None:
        reason = (
            f"{self._directory} holds no bundle; where no follower fetches one, give one with SYNSPECT_BUNDLE_DIR or "
            "--bundle"
        )
        if self._tried is not None:  # there was one: whoever removed it is told, once
            self._refuse(reason)
        elif self._current is None:
            self.reason = reason
        self._tried = None  # whatever appears here next is new


def identify(directory: Path) -> Identity | None:
    """Say which bundle a directory holds without reading it; None where there is none."""
    try:
        pair = find_pair(directory)
        bundle = directory if pair is None else pair / BUNDLE_NAME
        note = None if pair is None else _stamp(pair / PROMOTION_NAME)
        manifest = _stamp(bundle / MANIFEST_NAME)
        return None if manifest is None else (str(bundle.resolve()), manifest, note)
    except OSError:
        return None


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
