"""Errors that nobody foresaw: logged with all they say, answered with nothing of it."""

import json

import numpy as np
import pytest

from registry.bundle.generator import check_counts_valid
from serving.problems import to_response
from serving.transport.security_headers import SECURITY_HEADERS
from spect.errors import InvalidOutputError
from tests.support.asgi_client import AsgiClient


class BrokenSlot:
    """Stands where the model is, and fails in a way that no table of errors knows."""

    def current(self) -> None:
        raise RuntimeError("no such thing in /srv/secret/place.py, starlette 1.10")


@pytest.mark.parametrize("path", ["/v1/model", "/v1/conditions", "/v1/drift", "/readyz"])
def test_what_nobody_foresaw_tells_nothing(client: AsgiClient, path: str) -> None:
    client.app.state.worker.slot = BrokenSlot()
    response = client.get(path)
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["detail"] == "the service met an error of its own; its log says more"
    assert {name: response.headers[name] for name in SECURITY_HEADERS} == dict(SECURITY_HEADERS)
    for word in ("secret", "starlette", "RuntimeError", "Traceback"):
        assert word not in response.text


def test_what_an_operator_should_do_about_wrong_slices_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(InvalidOutputError) as caught:
        check_counts_valid(np.full((2, 8, 8), np.nan, dtype=np.float32), max_counts=100.0)
    response = to_response(caught.value)
    told = json.loads(response.body)["detail"]
    assert response.status_code == 500
    assert told == (
        "the generator made 2 of 2 slices not finite; none is given out: ask for others, or of another model version"
    )
    assert "return to the previous champion (synspect registry rollback)" in caplog.text
    assert told in caplog.text
