"""What the HTTP surface answers, in one process with the real generator."""

import gzip
import io
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from serving.page.files import PAGE_FILES
from spect.formats import npz
from spect.sampling import MAX_SEED
from tests.support.api_calls import ASKED, detail, post
from tests.support.asgi_client import AsgiClient


def test_slices_come_labelled_as_npz(client: AsgiClient, served_bundle) -> None:
    response = post(client)
    batch = npz.load_batch(response.content)
    assert response.headers["content-type"] == "application/x-npz"
    assert batch.counts.shape == (3, 64, 64)
    assert batch.level.tolist() == ["COR"] * 3
    assert batch.pattern.tolist() == ["unilateral"] * 3
    assert batch.seed.tolist() == [7] * 3
    assert batch.index.tolist() == [0, 1, 2]
    assert batch.pixel_spacing_mm == 4.0
    assert response.headers["x-synspect-model-version"] == "unregistered"
    assert response.headers["x-synspect-model-sha256"] == served_bundle.sha256
    assert response.headers["x-synspect-seed"] == "7"
    assert response.headers["x-synspect-native-spacing"] == "4"


def test_one_call_of_many_equals_many_calls_of_one(client: AsgiClient) -> None:
    together = npz.load_batch(post(client, count=40).content).counts
    for start in (0, 1, 17, 39):
        alone = npz.load_batch(post(client, count=1, start=start).content).counts
        np.testing.assert_array_equal(alone[0], together[start])


def test_neighbouring_seeds_share_no_slice(client: AsgiClient) -> None:
    seven, eight = (npz.load_batch(post(client, count=16, seed=seed).content).counts for seed in (7, 8))
    assert not any((one == other).all() for one in seven for other in eight)


def test_a_drawn_seed_is_told_and_gives_the_slices_again(client: AsgiClient) -> None:
    body = {name: value for name, value in ASKED.items() if name != "seed"}
    first, second = (client.post("/v1/slices", json=body) for _ in range(2))
    seed = int(first.headers["x-synspect-seed"])
    assert 0 <= seed <= MAX_SEED
    assert second.headers["x-synspect-seed"] != first.headers["x-synspect-seed"]
    assert post(client, seed=seed).content == first.content


def test_each_entry_of_a_mix_counts_from_its_own_start(client: AsgiClient) -> None:
    mix = [
        {"level": "COR", "pattern": "unilateral", "count": 2, "start": 1},
        {"level": "CER", "pattern": "normal", "count": 3},
    ]
    batch = npz.load_batch(client.post("/v1/slices", json={"mix": mix, "seed": 7}).content)
    assert batch.level.tolist() == ["COR"] * 2 + ["CER"] * 3
    assert batch.index.tolist() == [1, 2, 0, 1, 2]
    np.testing.assert_array_equal(batch.counts[:2], npz.load_batch(post(client).content).counts[1:])


def test_an_asked_ratio_is_measured_in_the_answer(client: AsgiClient) -> None:
    with np.load(io.BytesIO(post(client, count=4, left_right_ratio=0.8, mean_counts=50).content)) as arrays:
        assert arrays["left_right_ratio"] == pytest.approx(0.8, abs=0.1)
        assert arrays["mean_counts"] == pytest.approx(50, rel=0.2)
    with np.load(io.BytesIO(post(client).content)) as arrays:
        assert "left_right_ratio" not in arrays


def test_another_matrix_covers_the_same_field_with_the_same_mean(client: AsgiClient) -> None:
    native = npz.load_batch(post(client).content)
    finer = npz.load_batch(post(client, matrix=128).content)
    assert finer.counts.shape == (3, 128, 128)
    assert finer.pixel_spacing_mm == 2.0
    assert finer.counts.mean() == pytest.approx(native.counts.mean(), rel=0.01)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"level": "CER", "pattern": "bilateral"}, "CER x bilateral has no data"),
        ({"level": "cortex"}, "unknown level 'cortex'; use one of CER, BG, COR"),
        ({"pattern": "left"}, "unknown pattern 'left'"),
        ({"count": 0}, "count must be greater than or equal to 1, got 0; see /docs for the fields$"),
        ({"count": 10**9}, "count must be less than or equal to 4096, got 1000000000"),
        ({"count": 2.5}, "count"),
        ({"count": True}, "count must be a valid integer, got true; see /docs"),
        ({"count": "3"}, "count"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**53}, "seed"),
        ({"start": MAX_SEED, "count": 2}, f"start must be at most {MAX_SEED - 2} where count is 2, got {MAX_SEED}"),
        ({"left_right_ratio": 9.0}, "left_right_ratio 9 is outside .* ask between"),
        ({"mean_counts": 1e6}, "mean_counts 1e\\+06 is outside"),
        ({"matrix": 100}, "matrix"),
        ({"matrix": 256, "count": 2000}, "at most 1024 at matrix 256, got 2000; ask in several requests$"),
        ({"format": "bmp"}, "format must be 'npz'.*dicom"),
        ({"format": "json", "count": 257}, "at most 256 as json"),
        ({"colour": "red"}, "colour is unknown here; see /docs for the fields"),
        (
            {"mix": [{"level": "COR", "pattern": "normal", "count": 1}]},
            "level, pattern, count beside mix: put them into each entry of mix$",
        ),
    ],
)
def test_what_cannot_be_served_is_422_with_the_reason(client: AsgiClient, body: dict, words: str) -> None:
    response = post(client, **body)
    assert response.status_code == 422
    assert re.search(words, detail(response)), detail(response)


def test_a_mix_that_names_a_slice_twice_is_refused(client: AsgiClient) -> None:
    entry = {"level": "COR", "pattern": "normal", "count": 3}
    other = {"level": "BG", "pattern": "bilateral", "count": 3}
    twice = client.post("/v1/slices", json={"mix": [entry, other, {**entry, "start": 2}]})
    assert twice.status_code == 422
    assert "slices of COR/normal twice, from 0 and from 2" in detail(twice)
    for further in ({**entry, "start": 3}, {**entry, "left_right_ratio": 1.0}):
        assert client.post("/v1/slices", json={"mix": [entry, other, further]}).status_code == 200


def test_a_parameter_of_the_query_that_would_be_passed_over_is_refused(client: AsgiClient) -> None:
    for name in ("layuot", "format", "matrix"):
        refused = client.post(f"/v1/slices?{name}=single", json={"level": "COR", "pattern": "normal", "count": 1})
        assert refused.status_code == 422
        assert f"parameter '{name}', unknown here; it may have layout" in detail(refused)


def test_a_mix_is_bounded_as_a_whole(client: AsgiClient) -> None:
    entry = {"level": "COR", "pattern": "normal", "count": 4096}
    assert "at most 4096 in all, got 8192" in detail(client.post("/v1/slices", json={"mix": [entry, entry]}))
    assert client.post("/v1/slices", json={"mix": []}).status_code == 422
    assert "missing" in detail(client.post("/v1/slices", json={"level": "COR"}))


@pytest.mark.parametrize("body", [b"", b"{", b'{"level": ', b"\xff\xfe", b"[" * 50_000])
def test_a_body_that_is_not_json_is_400(client: AsgiClient, body: bytes) -> None:
    response = client.post("/v1/slices", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert "not JSON" in detail(response)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"level": "COR", "pattern": "normal", "count": 1, "count": 2}', "the body says count 2 times; say it once"),
        (
            '{"mix": [{"level": "COR", "level": "COR", "pattern": "normal", "count": 1}]}',
            "the body says level 2 times; say it once",
        ),
        ("[]", "the body must be an object, got []; see /docs for the fields"),
        ('{"mix": [{"level": "COR", "count": 1}]}', "mix.0.pattern is missing; see /docs for the fields"),
        ('{"mix": []}', "mix must have at least 1 item, got []; see /docs for the fields"),
    ],
)
def test_a_body_that_says_something_twice_or_is_no_object_is_422(client: AsgiClient, body: str, words: str) -> None:
    response = client.post("/v1/slices", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    assert detail(response) == words


def test_json_numbers_that_are_not_numbers_are_refused(client: AsgiClient) -> None:
    content = json.dumps({**ASKED, "mean_counts": float("nan")})
    response = client.post("/v1/slices", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == 422


def test_a_form_instead_of_json_is_415(client: AsgiClient) -> None:
    response = client.post("/v1/slices", data={"level": "COR"})
    assert response.status_code == 415
    assert "application/json" in detail(response)


@pytest.mark.parametrize("path", ["/v1/slices", "/v1/quantify"])
def test_a_packed_body_is_415_and_says_why(client: AsgiClient, path: str) -> None:
    packed = gzip.compress(json.dumps(ASKED).encode())
    media_type = "application/json" if path == "/v1/slices" else "multipart/form-data; boundary=x"
    headers = {"Content-Type": media_type, "Content-Encoding": "gzip"}
    response = client.post(path, content=packed, headers=headers)
    assert response.status_code == 415
    assert detail(response) == "the body is packed (Content-Encoding: 'gzip'); send it as it is, without that header"
    assert client.post("/v1/slices", json=ASKED, headers={"Content-Encoding": "identity"}).status_code == 200


async def _chunks() -> AsyncIterator[bytes]:
    for _ in range(3):
        yield b"x" * 40_000


def test_a_body_that_is_too_long_is_413_whether_it_says_so_or_not(client: AsgiClient) -> None:
    headers = {"Content-Type": "application/json"}
    declared = client.post("/v1/slices", content=b"x" * 100_000, headers=headers)
    chunked = client.post("/v1/slices", content=_chunks(), headers=headers)
    assert declared.status_code == chunked.status_code == 413
    assert "at most 65536" in detail(chunked)


def test_unknown_paths_and_methods_are_problems_too(client: AsgiClient) -> None:
    assert "nothing is served at /v2" in detail(client.get("/v2"))
    wrong_method = client.get("/v1/slices")
    assert wrong_method.status_code == 405
    assert wrong_method.headers["allow"] == "POST"
    assert "use POST" in detail(wrong_method)
    assert client.get("/page/../access.py").status_code == 404
    assert client.get("/v1/slices/").status_code == 404


def test_conditions_say_what_can_be_asked_and_why_one_is_absent(client: AsgiClient) -> None:
    answer = client.get("/v1/conditions").json()
    assert len(answer["conditions"]) == 8
    cortex = next(c for c in answer["conditions"] if (c["level"], c["pattern"]) == ("COR", "normal"))
    assert cortex["reference_slices"] == 500
    assert cortex["reference_source"] == "simulated"
    assert cortex["mean_counts"] == [25.0, 80.0]
    reference = cortex["reference_quantiles"]
    assert list(reference["mean_counts"]) == ["0.05", "0.1", "0.25", "0.5", "0.75", "0.9", "0.95"]
    assert reference["mean_counts"]["0.5"] == pytest.approx(50, rel=0.05)
    assert reference["left_right_ratio"]["0.5"] == pytest.approx(1, abs=0.01)  # a ratio, not its logarithm
    assert 0.9 < reference["left_right_ratio"]["0.05"] < reference["left_right_ratio"]["0.95"] < 1.1
    assert answer["absent"][0]["level"] == "CER"
    assert "no data" in answer["absent"][0]["reason"]


def test_the_model_says_what_answers(client: AsgiClient, served_bundle) -> None:
    answer = client.get("/v1/model").json()
    assert answer["sha256"] == served_bundle.sha256
    assert answer["provider"] == "CPUExecutionProvider"
    assert answer["promotion"] == "none"
    assert answer["manifest"]["matrix"] == 64
    assert answer["card"].startswith("# ")


def test_drift_reads_not_enough_data_before_there_is_any(client: AsgiClient) -> None:
    answer = client.get("/v1/drift").json()
    assert answer["verdict"] == "not_enough_data"
    assert len(answer["conditions"]) == 8


def test_the_page_and_the_docs_need_nothing_from_elsewhere(client: AsgiClient) -> None:
    for path in ("/", "/docs", *(f"/page/{name}" for name in PAGE_FILES)):
        response = client.get(path)
        assert response.status_code == 200
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert "unsafe-inline" not in response.headers["content-security-policy"]
        for word in ("<script>", " style=", "onclick", "http://www", "https://"):
            assert word not in response.text
    assert "research use only" in client.get("/").text


def test_openapi_refers_to_nothing_that_it_does_not_hold(client: AsgiClient) -> None:
    document = client.get("/openapi.json").json()
    text = json.dumps(document)
    for reference in set(text.split('"#/components/schemas/')[1:]):
        assert reference.partition('"')[0] in document["components"]["schemas"]


def test_openapi_names_every_format_that_is_answered(client: AsgiClient) -> None:
    operation = client.get("/openapi.json").json()
    described = operation["paths"]["/v1/slices"]["post"]
    content = described["responses"]["200"]["content"]
    choices = operation["components"]["schemas"]["SlicesRequest"]["properties"]["format"]["anyOf"]
    (names,) = [choice["enum"] for choice in choices if "enum" in choice]
    assert names == client.get("/v1/conditions").json()["limits"]["formats"]
    answered = {post(client, format=name).headers["content-type"] for name in names}
    answered.add(client.post("/v1/slices?layout=single", json=ASKED).headers["content-type"])
    assert set(content) == answered
    assert all(kind["schema"]["description"] for kind in content.values())
    (layout,) = described["parameters"]
    assert layout["schema"]["enum"] == ["sheet", "single"]


def test_without_a_bundle_it_lives_and_is_not_ready(open_client, tmp_path: Path) -> None:
    empty = open_client(bundle_dir=tmp_path / "nothing")
    assert empty.get("/livez").status_code == 200
    ready = empty.get("/readyz")
    assert ready.status_code == 503
    assert ready.headers["retry-after"] == "5"
    assert detail(ready).startswith("no model is served; the server's log says")
    assert "/" not in detail(ready)  # no path of this machine
    assert post(empty).status_code == 503
    assert empty.get("/").status_code == 200
