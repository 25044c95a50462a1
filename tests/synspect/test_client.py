"""One call for a service and for a bundle, and every problem is one line."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import httpx
import numpy as np
import pytest

from registry.bundle.served_model import open_model
from serving.answers import ModelAnswer, describe_conditions
from spect.conditions import parse_condition
from spect.errors import ConditionError, RequestError, ServiceError
from spect.formats import npz
from spect.formats.heading import write_whole
from synspect import Client
from synspect.bundle_source import BundleSource
from synspect.http_source import ServiceSource
from synspect.source import Order, generate_in_parts
from tests.support.drift_samples import make_profile
from tests.support.problem_answer import problem
from tests.support.tiny_bundle import build_tiny_bundle

Handler = Callable[[httpx.Request], httpx.Response]
URL = "http://service.test:3000"


def _client(handler: Handler) -> Client:
    return Client(source=ServiceSource(URL, transport=httpx.MockTransport(handler), sleep=lambda _seconds: None))


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


@pytest.mark.parametrize(
    ("status", "error"), [(422, RequestError), (413, RequestError), (401, ServiceError), (500, ServiceError)]
)
def test_a_problem_becomes_one_line_with_its_detail(status, error) -> None:
    with pytest.raises(error, match="the very reason") as caught:
        _client(lambda _: problem(status, "the very\nreason")).generate("COR", "normal", count=1, seed=1)
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
