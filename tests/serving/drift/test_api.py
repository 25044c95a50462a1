"""GET /v1/drift, POST /v1/drift/check, and what happens to slices that must not be sent."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from registry.bundle.directory import Bundle
from serving.drift.answers import DriftAnswer, DriftCheckAnswer
from spect.formats import npz
from spect.profile import ReferenceProfile
from tests.support.asgi_client import AsgiClient
from tests.support.drift_samples import draw_slices
from tests.support.rereleased import rerelease, scaled, spoiled

CHECK = "/v1/drift/check"
FIELDS = {"level": "COR", "pattern": "normal", "intensity_unit": "counts"}


@pytest.fixture(scope="module")
def scans() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, counts=draw_slices(40, np.random.default_rng(1)), pixel_spacing_mm=4.0)
    return buffer.getvalue()


def check(client: AsgiClient, scans: bytes, accept: str):
    return client.post(CHECK, files={"file": ("scans", scans)}, data=FIELDS, headers={"Accept": accept})


def counted(client: AsgiClient, name: str) -> dict[str, float]:
    """Samples above zero of one metric, by their last label."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples if sample.name == f"synspect_{name}"]
    return {list(sample.labels.values())[-1]: sample.value for sample in samples if sample.value}


def test_the_drift_board_is_what_openapi_says(client: AsgiClient) -> None:
    answer = client.get("/v1/drift").json()
    document = client.get("/openapi.json").json()
    described = document["components"]["schemas"]["DriftAnswer"]
    assert set(answer) == set(described["properties"]) == set(described["required"])
    assert {one.verdict for one in DriftAnswer.model_validate(answer).conditions} == {"not_enough_data"}
    content = document["paths"]["/v1/drift"]["get"]["responses"]["200"]["content"]
    assert content["application/json"]["schema"]["$ref"].endswith("/DriftAnswer")


def test_scans_are_judged_feature_by_feature(client: AsgiClient, scans: bytes) -> None:
    answer = DriftCheckAnswer.model_validate(check(client, scans, "application/json").json())
    assert len(answer.judgements) == 6 + 2
    assert all(one.score is not None and one.threshold is not None for one in answer.judgements)
    assert {one.test for one in answer.judgements if one.effect} == {"distance"}


def test_the_judgement_of_scans_comes_as_a_picture_to_who_asks_for_one(client: AsgiClient, scans: bytes) -> None:
    drawn = check(client, scans, "image/png")
    assert drawn.headers["content-type"] == "image/png"
    picture = Image.open(io.BytesIO(drawn.content))
    assert picture.text["Description"] == "research use only, never for diagnosis"
    assert min(picture.size) > 500
    assert len(picture.convert("RGB").getcolors(2**24)) > 10
    refused = check(client, scans, "text/csv")
    assert (refused.status_code, refused.headers["content-type"]) == (406, "application/problem+json")


@pytest.fixture(params=[("not_finite", np.nan), ("out_of_range", 5.0), ("constant", 0.25)], ids=lambda param: param[0])
def faulty(request, open_client, served_bundle: Bundle, tmp_path: Path) -> tuple[AsgiClient, str]:
    """A service whose generator spoils one slice in some fifty, in one of three ways."""
    reason, value = request.param
    bundle = rerelease(served_bundle, tmp_path / "faulty", spoiled(value, beyond=2.1))
    return open_client(bundle_dir=bundle.path), reason


def test_what_must_not_be_sent_is_a_counted_problem_and_the_rest_goes_on(faulty: tuple[AsgiClient, str]) -> None:
    client, reason = faulty
    asked = {"level": "COR", "pattern": "normal", "seed": 1, "count": 1}
    answers = [client.post("/v1/slices", json={**asked, "start": start}) for start in range(120)]
    refused = [answer for answer in answers if answer.status_code != 200]
    assert 0 < len(refused) < 20
    for answer in refused:
        assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
        assert answer.json()["type"] == "urn:synspect:problem:invalid_output"
    for answer in answers[:20]:
        if answer.status_code == 200:
            assert np.ptp(npz.load_batch(answer.content).counts) > 0
    whole = client.post("/v1/slices", json={**asked, "count": 120})
    assert whole.status_code == 500  # one spoiled slice spoils the answer it is in
    sent = counted(client, "slices_generated_total")
    assert sent == {"normal": len(answers) - len(refused)}
    assert counted(client, "invalid_slices_total")[reason] > len(refused)
    assert set(counted(client, "invalid_slices_total")) == {reason}


def test_a_re_released_bundle_makes_what_it_made_but_for_the_change(served_bundle: Bundle, tmp_path: Path) -> None:
    from registry.bundle.served_model import open_model
    from spect.conditions import CONDITIONS

    changed = open_model(rerelease(served_bundle, tmp_path / "scaled", scaled(0.8)).path).generator
    usual = open_model(served_bundle.path).generator
    expected = usual.generate(CONDITIONS[5], seed=3, count=4).counts * np.float32(0.8)
    np.testing.assert_allclose(changed.generate(CONDITIONS[5], seed=3, count=4).counts, expected, atol=1e-3)


def test_the_profile_is_written_for_the_measuring_process_once_a_model(client: AsgiClient) -> None:
    model = client.app.state.worker.slot.current()

    assert model.profile_json is model.profile_json
    assert ReferenceProfile.from_json(model.profile_json) == model.profile
