"""What a client asks, and the seam behind which a service or a bundle on disk answers it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from spect.conditions import Condition
from spect.density import Targets
from spect.errors import BundleError, RequestError, ServiceError
from spect.sampling import MAX_SEED, check_seed
from spect.slices import Counts, SyntheticBatch

MAX_COUNT = 16_384  # slices of one call: 1 GiB at matrix 128
PART = 128  # slices made or fetched in one go: little to lose, enough to be efficient
MATRICES = (64, 128, 256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Slices start to start + count - 1 of one condition, checked before anything is sent or opened."""

    condition: Condition
    count: int
    seed: int
    start: int = 0
    targets: Targets = field(default_factory=Targets)
    matrix: int | None = None  # None: as generated

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MAX_COUNT:
            raise RequestError(f"count must be 1 to {MAX_COUNT}, got {self.count}; for more, repeat with another start")
        check_seed(self.seed)
        if not 0 <= self.start <= MAX_SEED - self.count:
            raise RequestError(f"start must be 0 to {MAX_SEED - self.count}, got {self.start}")
        if self.matrix is not None and self.matrix not in MATRICES:
            raise RequestError(f"matrix must be one of {', '.join(map(str, MATRICES))}, got {self.matrix}")
        self.targets.as_quantities()  # refuses a ratio that is not positive

    def parts(self, size: int = PART) -> "list[Order]":
        """Cut into orders of at most `size` slices, which together make the same slices."""
        starts = range(self.start, self.start + self.count, size)
        return [replace(self, start=first, count=min(size, self.start + self.count - first)) for first in starts]


class SliceSource(Protocol):
    """Where slices come from: a running service, or a bundle on disk; in tests, anything."""

    def generate(self, order: Order) -> SyntheticBatch:
        """Make the slices of one part of an order, all by one model."""
        ...

    def conditions(self) -> list[dict[str, Any]]:
        """Return what can be asked for, one mapping a condition."""
        ...

    def model(self) -> dict[str, Any]:
        """Return what the answering model says of itself."""
        ...

    def quantify(self, counts: Counts, *, pixel_spacing_mm: float) -> Sequence[Mapping[str, float]]:
        """Measure slices, one mapping a slice."""
        ...

    def drift(self) -> dict[str, Any]:
        """Return the last complete window of every condition."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


def generate_in_parts(
    source: SliceSource, order: Order, *, on_part: Callable[[int], None] = lambda _slices: None
) -> SyntheticBatch:
    """Make an order part by part, telling `on_part` how many slices came; one model makes them all.

    Raises `ServiceError` if the model changed in between.
    """
    batches: list[SyntheticBatch] = []
    for part in order.parts():
        batches.append(source.generate(part))
        if batches[-1].model_sha256 != batches[0].model_sha256:
            raise ServiceError("the service changed its model between two requests; ask for the whole batch again")
        on_part(part.count)
    return SyntheticBatch.concatenate(batches)


def find_reference_bundle() -> Path:
    """Return models/reference of the source tree this package runs from; raise `BundleError` where there is none."""
    path = Path(__file__).resolve().parents[1] / "models" / "reference"
    if not path.is_dir():
        raise BundleError(f"no bundle was named and {path} is not there; give --url of a service or --bundle DIR")
    return path
