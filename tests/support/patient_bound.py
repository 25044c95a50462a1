"""A bound for micro-batchers of tests: on a busy machine a test's own requests may wait for each other."""

from serving.batching.queue_bound import QueueBound


def patient_bound(*, max_waiting_slices: int = 1000, max_waiting_seconds: float = 60.0) -> QueueBound:
    """Return a bound that nobody meets by a slow machine alone."""
    return QueueBound(max_waiting_slices=max_waiting_slices, max_waiting_seconds=max_waiting_seconds)
