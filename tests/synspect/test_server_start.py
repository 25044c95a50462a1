"""Waiting for a server: what takes long is said, what has ended or will never come is an error."""

from collections.abc import Iterator

import pytest

from spect.errors import ServiceError
from synspect.server_process import wait_for_start


class _Starting:
    """A server whose start meets these obstacles, one at each look."""

    url = "http://127.0.0.1:3000"

    def __init__(self, *obstacles: str, code: int | None = None) -> None:
        self._obstacles: Iterator[str] = iter(obstacles)
        self._code = code

    def poll(self) -> int | None:
        return self._code

    def find_obstacle(self) -> str | None:
        return next(self._obstacles, None)


def test_a_slow_start_says_what_it_waits_for_and_goes_on() -> None:
    told: list[str] = []

    wait_for_start(_Starting("it loads", "it opens the model"), tell=told.append, tell_seconds=0)

    assert told == ["not ready after 0 s: it loads", "not ready after 0 s: it opens the model"]


def test_a_start_of_the_usual_length_says_nothing() -> None:
    told: list[str] = []

    wait_for_start(_Starting("it loads"), tell=told.append)

    assert told == []


def test_a_server_that_ends_before_it_is_ready_is_an_error() -> None:
    with pytest.raises(ServiceError, match=r"the server ended \(signal 9\) before it was ready; its log says why"):
        wait_for_start(_Starting("it loads", code=-9))


def test_a_start_that_never_ends_is_an_error_that_says_what_it_waited_for() -> None:
    with pytest.raises(ServiceError, match="was not ready within 0 s: it loads; its log may say why"):
        wait_for_start(_Starting(*["it loads"] * 9), timeout_seconds=0)
