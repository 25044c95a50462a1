"""What the tests of the client share: a bundle that answers, and a service over it."""

import json
from collections.abc import Callable

import httpx
import pytest

from registry.bundle.directory import Bundle
from spect.conditions import parse_condition
from spect.density import Targets
from spect.formats import npz
from spect.formats.heading import write_whole
from synspect.bundle_source import BundleSource
from synspect.source import Order

Handler = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(scope="module")
def bundle_source(tiny_bundle: Bundle) -> BundleSource:
    return BundleSource(tiny_bundle.path, threads=1)


@pytest.fixture
def honest(bundle_source) -> Handler:
    """A service that does what synspect does, over the bundle."""

    def answer(request: httpx.Request) -> httpx.Response:
        asked = json.loads(request.content)
        order = Order(
            condition=parse_condition(asked["level"], asked["pattern"]),
            count=asked["count"],
            seed=asked["seed"],
            start=asked["start"],
            targets=Targets(mean_counts=asked.get("mean_counts"), left_right_ratio=asked.get("left_right_ratio")),
            matrix=asked.get("matrix"),
        )
        return httpx.Response(200, content=write_whole(npz.write, bundle_source.generate(order)))

    return answer
