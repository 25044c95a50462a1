"""The client waits for a busy service, and asks again for what did not arrive whole."""

import base64
import hashlib

import httpx
import pytest

from spect.conditions import parse_condition
from spect.errors import IncompleteBatchError, ServiceError
from spect.formats import npz
from spect.formats.heading import write_whole
from synspect import Client
from synspect.http_source import ServiceSource
from synspect.patience import ATTEMPTS, CUT_OFF_ATTEMPTS, LONGEST_BUSY_SECONDS, LONGEST_WAIT_SECONDS, PatientTransport
from synspect.source import Order
from tests.support.problem_answer import problem
from tests.support.scripted_server import RESET, ScriptedServer, answer_of, chunked_answer_of, scripted_server

URL = "http://service.test:3000"


def test_a_busy_service_is_asked_again_after_the_time_it_named(honest) -> None:
    waits: list[float] = []
    answers = [problem(503, "busy", **{"Retry-After": "2"}), problem(429, "busy"), None]

    def handler(request: httpx.Request) -> httpx.Response:
        return answers.pop(0) or honest(request)

    transport = PatientTransport(httpx.MockTransport(handler), sleep=waits.append)
    client = Client(source=ServiceSource(URL, transport=transport))

    assert len(client.generate("COR", "normal", count=1, seed=1)) == 1
    assert 2.0 <= waits[0] <= 2.5  # and not all clients at once
    assert 0 < waits[1] <= 1.0


def test_a_service_that_others_keep_busy_is_waited_for_as_long_as_it_takes(honest) -> None:
    waits: list[float] = []
    answers = [problem(503, "others were first", **{"Retry-After": "1"})] * 20

    def handler(request: httpx.Request) -> httpx.Response:
        return answers.pop() if answers else honest(request)

    transport = PatientTransport(httpx.MockTransport(handler), sleep=waits.append)
    client = Client(source=ServiceSource(URL, transport=transport))

    assert len(client.generate("COR", "normal", count=1, seed=1)) == 1
    assert len(waits) == 20


def test_patience_ends() -> None:
    waits: list[float] = []
    transport = PatientTransport(
        httpx.MockTransport(lambda _: problem(503, "full", **{"Retry-After": str(int(LONGEST_WAIT_SECONDS))})),
        sleep=waits.append,
    )

    response = httpx.Client(transport=transport).get(URL)

    assert response.status_code == 503
    assert LONGEST_WAIT_SECONDS <= sum(waits) <= LONGEST_BUSY_SECONDS


def test_what_is_used_up_until_midnight_is_said_at_once_and_not_waited_for() -> None:
    waits: list[float] = []
    used_up = problem(429, "the token ward may have 100 slices a day", **{"Retry-After": "19905"})
    transport = PatientTransport(httpx.MockTransport(lambda _: used_up), sleep=waits.append)

    with pytest.raises(ServiceError, match="the token ward may have 100 slices a day"):
        Client(source=ServiceSource(URL, transport=transport)).generate("COR", "normal", count=1, seed=1)
    assert waits == []


@pytest.fixture
def answer(bundle_source) -> bytes:
    order = Order(condition=parse_condition("COR", "normal"), count=2, seed=1)
    return write_whole(npz.write, bundle_source.generate(order))


def _ask(server: ScriptedServer, waits: list[float] | None = None):
    sleep = (waits if waits is not None else []).append
    with Client(source=ServiceSource(server.url, sleep=sleep)) as client:
        return client.generate("COR", "normal", count=2, seed=1)


def _digest_of(content: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


@pytest.mark.parametrize("how", ["reset", "length", "chunked", "damaged"])
def test_an_answer_that_did_not_arrive_whole_is_asked_for_again(answer, how) -> None:
    first = {
        "reset": RESET,
        "length": answer_of(answer[:-10], length=len(answer)),
        "chunked": chunked_answer_of(answer[:-10], is_whole=False),
        "damaged": answer_of(answer[:-200] + b"x" * 200, Content_Digest=_digest_of(answer)),
    }[how]
    waits: list[float] = []

    with scripted_server(first, answer_of(answer, Content_Digest=_digest_of(answer))) as server:
        batch = _ask(server, waits)

    assert batch.index.tolist() == [0, 1]
    assert len(waits) == 1
    assert server.requests[0] == server.requests[1]


@pytest.mark.parametrize(
    ("cut", "words"),
    [
        (lambda answer: answer_of(answer[:-10], length=len(answer)), "was cut off after [0-9]+ bytes; ask again"),
        (lambda answer: chunked_answer_of(answer, is_whole=False), "was cut off after [0-9]+ bytes; ask again"),
        (lambda answer: answer_of(answer, Content_Digest=_digest_of(b"another")), "came damaged: its bytes"),
    ],
)
def test_an_answer_that_never_arrives_whole_is_an_incomplete_batch(answer, cut, words) -> None:
    with scripted_server(*[cut(answer)] * CUT_OFF_ATTEMPTS) as server, pytest.raises(IncompleteBatchError, match=words):
        _ask(server)

    assert len(server.requests) == CUT_OFF_ATTEMPTS


def test_a_stream_that_ends_as_it_should_is_taken(answer) -> None:
    with scripted_server(chunked_answer_of(answer, is_whole=True)) as server:
        assert len(_ask(server)) == 2


def test_a_digest_of_another_kind_is_no_reason_to_refuse(answer) -> None:
    for digest in ("sha-512=:AAAA:", "sha-256=nothing", "sha-256=:?:", ""):
        with scripted_server(answer_of(answer, Content_Digest=digest)) as server:
            assert len(_ask(server)) == 2


def test_only_a_service_that_answered_before_is_waited_for(answer) -> None:
    waits: list[float] = []
    with scripted_server() as nobody:
        pass
    with pytest.raises(ServiceError, match="no service answers"):
        _ask(nobody, waits)
    assert waits == []

    with scripted_server(answer_of(answer)) as server:
        source = ServiceSource(server.url, sleep=waits.append)
        order = Order(condition=parse_condition("COR", "normal"), count=2, seed=1)
        assert len(source.generate(order)) == 2
    with pytest.raises(ServiceError, match="no service answers"):
        source.generate(order)
    assert len(waits) == ATTEMPTS - 1
