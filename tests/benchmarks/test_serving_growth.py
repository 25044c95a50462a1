"""How cost grows: what a load of each size is, what becomes of its answers, and the picture."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from growth.figure import draw
from growth.points import SWEEPS, Point, describe_memory, to_table
from PIL import Image
from serving_load import Outcome

from spect.errors import ServiceError

SWEEP = {sweep.name: sweep for sweep in SWEEPS}
BARE = {"slices_per_second": 250.0, "p50_seconds": 0.06}
MEMORY = {
    "seen": [{"slices": 0, "mebibytes": 200.0}, {"slices": 64_000, "mebibytes": 240.0}],
    "most_mebibytes": 240.0,
    "growth": 0.0,
}


def _told(answers: Mapping[str, int], *, slices: int, seconds: float = 0.5) -> dict[str, object]:
    served = answers.get("200", 0)
    outcome = Outcome(seconds=[seconds] * served, finished=[(seconds, slices)] * served)
    outcome.statuses.update(answers)
    return outcome.summary(within=2.0, slices=slices)


def _point(name: str, value: int, answers: Mapping[str, int] | None = None) -> Point:
    sweep = SWEEP[name]
    return Point.of(sweep, value, _told(answers or {"200": 150}, slices=sweep.plan(value)["slices"]), BARE)


def test_one_thing_grows_while_the_rest_of_the_load_stands() -> None:
    assert [SWEEP["count"].plan(value) for value in (1, 4096)] == [
        {"slices": 1, "clients": 1},
        {"slices": 4096, "clients": 1},
    ]
    assert SWEEP["clients"].plan(32) == {"slices": 1, "clients": 32}
    assert SWEEP["matrix"].plan(256) == SWEEP["matrix"].plan(64) | {"matrix": 256}
    assert SWEEP["workers"].plan(1) == SWEEP["workers"].plan(2)


def test_a_refused_request_is_counted_and_not_taken_for_a_slow_one() -> None:
    point = _point("count", 64, {"200": 2, "503": 40})

    assert (point.answers, point.refused) == (2, 40)
    assert point.slices_per_second == pytest.approx(2 * 64 / 0.5)
    assert point.p99_seconds == pytest.approx(0.5)


@pytest.mark.parametrize("answers", [{"503": 3}, {"200": 3, "500": 1}, {"200": 1, "ClientConnectionError": 1}])
def test_answers_that_are_neither_slices_nor_refusals_end_the_measurement(answers: dict[str, int]) -> None:
    with pytest.raises(ServiceError, match=r"clients 8: answers were .*look at the server's log"):
        _point("clients", 8, answers)


def test_the_table_sets_each_rate_beside_its_floor_and_marks_a_percentile_of_few_answers() -> None:
    table = to_table([_point("clients", 4), _point("count", 64, {"200": 3})])

    assert "| clients | 4 | 300 | 1.20 | 500 | 500 | 150 | 0 |" in table
    assert "| count | 64 | 384 | 1.54 | 500 | 500* | 3 | 0 |" in table


def test_memory_is_told_with_the_slices_it_was_seen_over() -> None:
    assert describe_memory(MEMORY) == (
        "memory of the worker: at most 240 MiB over 64,000 slices, +0.0 MiB in the second half"
    )


@pytest.mark.parametrize("names", [(), ("clients",), tuple(SWEEP)])
def test_what_was_left_out_has_no_panel(names: tuple[str, ...], tmp_path: Path) -> None:
    points = [_point(name, value) for name in names for value in SWEEP[name].values]

    draw(points, MEMORY, title="a machine", path=tmp_path / "growth.png")

    with Image.open(tmp_path / "growth.png") as image:
        assert image.width >= 150 * 4.2 * len(names)
        assert image.height == pytest.approx(150 * (2.4 + 6.4 * bool(names)), abs=2)
