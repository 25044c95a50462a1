"""The curve in Markdown: a row a point, then real against real and the Gaussian of each matrix."""

from collections.abc import Callable, Sequence
from dataclasses import asdict

from curve.points import PanelNumbers, Point
from study.tables import NOTHING, markdown

COLUMNS = (
    "size",
    "images",
    "Gflop a slice",
    "weights, MiB",
    "AUC, linear",
    "… worst pattern",
    "AUC beyond asked",
    "SD along 24 components",
    "mean counts off by",
    "SD of log ratio, worst",
)
_NUMBERS = len(PanelNumbers.__slots__)


def tabulate(points: Sequence[Point]) -> str:
    """Return the table, and what its numbers are of."""
    said = f"Scans {points[0].source}; several values in a cell are the seeds in order.\n"
    return markdown(COLUMNS, [*(_row(point) for point in points), *_rows_beside(points)]) + "\n" + said


def _row(point: Point) -> list[str]:
    size = [point.name, f"{point.images:,}", f"{point.gigaflops:.3f}", f"{point.weight_mebibytes:.1f}"]
    if not point.measured:  # no number to stand among the outcomes: said once
        said = "; ".join(seed.outcome for seed in point.seeds)
        return [*size, said, *[NOTHING] * (len(COLUMNS) - len(size) - 1)]
    seeds = [seed.outcome if seed.numbers is None else _cells(seed.numbers) for seed in point.seeds]
    return [*size, *("; ".join(one if isinstance(one, str) else one[i] for one in seeds) for i in range(_NUMBERS))]


def _rows_beside(points: Sequence[Point]) -> list[list[str]]:
    kinds: tuple[tuple[str, Callable[[Point], PanelNumbers | None]], ...] = (
        ("real against real", lambda point: point.null),
        ("Gaussian", lambda point: point.floor),
    )
    rows = []
    for matrix in sorted({point.matrix for point in points}):
        beside = next((point for point in points if point.matrix == matrix and point.measured), None)
        for words, take in kinds:
            numbers = take(beside) if beside else None
            if numbers is not None:
                rows.append([f"{words}, {matrix} px", *[NOTHING] * 3, *_cells(numbers)])
    return rows


def _cells(numbers: PanelNumbers) -> list[str]:
    return [NOTHING if value is None else f"{value:.2f}" for value in asdict(numbers).values()]
