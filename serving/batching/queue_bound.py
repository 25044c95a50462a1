"""Whom one worker lets wait: as many slices as its memory takes, and nobody for longer than the setting says."""

import math
from collections import deque
from collections.abc import Collection

from serving.batching.jobs import Job
from serving.problems import OverloadedError

_RUNS = 16  # of the generator, from which its speed is told: one slow run alone refuses nobody
_LONGEST_RETRY_SECONDS = 60


class QueueBound:
    """Knows the generator's speed, and refuses at once what would wait too long.

    A bound in slices alone means half a second to one machine and half a minute to another, and whoever is let in too
    late is not served better for it: a queue of seconds is emptied within seconds when the load is over.

    Parameters
    ----------
    max_waiting_slices
        More may not wait, for a batch or for a reader: each of them is memory.
    max_waiting_seconds
        The longest that a request may have to wait for the slices of others, by the speed of the last runs.
    """

    def __init__(self, *, max_waiting_slices: int, max_waiting_seconds: float) -> None:
        self._max_slices = max_waiting_slices
        self._max_seconds = max_waiting_seconds
        self._runs: deque[tuple[int, float]] = deque(maxlen=_RUNS)

    def note_run(self, slices: int, seconds: float) -> None:
        """Remember how long a run of the generator took."""
        self._runs.append((slices, seconds))

    def check(self, job: Job, others: Collection[Job]) -> None:
        """Raise `OverloadedError` where a request cannot be let in beside those that are."""
        self._check_slices(job, sum(other.claimed for other in others))
        self._check_wait(job, others)

    def _check_slices(self, job: Job, claimed: int) -> None:
        if claimed + job.claimed > self._max_slices:
            seconds = _retry_after(claimed * self._seconds_per_slice)
            raise OverloadedError(
                f"{claimed} slices wait already and at most {self._max_slices} may; ask again in {seconds} s, or for "
                f"fewer than {job.count}",
                retry_after_seconds=seconds,
            )

    def _check_wait(self, job: Job, others: Collection[Job]) -> None:
        # Runs take from all requests in turn: of each of the others no more slices come first than the job itself has.
        ahead = sum(min(other.waiting, job.waiting) for other in others)
        wait = ahead * self._seconds_per_slice
        if wait > self._max_seconds:
            seconds = _retry_after(wait - self._max_seconds)
            raise OverloadedError(
                f"{job.count} slices would wait {wait:.1f} s for those of others, and at most {self._max_seconds:g} s "
                f"are waited; ask again in {seconds} s, or for fewer",
                retry_after_seconds=seconds,
            )

    @property
    def _seconds_per_slice(self) -> float:
        """Of the last runs; 0 before the first, because a guess would refuse what a fast machine serves at once."""
        slices = sum(slices for slices, _ in self._runs)
        return sum(seconds for _, seconds in self._runs) / slices if slices else 0.0


def _retry_after(seconds: float) -> int:
    return min(max(math.ceil(seconds), 1), _LONGEST_RETRY_SECONDS)
