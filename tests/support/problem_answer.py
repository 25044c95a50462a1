"""A problem as the service answers it, for clients under test."""

import json

import httpx


def problem(status: int, detail: str, **headers: str) -> httpx.Response:
    """Build the answer; `headers` stand beside its media type."""
    content = json.dumps({"status": status, "title": "x", "detail": detail}).encode()
    return httpx.Response(status, content=content, headers={"Content-Type": "application/problem+json", **headers})
