"""Wait for the thing itself, as long as a machine needs that does other work as well."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

PATIENCE = 60.0  # seconds for one answer
_LONGEST = 120.0  # for anything to become true
_STILL_SECONDS = 0.5


def wait_for(what: str, condition: Callable[[], Any], *, seconds: float = _LONGEST) -> Any:
    """Return the first truth that a condition gives; fail where there is none in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if found := condition():
                return found
        time.sleep(0.1)
    return pytest.fail(f"{what} did not happen within {seconds:g} s")


async def until(condition: Callable[[], Any]) -> None:
    """Let the event loop run until a condition holds."""
    async with asyncio.timeout(_LONGEST):
        while not condition():
            await asyncio.sleep(0.002)


async def settle(read: Callable[[], int]) -> int:
    """Let the event loop run until a number has not changed for a while, and return it."""
    last, since = read(), time.monotonic()
    while time.monotonic() - since < _STILL_SECONDS:
        await asyncio.sleep(0.01)
        if (now := read()) != last:
            last, since = now, time.monotonic()
    return last


def read_versions(url: str) -> set[str]:
    """Return the versions that the workers of a server answer with now: each tells its own in the shared metrics."""
    text = httpx.get(f"{url}/metrics", timeout=PATIENCE).text
    families = (family for family in text_string_to_metric_families(text) if family.name == "synspect_model_info")
    return {sample.labels["version"] for family in families for sample in family.samples}
