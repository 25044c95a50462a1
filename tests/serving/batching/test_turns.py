"""Whose slices a run makes: nobody is starved, neither a large request by small ones nor a small one by a large one."""

from collections.abc import Sequence

from serving.batching.jobs import Job
from serving.batching.turns import share_run
from serving.schemas import Portion
from spect.conditions import CONDITIONS
from tests.support.fake_generator import FakeGenerator

RUN = 16


def job(count: int, *, window: int | None = None) -> Job:
    return Job(FakeGenerator(), [Portion(condition=CONDITIONS[0], seed=1, start=0, count=count)], window=window)


def shares(waiting: Sequence[Job]) -> dict[Job, int]:
    taken: dict[Job, int] = {}
    for piece in share_run(waiting, RUN):
        taken[piece.job] = taken.get(piece.job, 0) + piece.size
    assert sum(taken.values()) <= RUN
    return taken


def runs_until_taken(large: Job, *, small: int) -> int:
    """Let so many small requests wait beside a large one, each followed by another as soon as it is served."""
    waiting = [large, *(job(1) for _ in range(small))]
    runs = 0
    while large.waiting:
        served = shares(waiting)
        unserved = [one for one in waiting if one not in served]
        waiting = unserved + [one for one in served if one.waiting]
        waiting += [job(1) for _ in range(1 + small - len(waiting))]
        runs += 1
    return runs


def test_a_run_is_full_where_enough_waits_and_holds_all_of_one_request_alone() -> None:
    assert list(shares([job(40)]).values()) == [16]
    assert sum(shares([job(5), job(40), job(1)]).values()) == 16
    assert sorted(shares([job(5), job(2)]).values()) == [2, 5]


def test_one_slice_comes_with_the_next_run_whatever_waits_before_it() -> None:
    small = job(1)
    assert small in shares([job(4096), job(512), job(512), small])


def test_the_oldest_has_half_of_the_generator_however_many_small_ones_come_and_go() -> None:
    assert runs_until_taken(job(64), small=64) <= 64 // 8 + 1
    assert runs_until_taken(job(512), small=200) <= 512 // 8 + 1


def test_requests_of_one_size_are_finished_in_the_order_in_which_they_came() -> None:
    waiting = came = [job(16) for _ in range(5)]
    finished: list[Job] = []
    while waiting:
        served = shares(waiting)
        finished += [one for one in came if one in served and not one.waiting]
        waiting = [one for one in waiting if one not in served] + [one for one in served if one.waiting]
    assert finished == came


def test_who_reads_piece_by_piece_does_not_hold_up_who_waits_for_a_whole_answer() -> None:
    streams = [job(4096, window=32) for _ in range(10)]
    whole = job(128)
    for stream in streams:  # whose first pieces are made: from now on each waits for the next one
        stream.take(16)
    assert shares([*streams, whole])[whole] == 8
