"""What a tracker misses while it is away is kept, and arrives when it is back, in order and once."""

import logging
from collections.abc import Mapping
from pathlib import Path

import pytest

from spect.errors import RegistryError
from training.tracking.buffering import BufferedTracker
from training.tracking.reporting import End


class Server:
    """A tracker that can go away; refusing takes it so many seconds, by a clock of its own."""

    def __init__(self, seconds_to_refuse: float = 0.0) -> None:
        self.is_away, self.now, self.tries = False, 0.0, 0
        self.seconds_to_refuse = seconds_to_refuse
        self.received: list[tuple[object, ...]] = []

    def log(self, values: Mapping[str, float], *, at: int) -> None:
        self._receive("values", at, dict(values))

    def log_figure(self, path: Path, *, at: int) -> None:
        self._receive("figure", at, path)

    def roll_back(self, reason: str, *, at: int, to: int) -> None:
        self._receive("roll-back", reason, at, to)

    def end(self, how: End, reason: str | None = None) -> None:
        self._receive("end", how, reason)

    def _receive(self, *report: object) -> None:
        self.tries += 1
        if self.is_away:
            self.now += self.seconds_to_refuse
            raise RegistryError("MLflow at http://127.0.0.1:5050 cannot be used: it does not answer")
        self.received.append(report)


def _train(server: Server, tracker: BufferedTracker, *, seconds: float) -> None:
    """Log once a second."""
    until = server.now + seconds
    while server.now < until:
        server.now += 1
        at = int(16 * server.now)
        tracker.log({"margin": server.now}, at=at)


def test_five_minutes_without_a_server_lose_no_metric_and_warn_once(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()
    tracker = BufferedTracker(server, clock=lambda: server.now)
    _train(server, tracker, seconds=10)
    server.is_away = True
    with caplog.at_level(logging.WARNING):
        _train(server, tracker, seconds=300)
        tracker.log_figure(Path("grid.png"), at=4960)
    assert tracker.waiting == 301
    assert len(caplog.records) == 1
    assert "training goes on" in caplog.text
    server.is_away = False
    _train(server, tracker, seconds=20)
    tracker.end("finished")
    assert tracker.waiting == 0
    kinds = [report[0] for report in server.received]
    assert kinds == ["values"] * 310 + ["figure"] + ["values"] * 20 + ["end"]
    assert [report[1] for report in server.received if report[0] == "values"] == [16 * n for n in range(1, 331)]


def test_a_server_that_does_not_even_refuse_holds_training_up_for_a_tenth_of_its_time() -> None:
    server = Server(seconds_to_refuse=20)
    tracker = BufferedTracker(server, clock=lambda: server.now)
    server.is_away = True
    _train(server, tracker, seconds=2000)
    assert 20 * server.tries <= 0.12 * 2000


def test_what_has_not_arrived_at_the_end_is_known() -> None:
    server = Server()
    tracker = BufferedTracker(server, clock=lambda: server.now)
    server.is_away = True
    tracker.log({"margin": 1.0}, at=16)
    tracker.end("failed", "MemoryError: ")
    assert tracker.waiting == 2
