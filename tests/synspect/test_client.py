"""One call for a service and for a bundle; a busy service is waited for, and every problem is one line."""

import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import httpx
import numpy as np
import pytest

from registry.bundle.directory import Bundle
from registry.bundle.served_model import open_model
from serving.answers import ModelAnswer, describe_conditions
from spect.conditions import parse_condition
from spect.density import Targets
from spect.errors import ConditionError, IncompleteBatchError, RequestError, ServiceError
from spect.formats import npz
from spect.formats.heading import write_whole
from synspect import Client
from synspect.bundle_source import BundleSource
from synspect.http_source import ServiceSource
from synspect.patience import ATTEMPTS, CUT_OFF_ATTEMPTS, LONGEST_BUSY_SECONDS, LONGEST_WAIT_SECONDS, PatientTransport
from synspect.source import Order, generate_in_parts
from tests.support.drift_samples import make_profile
from tests.support.scripted_server import RESET, ScriptedServer, answer_of, chunked_answer_of, scripted_server
from tests.support.tiny_bundle import build_tiny_bundle

Handler = Callable[[httpx.Request], httpx.Response]
URL = "http://service.test:3000"


@pytest.fixture(scope="module")
def bundle_source(tiny_bundle: Bundle) -> BundleSource:
    return BundleSource(tiny_bundle.path, threads=1)


@pytest.fixture
def honest(bundle_source) -> Handler:
    """A service that does what synspect does, over the bundle."""

    def answer(request: httpx.Request) -> httpx.Response:
        asked = json.loads(request.content)
        order = Order(
            condition=parse_condition(asked["level"], asked["pattern"]),
            count=asked["count"],
            seed=asked["seed"],
            start=asked["start"],
            targets=Targets(mean_counts=asked.get("mean_counts"), left_right_ratio=asked.get("left_right_ratio")),
            matrix=asked.get("matrix"),
        )
        return httpx.Response(200, content=write_whole(npz.write, bundle_source.generate(order)))

    return answer


def _client(handler: Handler) -> Client:
    return Client(source=ServiceSource(URL, transport=httpx.MockTransport(handler), sleep=lambda _seconds: None))


def _problem(status: int, detail: str, **headers: str) -> httpx.Response:
    content = json.dumps({"status": status, "title": "x", "detail": detail}).encode()
    return httpx.Response(status, content=content, headers={"Content-Type": "application/problem+json", **headers})


def test_service_and_bundle_give_the_same_slices_for_the_same_call(honest, tiny_bundle) -> None:
    asked = {"count": 300, "seed": 7, "start": 5, "left_right_ratio": 0.9, "matrix": 128}

    with _client(honest) as remote, Client(bundle=tiny_bundle.path) as local:
        over_http = remote.generate("COR", "unilateral", **asked)
        on_disk = local.generate("COR", "unilateral", **asked)

    np.testing.assert_array_equal(over_http.counts, on_disk.counts)
    np.testing.assert_array_equal(over_http.index, on_disk.index)
    assert over_http.index.tolist() == list(range(5, 305))
    assert over_http.pixel_spacing_mm == on_disk.pixel_spacing_mm == 2.0


def test_a_seed_that_nobody_gave_is_drawn_and_told(bundle_source) -> None:
    client = Client(source=bundle_source)

    first = client.generate("BG", "normal", count=2)
    second = client.generate("BG", "normal", count=2)

    assert first.seed[0] != second.seed[0]
    again = client.generate("BG", "normal", count=2, seed=int(first.seed[0]))
    np.testing.assert_array_equal(again.counts, first.counts)


def test_a_busy_service_is_asked_again_after_the_time_it_named(honest) -> None:
    waits: list[float] = []
    answers = [_problem(503, "busy", **{"Retry-After": "2"}), _problem(429, "busy"), None]

    def handler(request: httpx.Request) -> httpx.Response:
        return answers.pop(0) or honest(request)

    transport = PatientTransport(httpx.MockTransport(handler), sleep=waits.append)
    client = Client(source=ServiceSource(URL, transport=transport))

    assert len(client.generate("COR", "normal", count=1, seed=1)) == 1
    assert 2.0 <= waits[0] <= 2.5  # and not all clients at once
    assert 0 < waits[1] <= 1.0


def test_a_service_that_others_keep_busy_is_waited_for_as_long_as_it_takes(honest) -> None:
    waits: list[float] = []
    answers = [_problem(503, "others were first", **{"Retry-After": "1"})] * 20

    def handler(request: httpx.Request) -> httpx.Response:
        return answers.pop() if answers else honest(request)

    transport = PatientTransport(httpx.MockTransport(handler), sleep=waits.append)
    client = Client(source=ServiceSource(URL, transport=transport))

    assert len(client.generate("COR", "normal", count=1, seed=1)) == 1
    assert len(waits) == 20


def test_patience_ends() -> None:
    waits: list[float] = []
    transport = PatientTransport(
        httpx.MockTransport(lambda _: _problem(503, "full", **{"Retry-After": str(int(LONGEST_WAIT_SECONDS))})),
        sleep=waits.append,
    )

    response = httpx.Client(transport=transport).get(URL)

    assert response.status_code == 503
    assert LONGEST_WAIT_SECONDS <= sum(waits) <= LONGEST_BUSY_SECONDS


def test_what_is_used_up_until_midnight_is_said_at_once_and_not_waited_for() -> None:
    waits: list[float] = []
    used_up = _problem(429, "the token ward may have 100 slices a day", **{"Retry-After": "19905"})
    transport = PatientTransport(httpx.MockTransport(lambda _: used_up), sleep=waits.append)

    with pytest.raises(ServiceError, match="the token ward may have 100 slices a day"):
        Client(source=ServiceSource(URL, transport=transport)).generate("COR", "normal", count=1, seed=1)
    assert waits == []


@pytest.mark.parametrize(
    ("status", "error"), [(422, RequestError), (413, RequestError), (401, ServiceError), (500, ServiceError)]
)
def test_a_problem_becomes_one_line_with_its_detail(status, error) -> None:
    with pytest.raises(error, match="the very reason") as caught:
        _client(lambda _: _problem(status, "the very\nreason")).generate("COR", "normal", count=1, seed=1)
    assert "\n" not in str(caught.value)


def test_a_server_that_is_not_synspect_is_recognised() -> None:
    with pytest.raises(ServiceError, match="answered 404 and not as synspect does"):
        _client(lambda _: httpx.Response(404, text="<html>")).generate("COR", "normal", count=1, seed=1)
    with pytest.raises(ServiceError, match="broken slices"):
        _client(lambda _: httpx.Response(200, text="<html>")).generate("COR", "normal", count=1, seed=1)
    with pytest.raises(ServiceError, match="JSON object"):
        _client(lambda _: httpx.Response(200, text="[]")).model()


@pytest.mark.parametrize("error", [httpx.ReadTimeout, httpx.ConnectError, httpx.RemoteProtocolError])
def test_a_broken_connection_is_one_line(error) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise error("a\nb")

    with pytest.raises(ServiceError, match=URL) as caught:
        _client(fail).model()
    assert "\n" not in str(caught.value)


class Swapping:
    """Answers with the models of a list in turn, and goes on with the last."""

    def __init__(self, source: BundleSource, models: str) -> None:
        self._source, self._models = source, list(models)

    def generate(self, order: Order):
        model = self._models.pop(0) if len(self._models) > 1 else self._models[0]
        return replace(self._source.generate(order), model_sha256=model)


def test_a_batch_is_begun_again_where_the_model_changes_in_between(bundle_source) -> None:
    waits: list[float] = []
    told: list[int] = []
    order = Order(condition=parse_condition("COR", "normal"), count=300, seed=1)

    batch = generate_in_parts(Swapping(bundle_source, "aabb"), order, progress=told.append, sleep=waits.append)

    assert batch.model_sha256 == "b"
    assert batch.index.tolist() == list(range(300))
    assert told == [128, 256, 128, 256, 300]
    assert len(waits) == 1


def test_a_model_that_changes_again_and_again_is_an_error(bundle_source) -> None:
    order = Order(condition=parse_condition("COR", "normal"), count=200, seed=1)

    with pytest.raises(ServiceError, match="changes its model again and again"):
        generate_in_parts(Swapping(bundle_source, "abcdef"), order, sleep=lambda _: None)


def test_progress_is_told_as_slices_come(honest) -> None:
    told: list[int] = []

    _client(honest).generate("COR", "normal", count=130, seed=1, progress=told.append)

    assert told == [128, 130]


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


def test_too_few_slices_are_not_passed_on(bundle_source) -> None:
    order = Order(condition=parse_condition("COR", "normal"), count=1, seed=1)
    answer = write_whole(npz.write, bundle_source.generate(order))

    with pytest.raises(ServiceError, match="1 slices of 2"):
        _client(lambda _: httpx.Response(200, content=answer)).generate("COR", "normal", count=2, seed=1)


def test_a_token_travels_in_the_header(monkeypatch) -> None:
    seen: list[str | None] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("Authorization"))
        return httpx.Response(200, json={})

    ServiceSource(URL, token="letmein", transport=httpx.MockTransport(handler)).model()  # noqa: S106 — no secret
    ServiceSource(URL, transport=httpx.MockTransport(handler)).model()

    assert seen == ["Bearer letmein", None]


@pytest.mark.parametrize("url", ["localhost:3000", "ftp://x", "http://", "", "file:///etc/passwd"])
def test_what_is_no_address_is_refused(url) -> None:
    with pytest.raises(RequestError, match="write it like http"):
        Client(url=url)


def test_bad_requests_never_leave_the_client() -> None:
    client = _client(lambda _: pytest.fail("a request was sent"))

    with pytest.raises(ConditionError, match="CER x bilateral"):
        client.generate("CER", "bilateral", count=1)
    with pytest.raises(RequestError, match="count"):
        client.generate("COR", "normal", count=0)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"count": 1.5}, "count must be an integer from 1 to 16384, got 1.5"),
        ({"count": "3"}, "count must be an integer from 1 to 16384, got '3'"),
        ({"count": True}, "count must be an integer from 1 to 16384, got True"),
        ({"seed": "7"}, "seed must be an integer from 0 to"),
        ({"start": 0.5}, "start must be an integer from 0 to"),
        ({"matrix": 128.0}, "matrix must be one of 64, 128, 256, got 128.0"),
        ({"matrix": [64]}, "matrix must be one of 64, 128, 256, got [64]"),
        ({"left_right_ratio": "x"}, "left_right_ratio must be a number, got 'x'"),
        ({"mean_counts": [50]}, "mean_counts must be a number, got [50]"),
    ],
)
def test_what_is_no_number_is_one_sentence_and_never_leaves_the_client(asked: dict, words: str) -> None:
    client = _client(lambda _: pytest.fail("a request was sent"))
    with pytest.raises(RequestError) as caught:
        client.generate("COR", "normal", **{"count": 1, **asked})
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize(
    ("spacing", "words"), [("x", "must be a number, got 'x'"), (0, "got 0"), (float("nan"), "got nan")]
)
def test_a_spacing_that_is_no_length_is_one_sentence(bundle_source, spacing: object, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        Client(source=bundle_source).quantify(np.ones((1, 64, 64)), pixel_spacing_mm=spacing)
    assert words in str(caught.value)


def test_integers_of_numpy_are_integers(honest) -> None:
    asked = _client(honest).generate("COR", "normal", count=np.int64(2), seed=np.int64(1), start=np.int32(3))
    assert asked.index.tolist() == [3, 4]


def test_a_service_and_a_bundle_measure_alike(bundle_source) -> None:
    batch = Client(source=bundle_source).generate("COR", "unilateral", count=3, seed=1)

    def handler(request: httpx.Request) -> httpx.Response:
        content = request.content.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0]
        parsed = npz.read_slices(content)
        assert parsed.pixel_spacing_mm is not None
        measured = bundle_source.quantify(parsed.counts, pixel_spacing_mm=parsed.pixel_spacing_mm)
        return httpx.Response(200, json={"slices": measured})

    remote = _client(handler).quantify(batch.counts, pixel_spacing_mm=batch.pixel_spacing_mm)
    local = Client(source=bundle_source).quantify(batch.counts, pixel_spacing_mm=batch.pixel_spacing_mm)

    assert remote == local
    assert set(local[0]) >= {"mean_counts", "left_right_ratio", "mask_fraction"}


def test_a_bundle_describes_its_model_as_a_service_would_and_has_no_drift(tmp_path) -> None:
    acquired = make_profile().model_copy(update={"reference_source": "acquired"})
    bundle = build_tiny_bundle(tmp_path / "bundle", profile=acquired.to_json())
    client = Client(bundle=bundle.path, threads=1)
    model = client.model()

    assert set(model) == set(ModelAnswer.model_fields)
    assert (model["sha256"], model["version"]) == (bundle.sha256, "unregistered")
    assert model["reference_source"] == "acquired"  # the profile's; the training cohort was simulated
    assert {condition["reference_source"] for condition in client.conditions()} == {"acquired"}
    served = describe_conditions(open_model(bundle.path)).model_dump(mode="json")
    assert client.conditions() == served["conditions"]
    with pytest.raises(RequestError, match="ask a service"):
        client.drift()


def test_importing_the_client_imports_no_torch() -> None:
    code = "import sys, synspect; synspect.Client; assert 'torch' not in sys.modules and 'mlflow' not in sys.modules"

    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_the_package_lacks_is_an_attribute_error() -> None:
    import synspect

    with pytest.raises(AttributeError, match="no attribute 'Server'; it has Client, SyntheticSlices"):
        _ = synspect.Server
