"""Errors that nobody foresaw: logged with all they say, answered with nothing of it."""

import pytest

from serving.transport.security_headers import SECURITY_HEADERS
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
