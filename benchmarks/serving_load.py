"""Load on a running service: so many clients in turn, or so many requests a second whatever happens; bounded in time.

    python benchmarks/serving_load.py '{"url": "http://127.0.0.1:3000", "slices": 64, "seconds": 5, "clients": 4}'

With `clients`, each asks again as soon as it is answered (until `seconds`, or until `requests` were sent in all). With
`rate`, requests leave on the clock, answered or not: what is too much is not asked less. Nothing is repeated, and
every answer is read to its end, or given up after `patience` seconds. `matrix` asks for slices of that size,
`format` for another than npz. `dialect` says how another server than ours is asked (`benchmarks/peers/dialects.py`).
Prints one line of JSON.

aiohttp, not httpx: parsing in C costs the core of the load a few percent of what httpx does, and BentoML brings it.
"""

import asyncio
import itertools
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import numpy as np
from peers.dialects import DIALECTS

PATIENCE_SECONDS = 300.0  # longer than any deadline of the service: what never ends counts as broken
MOST_REQUESTS = 200_000

Plan = dict[str, Any]  # numbers, but for url, format and dialect


@dataclass
class Outcome:
    """What became of the requests of one load."""

    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)  # of the requests that were served
    finished: list[tuple[float, int]] = field(default_factory=list)  # when, and how many slices

    def summary(self, *, within: float, slices: int) -> dict[str, object]:
        """Return rates over the time of the load, and the quantiles of what was served."""
        in_time = sum(slices for moment, slices in self.finished if moment <= within)
        last = max((moment for moment, _ in self.finished), default=within)
        quantiles = np.quantile(self.seconds, [0.5, 0.99, 1.0]) if self.seconds else [float("nan")] * 3
        return {
            "slices_per_request": slices,
            "slices_per_second": in_time / within,
            # Coarse batches end together, many just after the time: over all until the last answer none is lost.
            "slices_per_second_to_the_end": slices * len(self.finished) / last,
            "seconds_after": max(last - within, 0.0),  # until what was asked for in time was all answered
            "statuses": dict(self.statuses),
            **{f"{name}_seconds": float(value) for name, value in zip(("p50", "p99", "max"), quantiles, strict=True)},
        }


class Load:
    """One plan against one service."""

    def __init__(self, plan: Plan, session: aiohttp.ClientSession) -> None:
        self._plan, self._session = plan, session
        self._dialect = DIALECTS[plan.get("dialect", "slices")]
        self._url = f"{plan['url']}{self._dialect.path}"
        self._numbers = itertools.count()
        self._started = time.perf_counter()
        self.outcome = Outcome()

    async def run(self) -> dict[str, object]:
        """Run the plan to its end and for as long as answers are still on their way."""
        self._started = time.perf_counter()
        await (self._on_the_clock() if "rate" in self._plan else self._in_turn())
        lasted = time.perf_counter() - self._started
        within = self._plan.get("seconds", lasted)
        return self.outcome.summary(within=min(within, lasted), slices=int(self._plan["slices"]))

    async def _in_turn(self) -> None:
        await asyncio.gather(*(self._client() for _ in range(int(self._plan["clients"]))))

    async def _client(self) -> None:
        while (number := next(self._numbers)) < self._plan.get("requests", MOST_REQUESTS) and self._has_time():
            await self._ask(number)

    async def _on_the_clock(self) -> None:
        asking: set[asyncio.Task[None]] = set()
        while self._has_time() and (number := next(self._numbers)) < MOST_REQUESTS:
            await asyncio.sleep(max(self._started + number / self._plan["rate"] - time.perf_counter(), 0))
            task = asyncio.create_task(self._ask(number))
            asking.add(task)
            task.add_done_callback(asking.discard)
        await asyncio.gather(*asking)

    def _has_time(self) -> bool:
        return time.perf_counter() - self._started < self._plan.get("seconds", PATIENCE_SECONDS)

    async def _ask(self, number: int) -> None:
        slices = int(self._plan["slices"])
        body = {"level": "COR", "pattern": "unilateral", "count": slices, "seed": 7, "start": number * slices}
        if "matrix" in self._plan:
            body["matrix"] = int(self._plan["matrix"])
        if "format" in self._plan:
            body["format"] = self._plan["format"]
        before = time.perf_counter()
        try:
            async with self._session.post(self._url, json=self._dialect.wrap(body)) as response:
                await response.read()
                status = str(response.status)
        except (aiohttp.ClientError, TimeoutError) as error:
            status = type(error).__name__
        now = time.perf_counter()
        self.outcome.statuses[status] += 1
        if status == "200":
            self.outcome.seconds.append(now - before)
            self.outcome.finished.append((now - self._started, slices))


async def load(plan: Plan) -> dict[str, object]:
    timeout = aiohttp.ClientTimeout(total=plan.get("patience", PATIENCE_SECONDS))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        return await Load(plan, session).run()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(load(json.loads(sys.argv[1])))))
