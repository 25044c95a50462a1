"""Synthetic slices as a torch dataset: endless or counted, shared by workers and ranks without a repeat."""

from collections.abc import Iterator, Sequence
from itertools import count as count_from
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from spect.conditions import CONDITIONS, parse_condition
from spect.errors import RequestError
from spect.sampling import check_seed
from synspect.client import Client

Sample = dict[str, Any]


class SyntheticSlices(IterableDataset[Sample]):
    """Slices of the asked conditions in turn; the same arguments give the same slices, whatever the workers.

    Each sample holds `counts`, a float32 tensor (1, rows, columns) in counts per pixel, and `level`, `pattern`,
    `condition` (its position in the fixed order), `seed` and `index`. Datasets of
    different seeds below 2^32 share no slice.

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
        if not 0 <= rank < ranks or chunk < 1 or (count is not None and count < 1):
            raise RequestError(
                f"0 <= rank < ranks, and chunk and count at least 1, are needed; got {rank=} {ranks=} {chunk=} {count=}"
            )
        self.conditions = CONDITIONS if conditions is None else tuple(parse_condition(*pair) for pair in conditions)
        if not self.conditions:
            raise RequestError("no condition was asked for; leave conditions out for all of them")
        self._url, self._bundle = url, bundle
        self._count, self._seed, self._start = count, check_seed(seed), start
        self._matrix, self._chunk, self._rank, self._ranks = matrix, chunk, rank, ranks

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
