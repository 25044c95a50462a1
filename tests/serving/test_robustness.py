"""A real server and what clients and operators do to it: nothing wrong is ever sent, and it comes back to rest."""

import concurrent.futures
import json
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import islice
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from registry.bundle.directory import Bundle, load_bundle
from registry.bundle.generator import ReleasedGenerator
from spect.conditions import parse_condition
from spect.errors import IncompleteBatchError
from spect.formats import npz
from synspect import Client
from synspect.http_source import ServiceSource
from synspect.server_process import ServerOptions, ServerProcess, find_free_port, start_server
from synspect.source import Order
from tests.support.followed_directory import make_pair, switch
from tests.support.tiny_bundle import LATE_GAIN, LATE_INDEX, unbounded_graph
from tests.support.waiting import PATIENCE, read_versions, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

WORKERS = 2
DEADLINE_SECONDS = 6.0
CORTEX = parse_condition("COR", "normal")
ASKED = {"level": "COR", "pattern": "normal", "seed": 7}


@pytest.fixture(scope="module")
def server(followed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with start(followed, tmp_path_factory.mktemp("log") / "server.log") as running:
        yield running


def start(bundle: Path, log: Path):
    options = ServerOptions(
        bundle_dir=bundle,
        port=find_free_port(preferred=0),
        workers=WORKERS,
        environment={"SYNSPECT_POLL_SECONDS": "0.2", "SYNSPECT_DEADLINE_SECONDS": f"{DEADLINE_SECONDS:g}"},
    )
    return start_server(options, log_path=log)


def expected(bundle: Bundle, *, seed: int, count: int, start: int = 0) -> np.ndarray:
    return ReleasedGenerator(bundle, threads=1).generate(CORTEX, seed=seed, start=start, count=count).counts


def metrics(server: ServerProcess) -> dict[str, float]:
    """Return samples by name, by name{reason} where they have one, and counts of requests by name{route,status}."""
    text = httpx.get(f"{server.url}/metrics", timeout=PATIENCE).text
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(sample.labels[name] for name in ("reason", "route", "status") if name in sample.labels)
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


def check_at_rest(server: ServerProcess) -> None:
    """It is ready, nothing waits, and the generator makes nothing for nobody."""
    wait_for("readiness", server.is_ready)
    wait_for("an empty queue", lambda: metrics(server)["synspect_queue_slices"] == 0)
    wait_for("a generator at rest", lambda: made_meanwhile(server) == 0)


def made_meanwhile(server: ServerProcess) -> float:
    before = metrics(server)["synspect_inference_batch_slices_sum"]
    time.sleep(0.3)
    return metrics(server)["synspect_inference_batch_slices_sum"] - before


def open_socket(server: ServerProcess, *, receive_buffer: int | None = None) -> socket.socket:
    connection = socket.socket()
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(PATIENCE)
    connection.connect(("127.0.0.1", server.options.port))
    return connection


def post(server: ServerProcess, **asked: object) -> httpx.Response:
    return httpx.post(f"{server.url}/v1/slices", json={**ASKED, **asked}, timeout=PATIENCE)


def request_bytes(**asked: object) -> bytes:
    body = json.dumps({**ASKED, **asked}).encode()
    head = "POST /v1/slices HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


def read_all(connection: socket.socket) -> bytes:
    got = b""
    with suppress(ConnectionResetError):
        while chunk := connection.recv(2**20):
            got += chunk
    return got


@pytest.fixture
def serving_one_wrong_slice(server: ServerProcess, followed: Path) -> Iterator[None]:
    """Serve a model that is sound in what is made of it when it is opened, and not in one slice much later."""
    sound = (followed / "current").resolve()
    switch(followed, make_pair(followed, "late", version="late", graph=unbounded_graph(output_gain=LATE_GAIN)))
    wait_for("the model with a late wrong slice", lambda: read_versions(server.url) == {"late"})
    yield
    switch(followed, sound)
    wait_for("the sound model", lambda: "late" not in read_versions(server.url))


@pytest.mark.usefixtures("serving_one_wrong_slice")
def test_a_stream_in_which_a_slice_is_wrong_ends_without_its_last_chunk(server: ServerProcess) -> None:
    key, failed = (
        "synspect_incomplete_answers_total{invalid_output}",
        "synspect_request_duration_seconds_count{/v1/slices,500}",
    )
    before = metrics(server)
    with open_socket(server) as connection:
        connection.sendall(request_bytes(seed=0, count=1000))
        answer = read_all(connection)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"transfer-encoding: chunked" in head.lower()
    assert (LATE_INDEX - 100) * 64 * 64 * 4 < len(body) < LATE_INDEX * 64 * 64 * 4 + 10_000
    assert not body.endswith(b"0\r\n\r\n")
    after = metrics(server)
    assert (after[key], after[failed]) == (before[key] + 1, before[failed] + 1)

    source = ServiceSource(server.url, sleep=lambda _: None)
    with pytest.raises(IncompleteBatchError, match="was cut off after"):
        source.generate(Order(condition=CORTEX, seed=0, count=1000))
    assert (
        httpx.post(f"{server.url}/v1/slices", json={**ASKED, "seed": 0, "count": 512}, timeout=PATIENCE).status_code
        == 200
    )
    problem = httpx.post(
        f"{server.url}/v1/slices", json={**ASKED, "seed": 0, "count": 128, "start": 512}, timeout=PATIENCE
    )
    assert (problem.status_code, problem.json()["title"]) == (500, "Internal Server Error")
    check_at_rest(server)


def test_the_model_of_a_stream_is_that_of_its_admission(server: ServerProcess, followed: Path) -> None:
    old = load_bundle((followed / "current").resolve() / "bundle")
    with httpx.stream("POST", f"{server.url}/v1/slices", json={**ASKED, "count": 4096}, timeout=60) as response:
        chunks = response.iter_raw()
        content = next(chunks)
        switch(followed, make_pair(followed, "b", version="2", output_gain=0.9))
        while read_versions(server.url) != {"2"}:
            content += b"".join(islice(chunks, 4))  # slowly, so that the swap comes in the middle
        content += b"".join(chunks)
    batch = npz.load_batch(content)
    assert (batch.model_version, batch.model_sha256) == ("1", old.sha256)
    assert batch.index.tolist() == list(range(4096))
    np.testing.assert_allclose(batch.counts[-40:], expected(old, seed=7, start=4056, count=40), atol=0.012)
    after = post(server, count=1)
    assert after.headers["x-synspect-model-version"] == "2"
    check_at_rest(server)


def test_a_reader_that_stops_reading_is_let_go_and_a_slow_one_is_served(server: ServerProcess) -> None:
    before = metrics(server)["synspect_rejected_requests_total{abandoned}"]
    with open_socket(server, receive_buffer=4096) as stalled, open_socket(server, receive_buffer=2**16) as slow:
        stalled.sendall(request_bytes(count=4096))
        slow.sendall(request_bytes(count=1024))
        got, started = b"", time.monotonic()
        while not got.endswith(b"0\r\n\r\n"):
            chunk = slow.recv(2**20)
            assert chunk
            got += chunk
            time.sleep(0.02)
        assert time.monotonic() - started > 0.5
        wait_for("one let go", lambda: metrics(server)["synspect_rejected_requests_total{abandoned}"] == before + 1)
        assert not read_all(stalled).endswith(b"0\r\n\r\n")
    check_at_rest(server)


def test_who_sends_a_request_byte_by_byte_is_let_go(server: ServerProcess) -> None:
    def trickle(content: bytes) -> bytes:
        with open_socket(server) as connection:
            connection.settimeout(0.2)
            for byte in content:
                try:
                    connection.sendall(bytes([byte]))
                    return connection.recv(65536) or b"closed"
                except TimeoutError:
                    continue
                except OSError:
                    return b"closed"
        return b"was read to its end"

    whole = request_bytes(count=1)
    head, _, body = whole.partition(b"\r\n\r\n")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        slow_head = pool.submit(trickle, whole)
        slow_body = pool.submit(trickle_after, server, head + b"\r\n\r\n", body)
        assert slow_head.result(120) == b"closed"
        answer = slow_body.result(120)
    assert answer.startswith(b"HTTP/1.1 504")
    assert b"the body took longer than 6 s" in answer
    check_at_rest(server)


def trickle_after(server: ServerProcess, head: bytes, body: bytes) -> bytes:
    """Send a head at once and its body never; return what comes back until the connection ends."""
    with open_socket(server) as connection:
        connection.sendall(head + body[:1])
        return read_all(connection)


def test_clients_that_hang_up_leave_nothing_behind(server: ServerProcess) -> None:
    with ExitStack() as stack:
        connections = [stack.enter_context(open_socket(server)) for _ in range(24)]
        for number, connection in enumerate(connections):
            connection.sendall(request_bytes(seed=number, count=(4096, 512, 3)[number % 3]))
        wait_for("work under way", lambda: made_meanwhile(server) > 0)
        for number, connection in enumerate(connections):
            if number % 2:  # a reset instead of an orderly end
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    check_at_rest(server)


def find_workers(server: ServerProcess) -> list[psutil.Process]:
    """Return the processes that listen for requests: those whose command names the service."""
    children = psutil.Process(server.pid).children(recursive=True)
    return [child for child in children if any("worker" in word for word in read_command(child))]


def read_command(process: psutil.Process) -> list[str]:
    """Return the command of a process, nothing of one that has just been killed."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


@pytest.mark.slow
def test_a_killed_worker_costs_nobody_a_wrong_slice(server: ServerProcess, followed: Path) -> None:
    truth = expected(load_bundle((followed / "current").resolve() / "bundle"), seed=7, count=600)
    stopping = threading.Event()
    outcomes: list[str] = []

    def ask(number: int) -> None:
        while not stopping.is_set():
            start, count = (37 * number) % 500, 1 + 7 * number
            try:
                answer = post(server, start=start, count=count)
            except httpx.TransportError:
                outcomes.append("broken")
                time.sleep(0.1)
                continue
            outcomes.append(str(answer.status_code))
            if answer.status_code == 200:
                np.testing.assert_allclose(
                    npz.load_batch(answer.content).counts, truth[start : start + count], atol=0.012
                )

    before = {worker.pid for worker in find_workers(server)}
    assert len(before) >= WORKERS
    with concurrent.futures.ThreadPoolExecutor(7) as pool, Client(url=server.url) as client, ExitStack() as stack:
        stack.callback(stopping.set)
        asking = [pool.submit(ask, number) for number in range(6)]
        patient = pool.submit(client.generate, "COR", "normal", count=600, seed=7)
        wait_for("requests under way", lambda: len(outcomes) > 6)
        killed = max(before)
        os.kill(killed, signal.SIGKILL)
        np.testing.assert_allclose(patient.result(120).counts, truth, atol=0.012)
        wait_for("another worker", lambda: len({one.pid for one in find_workers(server)} - {killed}) == len(before))
        stopping.set()
        for one in asking:
            one.result(120)
    assert set(outcomes) <= {"200", "503", "504", "broken"}
    assert outcomes.count("200") > 0
    check_at_rest(server)


@pytest.mark.slow
def test_a_server_told_to_stop_answers_what_it_accepted_or_breaks_it_off(served_bundle: Bundle, tmp_path: Path) -> None:
    truth = expected(served_bundle, seed=7, count=512)
    with start(served_bundle.path, tmp_path / "server.log") as server, concurrent.futures.ThreadPoolExecutor(6) as pool:
        accepted = [pool.submit(post, server, count=count) for count in (1, 64, 512, 512, 4096)]
        wait_for("slices under way", lambda: metrics(server)["synspect_inference_batch_slices_sum"] > 0)
        os.kill(server.pid, signal.SIGTERM)
        answered = 0
        for one in accepted:
            try:
                answer = one.result(120)
            except httpx.TransportError:
                continue
            if answer.status_code == 200:
                counts = npz.load_batch(answer.content).counts
                np.testing.assert_allclose(counts[:512], truth[: len(counts)], atol=0.012)
                answered += 1
        assert answered > 0
        wait_for("the end of the server", lambda: server.poll() is not None)
