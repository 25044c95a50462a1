"""What a client asks, and the seam behind which a service or a bundle on disk answers it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from spect.asked import check_whole
from spect.conditions import Condition
from spect.density import Targets
from spect.errors import BundleError, RequestError, ServiceError
from spect.sampling import MAX_SEED, check_seed
from spect.slices import Counts, SyntheticBatch

MAX_COUNT = 16_384  # slices of one call: 1 GiB at matrix 128
# Slices made or fetched in one go. A batch is asked for in parts, not in one request: each part is checked by its
# digest, and a connection that breaks, a worker that is killed or a service that starts again costs one part.
PART = 128
MATRICES = (64, 128, 256)
_MODEL_CHANGES = 3
_MODEL_CHANGE_SECONDS = 2.0  # in which every worker of a service takes the new model up

Progress = Callable[[int], object]


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
        hint = "; for more, repeat with another start"
        whole = {"count": check_whole("count", self.count, low=1, high=MAX_COUNT, hint=hint)}
        whole["seed"] = check_seed(self.seed)
        whole["start"] = check_whole("start", self.start, low=0, high=MAX_SEED - whole["count"])
        for name, value in whole.items():
            object.__setattr__(self, name, value)  # of NumPy's integers, which no JSON holds, Python's
        if self.matrix is not None and (self.matrix not in MATRICES or isinstance(self.matrix, float)):
            raise RequestError(f"matrix must be one of {', '.join(map(str, MATRICES))}, got {self.matrix!r:.60}")
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
    source: SliceSource,
    order: Order,
    *,
    progress: Progress = lambda _slices: None,
    sleep: Callable[[float], None] = time.sleep,
) -> SyntheticBatch:
    """Make an order part by part, all by one model; `progress` is told how many slices are there.

    Where the service changes its model in between, the batch is begun again. Raises `ServiceError` where that happens
    each time.
    """
    for _ in range(_MODEL_CHANGES):
        batches = _make_parts(source, order, progress)
        if batches is not None:
            return SyntheticBatch.concatenate(batches)
        sleep(_MODEL_CHANGE_SECONDS)
    raise ServiceError("the service changes its model again and again; ask later, or for fewer slices")


def _make_parts(source: SliceSource, order: Order, progress: Progress) -> list[SyntheticBatch] | None:
    """Return all parts of an order, or None where they are not of one model."""
    batches: list[SyntheticBatch] = []
    for part in order.parts():
        batches.append(source.generate(part))
        if batches[-1].model_sha256 != batches[0].model_sha256:
            return None
        progress(sum(map(len, batches)))
    return batches


def find_reference_bundle() -> Path:
    """Return models/reference of the source tree this package runs from; raise `BundleError` where there is none."""
    path = Path(__file__).resolve().parents[1] / "models" / "reference"
    if not path.is_dir():
        raise BundleError(f"no bundle was named and {path} is not there; give --url of a service or --bundle DIR")
    return path
