"""Whose slices the next run of the generator makes: half of it for who has waited longest, the rest for all in turn.

In turn alone, a large request among many small ones gets a slice now and then: each that leaves is followed by another.
In the order of arrival alone, one slice waits for thousands. Half and half, a small request comes with the next run or
nearly so, and the oldest one has half of the generator whoever comes after it.
"""

from collections import deque
from collections.abc import Sequence

from serving.batching.jobs import Job, Piece


def share_run(waiting: Sequence[Job], slices: int) -> list[Piece]:
    """Take slices of waiting requests for one run, those of a request in order; the first in `waiting` is served first.

    Parameters
    ----------
    waiting
        Requests for one generator, each with slices that may be taken; whose turn is next stands first.
    slices
        The most of the run.
    """
    pieces = []
    for job, share in _allot(waiting, slices).items():
        left = share
        while left:  # a piece lies within one portion
            piece = job.take(left)
            pieces.append(piece)
            left -= piece.size
    return pieces


def _allot(waiting: Sequence[Job], slices: int) -> dict[Job, int]:
    oldest = min(waiting, key=lambda job: job.waiting_since)
    shares = dict.fromkeys(waiting, 0)
    shares[oldest] = min(oldest.waiting, slices // 2)
    free = slices - shares[oldest]
    sharing = deque(waiting)
    while free and sharing:
        job = sharing.popleft()
        more = min(max(free // (len(sharing) + 1), 1), job.waiting - shares[job])
        shares[job] += more
        free -= more
        if shares[job] < job.waiting:
            sharing.append(job)
    return {job: share for job, share in shares.items() if share}
