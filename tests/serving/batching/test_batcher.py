"""The micro-batcher: complete, fair, bounded, one generator a batch, nothing run for nobody."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from serving.batching.batcher import MicroBatcher
from serving.problems import DeadlineError, OverloadedError
from serving.schemas import Portion
from spect.conditions import CONDITIONS
from spect.errors import InvalidOutputError
from tests.support.fake_generator import FakeGenerator
from tests.support.patient_bound import patient_bound
from tests.support.waiting import settle, until


class Observed:
    def __init__(self) -> None:
        self.batches: list[int] = []
        self.waits: list[float] = []
        self.queue: list[int] = []
        self.invalid: list[tuple[str, int]] = []

    def observe_queue_wait(self, seconds: float) -> None:
        self.waits.append(seconds)

    def observe_inference(self, slices: int, seconds: float) -> None:  # noqa: ARG002 — the protocol's name
        self.batches.append(slices)

    def set_queue_slices(self, slices: int) -> None:
        self.queue.append(slices)

    def count_invalid_slices(self, reason: str, slices: int) -> None:
        self.invalid.append((reason, slices))


def portion(seed: int, count: int, start: int = 0) -> Portion:
    return Portion(condition=CONDITIONS[0], seed=seed, start=start, count=count)


def run(scenario: Callable[[MicroBatcher, Observed], Awaitable[None]], **limits: Any) -> Observed:
    observed = Observed()
    settings = {"bound": patient_bound(), "batch_slices": 8, "deadline_seconds": 60.0, **limits}

    async def main() -> None:
        batcher = MicroBatcher(observed, **settings)
        try:
            await scenario(batcher, observed)
        finally:
            batcher.close()

    asyncio.run(main())
    return observed


def names(counts: np.ndarray) -> list[int]:
    assert (counts == counts[:, :1, :1]).all()
    return counts[:, 0, 0].astype(int).tolist()


def test_a_request_larger_than_a_batch_comes_back_whole_and_in_order() -> None:
    async def scenario(batcher: MicroBatcher, observed: Observed) -> None:
        counts = await batcher.generate(FakeGenerator(), [portion(1, 15), portion(2, 7, start=3)])
        assert names(counts) == [*range(1000, 1015), *range(2003, 2010)]

    observed = run(scenario)
    assert observed.batches == [8, 8, 6]
    assert observed.queue[-1] == 0
    assert len(observed.waits) == 1


def test_requests_that_wait_together_share_a_batch() -> None:
    async def scenario(batcher: MicroBatcher, observed: Observed) -> None:
        generator = FakeGenerator()
        answers = await asyncio.gather(*(batcher.generate(generator, [portion(seed, 2)]) for seed in range(4)))
        assert [names(counts) for counts in answers] == [[1000 * s, 1000 * s + 1] for s in range(4)]

    assert run(scenario).batches == [8]


def test_one_slice_does_not_wait_for_a_thousand() -> None:
    async def scenario(batcher: MicroBatcher, observed: Observed) -> None:
        generator = FakeGenerator(seconds_per_slice=0.0005)
        large = asyncio.create_task(batcher.generate(generator, [portion(1, 1000)]))
        await until(lambda: generator.runs)
        runs_before = len(generator.runs)
        assert names(await batcher.generate(generator, [portion(2, 1)])) == [2000]
        assert not large.done()
        runs_until_small = next(i for i, made in enumerate(generator.runs) if 2000 in made)
        assert runs_until_small - runs_before <= 1
        assert names(await large) == list(range(1000, 2000))

    run(scenario, bound=patient_bound(max_waiting_slices=2000))


def test_a_stream_of_small_requests_does_not_starve_a_large_one() -> None:
    async def scenario(batcher: MicroBatcher, observed: Observed) -> None:
        generator = FakeGenerator(seconds_per_slice=0.0001)

        async def ask_for_ever() -> None:
            while True:
                await batcher.generate(generator, [portion(2, 1)])

        clients = [asyncio.create_task(ask_for_ever()) for _ in range(20)]
        counts = await asyncio.wait_for(batcher.generate(generator, [portion(1, 30)]), timeout=60)
        assert names(counts) == list(range(1000, 1030))
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)

    run(scenario)


def test_a_batch_holds_slices_of_one_generator_only() -> None:
    async def scenario(batcher: MicroBatcher, observed: Observed) -> None:
        old, new = FakeGenerator(), FakeGenerator(offset=500_000)
        answers = await asyncio.gather(batcher.generate(old, [portion(1, 20)]), batcher.generate(new, [portion(1, 20)]))
        assert names(answers[0]) == list(range(1000, 1020))
        assert names(answers[1]) == list(range(501_000, 501_020))
        assert sum(map(len, old.runs)) == sum(map(len, new.runs)) == 20

    run(scenario)


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back() -> None:
    async def scenario(batcher: MicroBatcher, observed: Observed) -> None:
        generator = FakeGenerator()
        generator.gate.clear()
        first = asyncio.create_task(batcher.generate(generator, [portion(1, 18)]))
        await until(lambda: batcher.waiting_slices == 10)
        with pytest.raises(OverloadedError, match="10 slices wait already and at most 20 may") as caught:
            await batcher.generate(generator, [portion(2, 11)])
        assert caught.value.retry_after_seconds >= 1
        generator.gate.set()
        await first
        assert len(await batcher.generate(generator, [portion(2, 20)])) == 20

    run(scenario, bound=patient_bound(max_waiting_slices=20))


def test_a_request_that_would_wait_too_long_for_others_is_refused_by_the_speed_of_the_generator() -> None:
    async def scenario(batcher: MicroBatcher, observed: Observed) -> None:
        generator = FakeGenerator(seconds_per_slice=0.01)
        await batcher.generate(generator, [portion(1, 8)])  # its speed is known now
        large = asyncio.create_task(batcher.generate(generator, [portion(1, 400)]))
        await until(lambda: len(generator.runs) == 2)
        with pytest.raises(OverloadedError, match=r"300 slices would wait \d+\.\d s for those of others") as caught:
            await batcher.generate(generator, [portion(2, 300)])
        assert 1 <= caught.value.retry_after_seconds <= 60
        assert names(await batcher.generate(generator, [portion(3, 2)])) == [3000, 3001]  # waits for two of the others
        assert len(await batcher.generate(generator, [portion(4, 50)])) == 50
        assert not large.done()
        large.cancel()
        await asyncio.gather(large, return_exceptions=True)

    run(scenario, bound=patient_bound(max_waiting_seconds=1.0))


def test_nobody_is_refused_for_time_before_the_speed_is_known() -> None:
    async def scenario(batcher: MicroBatcher, observed: Observed) -> None:
        generator = FakeGenerator()
        answers = await asyncio.gather(*(batcher.generate(generator, [portion(seed, 100)]) for seed in range(5)))
        assert [len(counts) for counts in answers] == [100] * 5

    run(scenario, bound=patient_bound(max_waiting_seconds=1e-9))


def test_whoever_comes_alone_is_let_in_however_much_it_asks_for() -> None:
    async def scenario(batcher: MicroBatcher, observed: Observed) -> None:
        generator = FakeGenerator(seconds_per_slice=0.001)
        assert len(await batcher.generate(generator, [portion(1, 100)])) == 100
        assert len(await batcher.generate(generator, [portion(2, 100)])) == 100

    run(scenario, bound=patient_bound(max_waiting_seconds=0.01))


def test_what_an_abandoned_request_still_wanted_is_never_run() -> None:
    async def scenario(batcher: MicroBatcher, observed: Observed) -> None:
        generator = FakeGenerator()
        generator.gate.clear()
        abandoned = asyncio.create_task(batcher.generate(generator, [portion(1, 500)]))
        await until(lambda: batcher.waiting_slices == 492)
        abandoned.cancel()
        await asyncio.gather(abandoned, return_exceptions=True)
        assert batcher.waiting_slices == 0
        generator.gate.set()
        assert names(await batcher.generate(generator, [portion(2, 3)])) == [2000, 2001, 2002]
        assert sum(map(len, generator.runs)) == 8 + 3

    run(scenario)


def test_a_request_past_its_deadline_is_given_up() -> None:
    async def scenario(batcher: MicroBatcher, observed: Observed) -> None:
        generator = FakeGenerator(seconds_per_slice=0.01)
        with pytest.raises(DeadlineError, match=r"100 slices were not ready within 0\.2 s"):
            await batcher.generate(generator, [portion(1, 100)])
        await asyncio.sleep(0.2)
        assert sum(map(len, generator.runs)) < 60

    run(scenario, deadline_seconds=0.2)


def test_invalid_slices_fail_their_own_request_and_no_other() -> None:
    async def scenario(batcher: MicroBatcher, observed: Observed) -> None:
        generator = FakeGenerator(invalid_seed=1)
        bad, good = await asyncio.gather(
            batcher.generate(generator, [portion(1, 2)]),
            batcher.generate(generator, [portion(2, 2)]),
            return_exceptions=True,
        )
        assert isinstance(bad, InvalidOutputError)
        assert names(good) == [2000, 2001]

    assert run(scenario).invalid == [("constant", 2)]


def test_one_slice_behind_a_request_of_4096_waits_for_the_run_under_way_and_comes_with_the_next() -> None:
    async def scenario(batcher: MicroBatcher, observed: Observed) -> None:
        generator = FakeGenerator()
        generator.gate.clear()
        with batcher.open_stream(generator, [portion(1, 4096)]) as large:
            first = asyncio.ensure_future(anext(large))
            await until(lambda: batcher.waiting_slices == 8)  # of the two batches that it may be ahead
            small = asyncio.create_task(batcher.generate(generator, [portion(2, 1)]))
            await until(lambda: batcher.waiting_slices == 9)
            generator.gate.set()
            assert names(await small) == [2000]
            assert [2000 in made for made in generator.runs[:2]] == [False, True]
            assert names(await first) == list(range(1000, 1008))
            rest = [name async for counts in large for name in names(counts)]
            assert rest == list(range(1008, 1000 + 4096))

    assert run(scenario).queue[-1] == 0


def test_a_request_read_piece_by_piece_holds_two_batches_of_the_bound() -> None:
    async def scenario(batcher: MicroBatcher, observed: Observed) -> None:
        generator = FakeGenerator()
        with batcher.open_stream(generator, [portion(1, 4096)]), batcher.open_stream(generator, [portion(2, 4096)]):
            await until(lambda: sum(map(len, generator.runs)) >= 2 * 16)
            assert await settle(lambda: sum(map(len, generator.runs))) == 2 * 16
            assert batcher.waiting_slices == 0
            with pytest.raises(OverloadedError, match="32 slices wait already and at most 40 may"):
                await batcher.generate(generator, [portion(3, 9)])
            assert names(await batcher.generate(generator, [portion(3, 8)])) == list(range(3000, 3008))
        assert len(await batcher.generate(generator, [portion(3, 40)])) == 40

    run(scenario, bound=patient_bound(max_waiting_slices=40))


def test_a_piece_that_is_late_ends_a_stream() -> None:
    async def scenario(batcher: MicroBatcher, observed: Observed) -> None:
        generator = FakeGenerator()
        with batcher.open_stream(generator, [portion(1, 100)]) as pieces:
            assert names(await anext(pieces)) == list(range(1000, 1008))
            generator.gate.clear()
            with pytest.raises(DeadlineError, match="the next of 100 slices were not ready within 1 s"):
                _ = [piece async for piece in pieces]
        generator.gate.set()

    run(scenario, deadline_seconds=1.0)


def test_a_stopped_batcher_refuses_what_waits_and_what_comes() -> None:
    async def scenario(batcher: MicroBatcher, observed: Observed) -> None:
        generator = FakeGenerator()
        generator.gate.clear()
        waiting = asyncio.create_task(batcher.generate(generator, [portion(1, 100)]))
        await until(lambda: batcher.waiting_slices == 92)
        batcher.close()
        for refused in (waiting, batcher.generate(generator, [portion(2, 1)])):
            with pytest.raises(OverloadedError, match="stopping"):
                await refused
        generator.gate.set()

    assert run(scenario).queue[-1] == 0


def test_a_generator_that_breaks_fails_the_requests_and_not_the_batcher() -> None:
    async def scenario(batcher: MicroBatcher, observed: Observed) -> None:
        generator = FakeGenerator()
        generator.failure = RuntimeError("out of memory")
        with pytest.raises(RuntimeError, match="out of memory"):
            await batcher.generate(generator, [portion(1, 2)])
        generator.failure = None
        assert names(await batcher.generate(generator, [portion(1, 2)])) == [1000, 1001]

    run(scenario)
