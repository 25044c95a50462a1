"""The micro-batcher under whatever happens: arrivals, cancels, slow readers, failures, two generators.

Whatever the order, an accepted request gets exactly its own slices, of one generator, or one error; nothing is left.
"""

import asyncio
from contextlib import suppress

import numpy as np
import pytest

from serving.batching.batcher import MicroBatcher
from serving.problems import OverloadedError
from serving.schemas import Portion
from spect.conditions import CONDITIONS
from spect.errors import InvalidOutputError
from tests.support.fake_generator import FakeGenerator
from tests.support.patient_bound import patient_bound
from tests.support.unobserved import Unobserved

REQUESTS = 40
BATCH = 8
BOUND = 400
INVALID_SEED = 13
OUTCOMES = {"served", "refused", "invalid", "broken", "cancelled"}
BROKEN = "the device went away"
SWAPPED = 500_000  # what the second generator adds to the name of each slice


class Disorder:
    """One random history of requests against one batcher."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.observer = Unobserved()
        self.generators = [
            FakeGenerator(invalid_seed=INVALID_SEED, seconds_per_slice=1e-5),
            FakeGenerator(offset=SWAPPED, seconds_per_slice=1e-5),
        ]
        self.outcomes: dict[str, int] = {}

    async def run(self) -> None:
        batcher = MicroBatcher(
            self.observer, bound=patient_bound(max_waiting_slices=BOUND), batch_slices=BATCH, deadline_seconds=30
        )
        try:
            requests = [asyncio.create_task(self.request(batcher, number)) for number in range(REQUESTS)]
            breaking = asyncio.create_task(self.break_now_and_then())
            await asyncio.wait_for(asyncio.gather(*requests), 60)
            breaking.cancel()
            with suppress(asyncio.CancelledError):
                await breaking
            assert batcher.waiting_slices == 0
            assert self.observer.queue_slices == 0
            made = sum(len(names) for generator in self.generators for names in generator.runs)
            await asyncio.sleep(0.02)
            assert made == sum(len(names) for generator in self.generators for names in generator.runs)
            self.generators[0].failure = None
            assert len(await batcher.generate(self.generators[0], [portion(1, 0, BOUND)])) == BOUND
        finally:
            batcher.close()

    async def break_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(self.rng.uniform(0, 0.02))
            self.generators[0].failure = RuntimeError(BROKEN)
            await asyncio.sleep(self.rng.uniform(0, 0.002))
            self.generators[0].failure = None

    async def request(self, batcher: MicroBatcher, number: int) -> None:
        await asyncio.sleep(self.rng.uniform(0, 0.05))
        generator = self.generators[int(self.rng.random() < 0.4)]
        portions = [
            portion(int(self.rng.integers(1, 20)), int(self.rng.integers(0, 50)), int(self.rng.integers(1, 60)))
            for _ in range(self.rng.integers(1, 4))
        ]
        reading = asyncio.create_task(self.read(batcher, generator, portions, is_streamed=number % 3 == 0))
        if self.rng.random() < 0.25:
            await asyncio.sleep(self.rng.uniform(0, 0.03))
            reading.cancel()
        outcome = "cancelled"
        with suppress(asyncio.CancelledError):
            outcome = await reading
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    async def read(
        self, batcher: MicroBatcher, generator: FakeGenerator, portions: list[Portion], *, is_streamed: bool
    ) -> str:
        """Return what became of a request; fail where it got slices that are not its own."""
        expected = expected_names(portions, offset=SWAPPED if generator is self.generators[1] else 0)
        try:
            if is_streamed:
                await self.read_pieces(batcher, generator, portions, expected)
            else:
                counts = await batcher.generate(generator, portions)
                assert counts[:, 0, 0].astype(int).tolist() == expected
        except OverloadedError:
            return "refused"
        except InvalidOutputError:
            return "invalid" if any(one.seed == INVALID_SEED for one in portions) else "invalid for another's seed"
        except RuntimeError as error:
            return "broken" if str(error) == BROKEN else str(error)
        return "served"

    async def read_pieces(
        self, batcher: MicroBatcher, generator: FakeGenerator, portions: list[Portion], expected: list[int]
    ) -> None:
        got: list[int] = []
        with batcher.open_stream(generator, portions) as pieces:
            async for counts in pieces:
                assert len(counts) <= BATCH
                got += counts[:, 0, 0].astype(int).tolist()
                assert got == expected[: len(got)]
                await asyncio.sleep(self.rng.uniform(0, 0.003))
        assert got == expected


def portion(seed: int, start: int, count: int) -> Portion:
    return Portion(condition=CONDITIONS[0], seed=seed, start=start, count=count)


def expected_names(portions: list[Portion], *, offset: int) -> list[int]:
    return [offset + 1000 * one.seed + index for one in portions for index in range(one.start, one.start + one.count)]


@pytest.mark.parametrize("seed", range(12))
def test_every_request_gets_its_own_slices_or_one_error_whatever_happens(seed: int) -> None:
    disorder = Disorder(seed)
    asyncio.run(disorder.run())
    assert sum(disorder.outcomes.values()) == REQUESTS
    assert disorder.outcomes["served"] > 0
    assert set(disorder.outcomes) <= OUTCOMES


def test_the_disorder_is_of_every_kind() -> None:
    """Else the test above would pass without having met what it is for."""
    met: set[str] = set()
    for seed in range(100, 104):
        disorder = Disorder(seed)
        asyncio.run(disorder.run())
        met |= set(disorder.outcomes)
    assert met == OUTCOMES
