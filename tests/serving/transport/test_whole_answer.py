"""Answers that are made whole: the same bytes however they are cut, in little memory, given up with their client."""

import asyncio
import base64
import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from registry.bundle.directory import Bundle
from serving.problems import DeadlineError
from serving.transport.streamed_answer import IncompleteAnswerError
from serving.transport.whole_answer import WholeAnswer, WholeResponse, write_answer
from spect.formats.whole import count_most
from tests.support.api_calls import ASKED, detail, post
from tests.support.asgi_call import AsgiCall
from tests.support.asgi_client import AsgiClient
from tests.support.waiting import until

MIB = 2**20


def run_write(chunks: Iterator[bytes], *, deadline_seconds: float = 60.0) -> WholeAnswer:
    """Write an answer on a thread of its own."""
    with ThreadPoolExecutor(1) as pool:
        return asyncio.run(write_answer(chunks, pool=pool, deadline_seconds=deadline_seconds))


def sent(answer: WholeAnswer, *, seconds: float = 60.0, told: list[str] | None = None) -> WholeResponse:
    """Build the response of an answer; `told` hears why it was cut off."""
    told = [] if told is None else told
    headers = {"X-Pinned": "yes"}
    return WholeResponse(answer, media_type="text/plain", headers=headers, most_seconds=seconds, on_cut_off=told.append)


@pytest.mark.parametrize("sizes", [[], [10], [3 * MIB], [MIB // 2] * 30])
def test_what_was_written_is_sent_in_pieces_with_its_digest_and_length(sizes: list[int]) -> None:
    chunks = [bytes([number]) * size for number, size in enumerate(sizes)]
    content = b"".join(chunks)
    answer = run_write(iter(chunks))
    assert answer.is_in_memory == (len(content) <= 8 * MIB)

    async def send() -> tuple[int, dict[str, str], bytes]:
        response = sent(answer)
        async with AsgiCall(response, "/", b"") as call:
            return await call.read_to_the_end()

    status, headers, body = asyncio.run(send())
    assert (status, body) == (200, content)
    assert headers["content-length"] == str(len(content))
    assert headers["content-digest"] == f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"
    assert headers["x-pinned"] == "yes"


@pytest.mark.parametrize("mebibytes", [3, 20], ids=["in memory", "in a file"])
def test_a_whole_answer_that_is_not_read_in_time_is_cut_off_and_let_go(mebibytes: int) -> None:
    answer = run_write(iter([bytes(MIB)] * mebibytes))
    told: list[str] = []

    async def read_one_piece() -> None:
        async with AsgiCall(sent(answer, seconds=0.3, told=told), "/", b"") as call:
            assert (await call.read())["status"] == 200
            assert (await call.read())["more_body"]
            with pytest.raises(IncompleteAnswerError):
                await asyncio.wait_for(call.end_unread(), 10)

    asyncio.run(read_one_piece())
    assert told == ["deadline"]
    assert answer.is_closed


def test_a_small_answer_has_its_turn_between_the_turns_of_a_large_one() -> None:
    order: list[str] = []
    go_on = threading.Event()

    def write(name: str, chunks: int) -> Iterator[bytes]:
        for _ in range(chunks):
            go_on.wait(60)
            order.append(name)
            yield bytes(MIB)

    async def both() -> None:
        with ThreadPoolExecutor(1) as pool:
            large = asyncio.create_task(write_answer(write("large", 10), pool=pool, deadline_seconds=60))
            await asyncio.sleep(0)
            small = asyncio.create_task(write_answer(write("small", 1), pool=pool, deadline_seconds=60))
            await asyncio.sleep(0)
            go_on.set()
            for answer in await asyncio.gather(large, small):
                answer.close()

    asyncio.run(both())
    assert order.index("small") <= 2


def test_what_needs_every_slice_at_once_is_written_one_after_the_other() -> None:
    under_way: set[int] = set()
    most: list[int] = []

    def write(number: int) -> Iterator[bytes]:
        under_way.add(number)
        for _ in range(3):
            most.append(len(under_way))
            yield bytes(MIB)
        under_way.remove(number)

    async def four() -> None:
        alone = asyncio.Lock()
        with ThreadPoolExecutor(1) as pool:
            writing = (write_answer(write(k), pool=pool, deadline_seconds=60, alone=alone) for k in range(4))
            for answer in await asyncio.gather(*writing):
                answer.close()

    asyncio.run(four())
    assert most == [1] * 12


def test_waiting_for_the_others_ends_at_the_deadline() -> None:
    async def wait() -> None:
        alone = asyncio.Lock()
        await alone.acquire()
        with ThreadPoolExecutor(1) as pool:
            await write_answer(iter([b"x"]), pool=pool, deadline_seconds=0.05, alone=alone)

    with pytest.raises(DeadlineError, match="not written within"):
        asyncio.run(wait())


def test_an_answer_that_nobody_waits_for_is_written_no_further_than_its_turn() -> None:
    written: list[int] = []
    go_on = threading.Event()

    def chunks() -> Iterator[bytes]:
        for number in range(100):
            written.append(number)
            yield bytes(MIB)
            go_on.wait(60)

    async def abandon() -> None:
        with ThreadPoolExecutor(1) as pool:
            writing = asyncio.create_task(write_answer(chunks(), pool=pool, deadline_seconds=60))
            await until(lambda: len(written) > 0)
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            go_on.set()

    asyncio.run(abandon())
    assert len(written) <= 3


def test_writing_too_long_is_given_up_at_the_deadline() -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(MIB // 4)

    with pytest.raises(DeadlineError, match=r"made and not written within 0\.1 s; ask for fewer"):
        run_write(endless(), deadline_seconds=0.1)


def test_a_writer_that_fails_says_so() -> None:
    def failing() -> Iterator[bytes]:
        yield b"x"
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        run_write(failing())


def test_nothing_is_written_on_for_a_client_that_hung_up(client: AsgiClient) -> None:
    body = json.dumps({**ASKED, "count": 256, "matrix": 128, "format": "json"}).encode()  # seconds of writing
    batcher = client.app.state.worker.batcher

    async def hang_up() -> float:
        async with AsgiCall(client.app, "/v1/slices", body) as call:
            await until(lambda: batcher.waiting_slices > 0)
            await until(lambda: batcher.waiting_slices == 0)
            await asyncio.sleep(0.2)  # the last slices are made, and the first are written
            call.hang_up()
            await call.finish()
            await asyncio.sleep(0.2)  # the turn under way
            started = time.process_time()
            await asyncio.sleep(0.5)
            return time.process_time() - started

    assert client._run(hang_up()) < 0.25
    assert 'synspect_rejected_requests_total{reason="abandoned"} 1.0' in client.get("/metrics").text


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize(
    ("name", "count", "matrix", "times", "most_mib"),
    [
        ("npz", 512, 256, 1, 64),
        ("dicom", 256, 256, 1, 64),
        ("png", 64, 256, 1, 128),
        ("json", 64, 256, 1, 96),
        ("json", 40, 256, 4, 54),
    ],
)
def test_whole_answers_of_any_size_take_little_memory(
    served_bundle: Bundle, name: str, count: int, matrix: int, times: int, most_mib: int
) -> None:
    body = json.dumps({**ASKED, "count": count, "matrix": matrix})
    command = [sys.executable, "-m", "tests.support.peak_memory", str(served_bundle.path), name, body, str(times)]

    finished = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    assert finished.returncode == 0, finished.stderr
    assert int(finished.stdout) < most_mib


@pytest.mark.parametrize(("matrix", "most"), [(64, 256), (128, 256), (256, 64)])
def test_what_is_written_whole_is_bounded_by_its_pixels(client: AsgiClient, matrix: int, most: int) -> None:
    assert count_most(matrix) == most
    sheet = post(client, count=most + 1, matrix=matrix, format="png")
    text = post(client, count=most + 1, matrix=matrix, format="json")

    assert sheet.status_code == text.status_code == 422
    words = f"count must be at most {most} as {{}} at matrix {matrix}, got {most + 1}; ask for {{}}, or for fewer"
    assert detail(sheet) == words.format("png", "layout single")
    assert detail(text) == words.format("json", "npz")
    single = client.post("/v1/slices?layout=single", json={**ASKED, "count": most + 1, "matrix": matrix})
    assert single.status_code == 200
