"""What clients of the API send, and what every refusal must look like."""

import io

import httpx
import numpy as np

from tests.support.asgi_client import AsgiClient

ASKED = {"level": "COR", "pattern": "unilateral", "count": 3, "seed": 7}


def post(client: AsgiClient, **body: object) -> httpx.Response:
    """Ask for slices; what is not said otherwise is `ASKED`."""
    return client.post("/v1/slices", json={**ASKED, **body})


def detail(response: httpx.Response) -> str:
    """Return the sentence of a refusal, which must be a whole problem and nothing else."""
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == response.status_code
    assert {"type", "title", "detail"} <= set(problem)
    assert "Traceback" not in response.text
    return str(problem["detail"])


def upload(client: AsgiClient, content: bytes, path: str = "/v1/quantify", **fields: str | list[str]) -> httpx.Response:
    """Send a file with further fields of the form."""
    return client.post(path, files={"file": ("slices", content)}, data=fields)


def npz_of(**arrays: object) -> bytes:
    """Return arrays as a compressed npz file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
