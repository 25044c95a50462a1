"""Which format an answer is in, by name, by layout and by Accept, and what each says of its slices."""

import io
import json
import zipfile

import numpy as np
import pytest

from serving.encode import describe_answer
from serving.schemas import parse_order
from spect.formats import npz
from spect.formats.heading import Heading
from spect.formats.writer import FORMATS
from tests.support.api_calls import ASKED, detail, post, upload
from tests.support.asgi_client import AsgiClient


@pytest.mark.parametrize(
    ("name", "magic"),
    [
        ("npz", b"PK"),
        ("npy", b"\x93NUMPY"),
        ("png", b"\x89PNG"),
        ("json", b"{"),
        ("nifti", b"\x5c\x01"),
        ("dicom", b"PK"),
    ],
)
def test_every_format_is_chosen_by_name_and_by_accept(client: AsgiClient, name: str, magic: bytes) -> None:
    by_name = post(client, format=name)
    by_accept = client.post("/v1/slices", json=ASKED, headers={"Accept": FORMATS[name].media_type})
    assert by_name.headers["content-type"].startswith(FORMATS[name].media_type)
    assert by_name.content.startswith(magic)
    assert by_accept.content == by_name.content
    assert "synthetic" in by_name.headers["content-disposition"]
    assert by_name.headers["x-synspect-notice"] == "synthetic, research use only"


def test_an_npy_says_in_its_headers_that_it_is_synthetic(client: AsgiClient) -> None:
    response = post(client, format="npy")
    assert response.headers["content-disposition"] == 'attachment; filename="synthetic-seed-7.npy"'
    assert response.headers["x-synspect-notice"] == "synthetic, research use only"


def test_single_pictures_come_as_a_zip(client: AsgiClient) -> None:
    response = client.post("/v1/slices?layout=single", json=ASKED)
    assert response.headers["content-type"] == "application/zip"
    assert response.headers["content-disposition"] == 'attachment; filename="synthetic-seed-7.png.zip"'
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert [name.startswith("synthetic-") for name in archive.namelist()] == [True] * 3
    assert client.post("/v1/slices?layout=sheet", json=ASKED).content == post(client, format="png").content


@pytest.mark.parametrize(
    ("query", "body", "words"),
    [
        ("layout=grid", {}, "layout must be one of sheet, single, got 'grid'"),
        ("layout=", {}, "layout must be one of sheet, single, got ''"),
        ("layout=single", {"format": "npz"}, "layout is of pictures, but the format is npz"),
        ("layout=sheet", {"count": 257}, "at most 256 as png, got 257; ask for layout single"),
    ],
)
def test_a_layout_that_does_not_fit_is_refused(client: AsgiClient, query: str, body: dict, words: str) -> None:
    assert words in detail(client.post(f"/v1/slices?{query}", json={**ASKED, **body}))


def test_dicom_measures_as_the_counts_it_was_written_from(client: AsgiClient) -> None:
    as_dicom = upload(client, post(client, format="dicom").content).json()
    as_npz = upload(client, post(client).content).json()
    assert as_dicom["pixel_spacing_source"] == "file"
    for one, other in zip(as_dicom["slices"], as_npz["slices"], strict=True):
        assert one["left_right_ratio"] == pytest.approx(other["left_right_ratio"], abs=1e-4)
        assert one["mean_counts"] == pytest.approx(other["mean_counts"], rel=1e-4)


@pytest.mark.parametrize("matrix", [None, 128])
@pytest.mark.parametrize("asked", [{}, {"left_right_ratio": 0.8}])
def test_an_answer_is_described_before_it_is_made(client: AsgiClient, matrix: int | None, asked: dict) -> None:
    body = {**ASKED, **asked, "matrix": matrix}
    order = parse_order(json.dumps({name: value for name, value in body.items() if value is not None}).encode())
    heading = describe_answer(order, client.app.state.worker.slot.current())
    made = npz.load_batch(post(client, **{name: value for name, value in body.items() if value is not None}).content)
    told = Heading.of(made)
    for field in ("level", "pattern", "seed", "index"):
        np.testing.assert_array_equal(getattr(heading, field), getattr(told, field))
    for field in ("shape", "pixel_spacing_mm", "model_version", "model_sha256", "intensity_unit", "measured"):
        assert getattr(heading, field) == getattr(told, field)


def test_accept_prefers_by_quality_and_falls_back_to_npz(client: AsgiClient) -> None:
    def chosen(accept: str) -> str:
        return client.post("/v1/slices", json=ASKED, headers={"Accept": accept}).headers["content-type"]

    assert chosen("image/png;q=0.5, application/json") == "application/json"
    assert chosen("text/html, */*;q=0.1") == "application/x-npz"
    assert chosen("image/png, application/json") == "image/png"
    assert chosen("application/*;q=0.1, application/json;q=0.9, image/png;q=0.5") == "application/json"
    assert detail(client.post("/v1/slices", json=ASKED, headers={"Accept": "text/html"})).startswith("Accept is")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("application/x-npz;q=0, */*", "application/x-npy"),
        ("*/*, application/*;q=0", "image/png"),
        ("image/png;q=0, image/*", None),
        ("*/*;q=0", None),
        ("image/png;q=inf, application/json;q=0.5", "application/json"),
        ("image/png;q=nan, application/json;q=0.5", "application/json"),
        ("image/png;q=7", None),
        ("application/x-npz;q=0", None),
        ("*/*;q=nan", None),
    ],
)
def test_what_accept_excludes_is_never_sent(client: AsgiClient, accept: str, chosen: str | None) -> None:
    response = client.post("/v1/slices", json=ASKED, headers={"Accept": accept})
    if chosen is None:
        assert response.status_code == 406
        assert detail(response).startswith("Accept is")
    else:
        assert response.headers["content-type"] == chosen


def test_json_says_what_npz_says(client: AsgiClient) -> None:
    told = post(client, format="json").json()
    batch = npz.load_batch(post(client).content)
    np.testing.assert_array_equal(np.array(told["counts"], dtype=np.float32), batch.counts)
    assert told["index"] == batch.index.tolist()
    assert told["notice"] == "synthetic, research use only"
