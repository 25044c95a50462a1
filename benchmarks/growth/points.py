"""What grows, one thing at a time, and what was measured of each size of it; as a table."""

from collections.abc import Sequence
from dataclasses import dataclass

from side_by_side import Figures

from spect.errors import ServiceError

FEW = 100  # answers; of fewer the 99th percentile is but the slowest


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """One thing that grows while the rest of the load stands."""

    name: str
    axis: str
    values: tuple[int, ...]
    slices: int = 1  # of a request
    clients: int = 1
    is_on_all_cores: bool = False  # the load's as well

    def plan(self, value: int) -> dict[str, int]:
        """Return the load of one point."""
        load = {"slices": self.slices, "clients": self.clients}
        own = {"count": {"slices": value}, "clients": {"clients": value}, "matrix": {"matrix": value}}
        return load | own.get(self.name, {})


# Clients are few enough that what they wait for is within the service's bound of 1.5 s on a slow core.
SWEEPS = (
    Sweep(name="count", axis="slices of a request, 1 client", values=(1, 8, 64, 512, 4096)),
    Sweep(name="clients", axis="clients, 1 slice a request", values=(1, 2, 4, 8, 16, 32)),
    Sweep(name="matrix", axis="pixels a side; 64 slices, 2 clients", values=(64, 128, 256), slices=64, clients=2),
    Sweep(
        name="workers",
        axis="workers on all cores; 16 slices, 8 clients",
        values=(1, 2),
        slices=16,
        clients=8,
        is_on_all_cores=True,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One size of what grows."""

    sweep: str
    value: int
    answers: int
    refused: int  # 503: more waited than the service's bound
    slices_per_second: float
    p50_seconds: float
    p99_seconds: float
    floor_slices_per_second: float  # of the bare session

    @classmethod
    def of(cls, sweep: Sweep, value: int, told: Figures, bare: Figures) -> "Point":
        """Return the point of a load of which some was served, and the rest refused for its being too much."""
        answers = told["statuses"]
        if not set(answers) <= {"200", "503"} or not answers.get("200"):
            raise ServiceError(f"{sweep.name} {value}: answers were {answers}; look at the server's log (--log)")
        return cls(
            sweep=sweep.name,
            value=value,
            answers=answers["200"],
            refused=answers.get("503", 0),
            slices_per_second=told["slices_per_second_to_the_end"],
            p50_seconds=told["p50_seconds"],
            p99_seconds=told["p99_seconds"],
            floor_slices_per_second=bare["slices_per_second"],
        )


def to_table(points: Sequence[Point]) -> str:
    """Return points as Markdown; a star stands where answers were too few for a 99th percentile."""
    lines = [
        "| grows | to | slices/s | of the bare session | p50, ms | p99, ms | answers | refused |",
        "| --- " + "| ---: " * 7 + "|",
    ]
    for point in points:
        share = point.slices_per_second / point.floor_slices_per_second
        star = "*" if point.answers < FEW else ""
        lines.append(
            f"| {point.sweep} | {point.value} | {point.slices_per_second:.0f} | {share:.2f} "
            f"| {1000 * point.p50_seconds:.0f} | {1000 * point.p99_seconds:.0f}{star} "
            f"| {point.answers} | {point.refused} |"
        )
    return "\n".join([*lines, f"\\* fewer than {FEW} answers: nearly the slowest of them"])


def describe_memory(memory: Figures) -> str:
    """Return what the memory of the largest worker did, in words."""
    return (
        f"memory of the worker: at most {memory['most_mebibytes']:.0f} MiB over {memory['seen'][-1]['slices']:,} "
        f"slices, {memory['growth']:+.1f} MiB in the second half"
    )
