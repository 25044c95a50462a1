"""What a follower tells Prometheus, on a port of its own: closed label sets, every series there from the start."""

import errno
import socket
import time
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from registry.bundle.promotion_note import PromotionNote
from spect.errors import ConfigurationError

# registry: MLflow is away, or the alias is not set; gates: the policy refuses how it was set; bundle: what came does
# not verify or cannot be served; directory: it cannot be written, is full, or another process follows into it.
FailureReason = Literal["registry", "gates", "bundle", "directory"]
FAILURE_REASONS: tuple[FailureReason, ...] = get_args(FailureReason)


class FollowMetrics:
    """Every series of one follower."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._version = Gauge(
            "version_info",
            "1 for the version that the directory holds",
            ("alias", "version", "promotion"),
            namespace="synspect_follow",
            registry=self.registry,
        )
        self._success = Gauge(
            "last_success_timestamp_seconds",
            "When the registry was last asked and obeyed, in Unix time; 0 for never",
            namespace="synspect_follow",
            registry=self.registry,
        )
        self._failures = Counter(
            "failures",
            "Looks that failed; the directory kept what it had",
            ("reason",),
            namespace="synspect_follow",
            registry=self.registry,
        )
        self._switches = Counter(
            "switches", "Changes to another pair", namespace="synspect_follow", registry=self.registry
        )
        for reason in FAILURE_REASONS:
            self._failures.labels(reason)

    def set_version(self, alias: str, note: PromotionNote) -> None:
        """Say what the directory holds now; the version before it is no longer told."""
        self._version.clear()
        self._version.labels(alias, note.version, note.promotion).set(1)

    def count_switch(self) -> None:
        """Count a change to another pair."""
        self._switches.inc()

    def note_success(self) -> None:
        """Say that the registry was asked and obeyed now."""
        self._success.set(time.time())

    def count_failure(self, reason: FailureReason) -> None:
        """Count a look that failed."""
        self._failures.labels(reason).inc()

    def serve(self, host: str, port: int) -> None:
        """Answer GET /metrics in a thread until the process ends."""
        try:
            start_http_server(port, addr=host, registry=self.registry)
        except OSError as error:
            # A name that nobody knows, or an address of another machine.
            is_host = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
            raise ConfigurationError(
                f"metrics cannot be served on {host} port {port} ({error.strerror}); "
                f"choose another {'--metrics-host' if is_host else '--metrics-port'}"
            ) from None
