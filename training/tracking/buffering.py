"""Report to a tracker that may be away for a while: what it misses is kept and sent when it is back."""

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from spect.errors import RegistryError
from training.tracking.reporting import End, RunTracker

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 10.0
# A server that does not even refuse costs its timeout at each try: training waits for it at most a tenth of the time.
PAUSE_PER_TRY = 9.0


class BufferedTracker:
    """Passes reports on in order; while the tracker behind it is away, keeps them and tries again now and then."""

    def __init__(self, tracker: RunTracker, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._tracker, self._clock = tracker, clock
        self._waiting: deque[Callable[[], None]] = deque()
        self._next_try = 0.0
        self._is_away = False

    @property
    def waiting(self) -> int:
        """Reports that have not arrived."""
        return len(self._waiting)

    def log(self, values: Mapping[str, float], *, at: int) -> None:
        """Report values, now or later."""
        kept = dict(values)
        self._report(lambda: self._tracker.log(kept, at=at))

    def log_figure(self, path: Path, *, at: int) -> None:
        """Report a figure, now or later."""
        self._report(lambda: self._tracker.log_figure(path, at=at))

    def roll_back(self, reason: str, *, at: int, to: int) -> None:
        """Report a roll-back, now or later."""
        self._report(lambda: self._tracker.roll_back(reason, at=at, to=to))

    def end(self, how: End, reason: str | None = None) -> None:
        """Report the end, and try once more whatever is waiting."""
        self._next_try = 0.0
        self._report(lambda: self._tracker.end(how, reason))

    def _report(self, report: Callable[[], None]) -> None:
        self._waiting.append(report)
        if self._clock() >= self._next_try:
            self._send()

    def _send(self) -> None:
        started = self._clock()
        try:
            while self._waiting:
                self._waiting[0]()
                self._waiting.popleft()
        except (RegistryError, OSError) as error:
            now = self._clock()
            self._next_try = now + max(FIRST_PAUSE_S, PAUSE_PER_TRY * (now - started))
            if not self._is_away:
                log.warning("%s; training goes on, and what is not reported now is reported later", error)
            self._is_away = True
            return
        if self._is_away:
            log.warning("MLflow is back, and has all that was reported meanwhile")
        self._is_away = False
