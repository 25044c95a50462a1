"""A micro-batcher's observer that keeps what it is told."""


class Unobserved:
    """Nobody listens; the last number of waiting slices is kept."""

    def __init__(self) -> None:
        self.queue_slices = 0

    def observe_queue_wait(self, seconds: float) -> None:
        """Pass over."""

    def observe_inference(self, slices: int, seconds: float) -> None:
        """Pass over."""

    def set_queue_slices(self, slices: int) -> None:
        """Keep."""
        self.queue_slices = slices

    def count_invalid_slices(self, reason: str, slices: int) -> None:
        """Pass over."""
