"""Answers of more than 512 slices: sent while they are made, held back by their reader, cut off where one is wrong."""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

from serving.batching.batcher import MicroBatcher
from serving.encode import is_streamed
from serving.schemas import Portion, parse_order
from serving.settings import WHOLE_SLICES
from serving.transport.streamed_answer import IncompleteAnswerError, Parts, StreamedAnswer, write_parts
from spect.conditions import CONDITIONS
from spect.formats import npz
from spect.formats.writer import FORMATS
from spect.slices import Counts, SyntheticBatch
from tests.support.api_calls import ASKED, post
from tests.support.asgi_call import AsgiCall
from tests.support.asgi_client import AsgiClient
from tests.support.fake_generator import FakeGenerator
from tests.support.patient_bound import patient_bound
from tests.support.unobserved import Unobserved
from tests.support.waiting import settle, until

LARGE = WHOLE_SLICES + 100


def test_an_answer_sent_while_it_is_made_holds_the_slices_of_one_made_whole(client: AsgiClient) -> None:
    streamed = post(client, count=LARGE)
    first, second = post(client, count=WHOLE_SLICES), post(client, count=100, start=WHOLE_SLICES)

    assert "content-length" not in streamed.headers
    assert "content-digest" not in streamed.headers
    assert streamed.headers["x-synspect-model-sha256"] == first.headers["x-synspect-model-sha256"]
    assert streamed.headers["x-synspect-seed"] == "7"
    batch = npz.load_batch(streamed.content)
    parts = [npz.load_batch(answer.content) for answer in (first, second)]
    np.testing.assert_array_equal(batch.counts, np.concatenate([part.counts for part in parts]))
    assert batch.index.tolist() == list(range(LARGE))


@pytest.mark.parametrize("name", ["npz", "npy", "nifti", "png", "json"])
def test_a_whole_answer_says_its_digest(client: AsgiClient, name: str) -> None:
    answer = post(client, count=2, format=name)

    digest = base64.b64encode(hashlib.sha256(answer.content).digest()).decode()
    assert answer.headers["content-digest"] == f"sha-256=:{digest}:"
    assert int(answer.headers["content-length"]) == len(answer.content)


@pytest.mark.parametrize("name", FORMATS)
def test_what_needs_every_slice_before_its_first_byte_is_never_streamed(name: str) -> None:
    large = parse_order(json.dumps({**ASKED, "count": LARGE}).encode())
    small = parse_order(json.dumps({**ASKED, "count": WHOLE_SLICES}).encode())

    assert is_streamed(large, name) == (name not in {"png", "json"})
    assert not is_streamed(small, name)


def test_a_large_mix_is_labelled_measured_and_counted_portion_by_portion(client: AsgiClient) -> None:
    mix = [
        {"level": "COR", "pattern": "normal", "count": 300, "start": 5},
        {"level": "BG", "pattern": "bilateral", "count": 301, "mean_counts": 50},
    ]

    batch = npz.load_batch(client.post("/v1/slices", json={"mix": mix, "seed": 3, "matrix": 128}).content)

    assert batch.level.tolist() == ["COR"] * 300 + ["BG"] * 301
    assert batch.index.tolist() == [*range(5, 305), *range(301)]
    assert batch.counts.shape == (601, 128, 128)
    assert batch.measured["mean_counts"].shape == (601,)
    metrics = client.get("/metrics").text
    assert 'synspect_slices_generated_total{level="COR",pattern="normal"} 300.0' in metrics
    assert 'synspect_slices_generated_total{level="BG",pattern="bilateral"} 301.0' in metrics
    assert "synspect_queue_slices 0.0" in metrics


def test_what_fails_before_the_first_byte_is_a_problem_as_ever(open_client) -> None:
    late = open_client(deadline_seconds=0.0001)
    small = open_client(max_waiting_slices=WHOLE_SLICES, batch_slices=WHOLE_SLICES)

    response = post(late, count=LARGE)
    assert response.status_code == 504
    assert "the next of 612 slices were not ready within" in response.json()["detail"]
    response = post(small, count=LARGE)
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) >= 1
    assert post(late, count=LARGE, left_right_ratio=9).status_code == 422


def portion(seed: int, count: int) -> Portion:
    return Portion(condition=CONDITIONS[0], seed=seed, start=0, count=count)


class Told:
    """What a streamed answer told of itself, and which slices it sent."""

    def __init__(self) -> None:
        self.cut_off: list[str] = []
        self.abandoned = 0
        self.sent: list[tuple[int, int]] = []

    def note_abandoned(self) -> None:
        self.abandoned += 1


async def label(made: AsyncIterator[Counts]) -> AsyncIterator[SyntheticBatch]:
    async for counts in made:
        names = np.full(len(counts), "x")
        numbers = counts[:, 0, 0].astype(np.int64)
        yield SyntheticBatch(
            counts=counts,
            level=names,
            pattern=names,
            seed=numbers,
            index=numbers,
            pixel_spacing_mm=4.0,
            model_version="1",
            model_sha256="a",
        )


def write_names(parts: Iterator[SyntheticBatch]) -> Iterator[bytes]:
    """A format that writes the names of slices."""
    yield b"names"
    for part in parts:
        yield "".join(f" {name}" for name in part.index).encode()
    yield b" end"


def stream(
    scenario: Callable[[AsgiCall, MicroBatcher, FakeGenerator, Told], Awaitable[None]],
    *,
    portions: list[Portion],
    generator: FakeGenerator | None = None,
    most_seconds: float = 60.0,
) -> Told:
    """Serve fake slices by the real batcher and the real answer, to a scenario that reads."""
    told, made_by = Told(), generator or FakeGenerator()

    async def main() -> None:
        batcher = MicroBatcher(Unobserved(), bound=patient_bound(), batch_slices=8, deadline_seconds=60.0)
        with ThreadPoolExecutor(1) as pool:

            @contextmanager
            def open_chunks() -> Iterator[AsyncIterator[bytes]]:
                with batcher.open_stream(made_by, portions) as made:
                    parts = Parts(label(made), finish=lambda part: part)
                    yield write_parts(
                        parts, write_names, pool=pool, on_sent=lambda part, first: told.sent.append((first, len(part)))
                    )

            answer = StreamedAnswer(
                open_chunks,
                media_type="text/plain",
                headers={"X-Pinned": "yes"},
                most_seconds=most_seconds,
                on_cut_off=told.cut_off.append,
                on_abandoned=told.note_abandoned,
            )
            try:
                async with AsgiCall(answer, "/", b"") as call:
                    await scenario(call, batcher, made_by, told)
                assert batcher.waiting_slices == 0
            finally:
                made_by.gate.set()
                batcher.close()

    asyncio.run(main())
    return told


def test_chunks_hold_every_slice_in_order_and_are_counted_when_they_were_read() -> None:
    async def scenario(call: AsgiCall, batcher: MicroBatcher, generator: FakeGenerator, told: Told) -> None:
        status, headers, body = await call.read_to_the_end()
        assert status == 200
        assert headers["x-pinned"] == "yes"
        assert body.decode() == " ".join(["names", *map(str, range(1000, 1020)), *map(str, range(2000, 2005)), "end"])

    told = stream(scenario, portions=[portion(1, 20), portion(2, 5)])
    assert told.sent == [(0, 8), (8, 8), (16, 4), (20, 4), (24, 1)]
    assert (told.cut_off, told.abandoned) == ([], 0)


def test_a_slow_reader_holds_the_generator_back_and_its_place_stays_small() -> None:
    async def scenario(call: AsgiCall, batcher: MicroBatcher, generator: FakeGenerator, told: Told) -> None:
        await call.read()
        made = await settle(lambda: sum(map(len, generator.runs)))  # reads nothing
        assert made <= 4 * 8  # two batches ahead, one at the writer, one in the connection
        assert await batcher.generate(generator, [portion(2, 984)]) is not None  # of 1,000 places it holds two batches
        assert sum(map(len, generator.runs)) == made + 984
        for _ in range(3):
            await call.read()
        await until(lambda: sum(map(len, generator.runs)) > made + 984)
        assert await settle(lambda: sum(map(len, generator.runs))) <= made + 984 + 3 * 8

    stream(scenario, portions=[portion(1, 4000)])


def test_a_slice_that_goes_wrong_late_cuts_the_answer_off_without_its_end() -> None:
    async def scenario(call: AsgiCall, batcher: MicroBatcher, generator: FakeGenerator, told: Told) -> None:
        messages = [await call.read() for _ in range(4)]
        with pytest.raises(IncompleteAnswerError):
            await call.finish()
        assert all(message.get("more_body", True) for message in messages)
        assert b"2000" not in b"".join(message.get("body", b"") for message in messages)

    told = stream(scenario, portions=[portion(1, 16), portion(2, 8)], generator=FakeGenerator(invalid_seed=2))
    assert told.cut_off == ["invalid_output"]


def test_a_broken_run_cuts_the_answer_off_and_says_internal() -> None:
    async def scenario(call: AsgiCall, batcher: MicroBatcher, generator: FakeGenerator, told: Told) -> None:
        await call.read()
        generator.failure = RuntimeError("out of memory")
        with pytest.raises(IncompleteAnswerError):
            await call.finish()

    assert stream(scenario, portions=[portion(1, 400)]).cut_off == ["internal"]


def test_an_answer_that_takes_too_long_in_all_is_cut_off() -> None:
    async def scenario(call: AsgiCall, batcher: MicroBatcher, generator: FakeGenerator, told: Told) -> None:
        await call.read()
        generator.gate.clear()
        with pytest.raises(IncompleteAnswerError):
            await call.finish()

    assert stream(scenario, portions=[portion(1, 4000)], most_seconds=2.0).cut_off == ["deadline"]


def test_a_client_that_hangs_up_frees_everything_at_once() -> None:
    async def scenario(call: AsgiCall, batcher: MicroBatcher, generator: FakeGenerator, told: Told) -> None:
        await call.read()
        call.hang_up()
        await call.finish()
        made = sum(map(len, generator.runs))
        await asyncio.sleep(0.1)
        assert sum(map(len, generator.runs)) <= made + 8  # the run under way
        assert batcher.waiting_slices == 0

    told = stream(scenario, portions=[portion(1, 4000)], generator=FakeGenerator(seconds_per_slice=0.001))
    assert (told.cut_off, told.abandoned) == ([], 1)


def test_a_service_that_stops_cuts_a_stream_off() -> None:
    async def scenario(call: AsgiCall, batcher: MicroBatcher, generator: FakeGenerator, told: Told) -> None:
        await call.read()
        batcher.close()
        with pytest.raises(IncompleteAnswerError):
            await call.finish()

    assert stream(scenario, portions=[portion(1, 4000)]).cut_off == ["overloaded"]


def test_a_writer_that_asks_twice_before_it_writes_is_an_error_and_no_deadlock() -> None:
    async def main() -> None:
        async def two() -> AsyncIterator[Counts]:
            yield np.zeros((1, 2, 2), dtype=np.float32)
            yield np.zeros((1, 2, 2), dtype=np.float32)

        def greedy(parts: Iterator[SyntheticBatch]) -> Iterator[bytes]:
            yield b"".join(part.counts.tobytes() for part in parts)

        with ThreadPoolExecutor(1) as pool:
            chunks = write_parts(
                Parts(label(two()), finish=lambda part: part), greedy, pool=pool, on_sent=lambda _part, _first: None
            )
            with pytest.raises(RuntimeError, match="second part"):
                await anext(chunks)

    asyncio.run(main())


def test_a_large_order_is_refused_in_json_before_anything_is_made(client: AsgiClient) -> None:
    answer = post(client, count=LARGE, format="json")
    assert answer.status_code == 422
    assert json.loads(answer.content)["type"].endswith("request")
