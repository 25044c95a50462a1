"""Uploaded slices: measured, judged, or refused in one line."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack

import numpy as np
import psutil
import pytest

from serving.uploads.receive import CHECK_FIELDS, QUANTIFY_FIELDS
from tests.support.api_calls import detail, npz_of, upload
from tests.support.asgi_call import AsgiCall
from tests.support.asgi_client import AsgiClient
from tests.support.drift_samples import draw_slices
from tests.support.waiting import until


def test_uploaded_slices_are_measured(client: AsgiClient) -> None:
    counts = draw_slices(3, np.random.default_rng(0))
    answer = upload(client, npz_of(counts=counts, pixel_spacing_mm=4.0)).json()
    mirrored = upload(client, npz_of(counts=counts[..., ::-1], pixel_spacing_mm=4.0)).json()
    assert len(answer["slices"]) == 3
    assert answer["pixel_spacing_source"] == "file"
    for one, other in zip(answer["slices"], mirrored["slices"], strict=True):
        assert {"mean_counts", "left_right_ratio", "mask_fraction"} <= set(one)
        assert one["left_right_ratio"] * other["left_right_ratio"] == pytest.approx(1, abs=0.003)


def test_without_a_spacing_a_field_of_256_mm_is_assumed_and_said(client: AsgiClient) -> None:
    counts = draw_slices(1, np.random.default_rng(0))
    assumed = upload(client, npz_of(counts=counts)).json()
    told = upload(client, npz_of(counts=counts), pixel_spacing_mm="4").json()
    assert (assumed["pixel_spacing_mm"], assumed["pixel_spacing_source"]) == (4.0, "assumed")
    assert told["pixel_spacing_source"] == "field"
    assert told["slices"] == assumed["slices"]
    assert upload(client, npz_of(counts=counts), pixel_spacing_mm="-1").status_code == 422


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"patient,level\n1,COR\n", 400, "not a file of slices"),
        (npz_of(counts=np.ones((2, 32, 32)))[:200], 400, "not a whole npz"),
        (npz_of(slices=np.ones((2, 32, 32))), 400, "counts"),
        (npz_of(counts=np.full((2, 32, 32), -1.0)), 400, "negative"),
        (npz_of(counts=np.zeros((1, 64, 64))), 422, "no brain outline"),
        (b"", 400, "not a file of slices"),
    ],
)
def test_a_broken_upload_is_refused_in_one_line(client: AsgiClient, content: bytes, status: int, words: str) -> None:
    response = upload(client, content)
    assert response.status_code == status
    assert words in detail(response)


def test_an_upload_must_be_a_form_with_a_file(client: AsgiClient) -> None:
    assert client.post("/v1/quantify", content=b"x").status_code == 415
    assert "field 'file'" in detail(client.post("/v1/quantify", files={"slices": ("a", b"x")}))
    no_boundary = client.post("/v1/quantify", content=b"x", headers={"Content-Type": "multipart/form-data"})
    assert no_boundary.status_code == 400
    assert detail(no_boundary) == (
        "the body is no whole form of one file and at most 8 fields; send multipart/form-data anew"
    )
    two = client.post("/v1/quantify", files=[("file", ("a", b"x")), ("file", ("b", b"x"))])
    assert detail(two) == detail(no_boundary)


@pytest.mark.parametrize(
    ("path", "fields", "words"),
    [
        (
            "/v1/quantify",
            {"pixel_spacing": "4"},
            "a field 'pixel_spacing', unknown here; its fields are file, pixel_spa",
        ),
        ("/v1/quantify", {"level": "COR"}, "a field 'level', unknown here; its fields are file, pixel_spacing_mm"),
        (
            "/v1/drift/check",
            {"levels": "COR"},
            "its fields are file, pixel_spacing_mm, level, pattern, intensity_unit, ",
        ),
        ("/v1/drift/check", {"level": ["COR", "BG"]}, "the field 'level' 2 times; send it once"),
    ],
)
def test_a_field_that_would_be_passed_over_is_refused(client: AsgiClient, path: str, fields: dict, words: str) -> None:
    response = upload(client, npz_of(counts=draw_slices(1, np.random.default_rng(0))), path, **fields)
    assert response.status_code == 422
    assert words in detail(response)


def test_a_form_takes_the_fields_that_openapi_names(client: AsgiClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for path, known in (("/v1/quantify", QUANTIFY_FIELDS), ("/v1/drift/check", CHECK_FIELDS)):
        schema = paths[path]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
        assert list(schema["properties"]) == ["file", *known]


def test_a_fifth_upload_at_a_time_is_refused_before_its_body_is_read(client: AsgiClient) -> None:
    is_read = []

    async def fifth_body() -> AsyncIterator[bytes]:
        is_read.append(True)
        yield b"--x"

    form = {"Content-Type": "multipart/form-data; boundary=x"}
    with ExitStack() as places:
        for _ in range(4):
            places.enter_context(client.app.state.worker.hold_upload())
        response = client.post("/v1/quantify", content=fifth_body(), headers=form)
        assert response.status_code == 503
        assert "other uploads" in detail(response)
        assert int(response.headers["Retry-After"]) > 0
        assert is_read == []
    assert upload(client, npz_of(counts=draw_slices(1, np.random.default_rng(0)))).status_code == 200


def test_an_upload_that_stalls_gives_its_place_back(open_client) -> None:
    hasty = open_client(deadline_seconds=0.05)

    async def stalling() -> AsyncIterator[bytes]:
        yield b"--x\r\n"
        await asyncio.sleep(30)

    form = {"Content-Type": "multipart/form-data; boundary=x"}
    for _ in range(5):
        response = hasty.post("/v1/quantify", content=stalling(), headers=form)
        assert response.status_code == 504
        assert "took longer" in detail(response)


def form_of(content: bytes) -> bytes:
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    return head + content + b"\r\n--x--\r\n"


@pytest.mark.parametrize("path", ["/v1/quantify", "/v1/drift/check"])
def test_an_upload_whose_client_hung_up_is_measured_no_further_and_frees_its_place(
    client: AsgiClient, path: str
) -> None:
    worker = client.app.state.worker
    one = draw_slices(1, np.random.default_rng(0)).astype(np.float32)
    assert upload(client, npz_of(counts=one)).status_code == 200
    busy = worker.measuring.pid
    labels = {"level": np.full(4096, "COR"), "pattern": np.full(4096, "normal")}
    body = form_of(npz_of(counts=np.tile(one, (4096, 1, 1)), **labels))  # many seconds of measuring

    async def hang_up_four() -> None:
        async with AsyncExitStack() as opened:
            calls = []
            for _ in range(4):
                call = AsgiCall(client.app, path, body, content_type="multipart/form-data; boundary=x")
                calls.append(await opened.enter_async_context(call))
            await until(lambda: worker.uploads_held == 4)
            await asyncio.sleep(1)  # one is measured, three wait
            for call in calls:
                call.hang_up()
            async with asyncio.timeout(5):
                for call in calls:
                    await call.finish()

    client._run(hang_up_four())

    assert worker.uploads_held == 0
    assert not psutil.pid_exists(busy)
    assert 'synspect_rejected_requests_total{reason="abandoned"} 4.0' in client.get("/metrics").text
    assert upload(client, npz_of(counts=one)).status_code == 200


def test_an_upload_above_the_limit_is_413(open_client) -> None:
    small = open_client(max_upload_bytes=10_000)
    response = upload(small, b"x" * 20_000)
    assert response.status_code == 413


def test_uploaded_scans_are_judged_against_the_reference(client: AsgiClient) -> None:
    counts = draw_slices(40, np.random.default_rng(1))
    file = npz_of(counts=counts, pixel_spacing_mm=4.0)
    fields = {"level": "COR", "pattern": "normal", "intensity_unit": "counts"}
    answer = upload(client, file, "/v1/drift/check", **fields).json()
    assert answer["verdict"] in {"ok", "drift"}
    assert {one["test"] for one in answer["judgements"]} == {"shift", "distance"}
    assert "level is missing" in detail(upload(client, file, "/v1/drift/check"))
