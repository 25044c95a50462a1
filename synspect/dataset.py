"""Synthetic slices as a torch dataset: endless or counted, shared by workers and ranks without a repeat."""

from collections.abc import Iterator, Sequence
from itertools import count as count_from
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from spect.asked import check_whole
from spect.conditions import CONDITIONS, Condition, parse_condition
from spect.errors import ConditionError, RequestError
from spect.sampling import MAX_SEED
from synspect.client import Client
from synspect.source import MAX_COUNT, Order

Sample = dict[str, Any]


class SyntheticSlices(IterableDataset[Sample]):
    """Slices of the asked conditions in turn; the same arguments give the same slices, whatever the workers.

    Each sample holds `counts`, a float32 tensor (1, rows, columns) in counts per pixel, and `level`, `pattern`,
    `condition` (its position in the fixed order), `seed` and `index`. Datasets of
    different seeds below 2^32 share no slice.

    A worker opens what it reads itself, whatever clients its parent holds. None of those may be making slices in
    another thread at the moment the loader forks: what that thread has locked stays locked in the worker, unless the
    loader has `multiprocessing_context="spawn"`.

    Parameters
    ----------
    url, bundle
        As for `Client`; opened in each worker when it starts.
    conditions
        Pairs of level and pattern; None: all eight.
    count
        Slices of each condition; None: without end.
    seed, start
        The seed rule: slice i depends on (seed, condition, start + i).
    matrix
        Pixels a side; None: as generated.
    chunk
        Slices of each condition asked for at once; the unit that workers share out.
    rank, ranks
        Share of this process where several train together.
    """

    def __init__(  # noqa: PLR0913 — all but the first are keywords, each one thing to choose
        self,
        url: str | None = None,
        *,
        bundle: Path | str | None = None,
        conditions: Sequence[tuple[str, str]] | None = None,
        count: int | None = None,
        seed: int = 0,
        start: int = 0,
        matrix: int | None = None,
        chunk: int = 16,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        super().__init__()
        self.conditions = CONDITIONS if conditions is None else tuple(map(_parse_pair, conditions))
        if not self.conditions:
            raise RequestError("no condition was asked for; leave conditions out for all of them")
        self._url, self._bundle = url, bundle
        self._count = None if count is None else check_whole("count", count, low=1, high=MAX_SEED)
        self._chunk = check_whole("chunk", chunk, low=1, high=MAX_COUNT)
        first = Order(  # checked here, and not first in a worker
            condition=self.conditions[0],
            count=min(self._chunk, self._count or self._chunk),
            seed=seed,
            start=check_whole("start", start, low=0, high=MAX_SEED - (self._count or self._chunk)),
            matrix=matrix,
        )
        self._seed, self._start, self._matrix = first.seed, first.start, first.matrix
        self._ranks = check_whole("ranks", ranks, low=1, high=MAX_SEED)
        self._rank = check_whole("rank", rank, low=0, high=self._ranks - 1)

    def __iter__(self) -> Iterator[Sample]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        share, shares = self._rank * workers + number, self._ranks * workers
        # Beside other workers one thread each: their cores are taken.
        with Client(self._url, bundle=self._bundle, threads=1 if workers > 1 else None) as client:
            for start, size in self._chunks(share, shares):
                yield from self._samples(client, start, size)

    def _chunks(self, share: int, shares: int) -> Iterator[tuple[int, int]]:
        """Yield start and size of every `shares`-th chunk of indices: no two shares hold the same index."""
        for number in count_from(share, shares):
            done = number * self._chunk
            size = self._chunk if self._count is None else min(self._chunk, self._count - done)
            if size <= 0:
                return
            yield self._start + done, size

    def _samples(self, client: Client, start: int, size: int) -> Iterator[Sample]:
        """Yield the chunk's slices, the conditions in turn, so that a batch of the loader mixes them."""
        batches = [
            client.generate(
                condition.level, condition.pattern, count=size, seed=self._seed, start=start, matrix=self._matrix
            )
            for condition in self.conditions
        ]
        for row in range(size):
            for condition, batch in zip(self.conditions, batches, strict=True):
                yield {
                    "counts": torch.from_numpy(batch.counts[row].copy())[None],
                    "level": str(condition.level),
                    "pattern": str(condition.pattern),
                    "condition": condition.index,
                    "seed": self._seed,
                    "index": start + row,
                }


def _parse_pair(pair: tuple[str, str]) -> Condition:
    try:
        level, pattern = pair
    except (TypeError, ValueError):
        raise ConditionError(f"a condition is a pair such as ('COR', 'normal'), got {pair!r:.60}") from None
    return parse_condition(level, pattern)
