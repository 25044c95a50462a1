"""What is measured of a server that answers: first that its slices are ours, then four loads and its memory."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from peers.process import Running
from side_by_side import Figures, run_load

from registry.bundle.generator import ReleasedGenerator
from spect.conditions import CONDITIONS, Condition
from spect.errors import ServiceError
from spect.formats import npz

CLIENTS_OF_ONE = 32
OVERLOAD = 2
_CLIENTS_OF_MANY = 4
_MANY = 64
_OVERLOAD_SLICES = 16  # a request: the peak is of the same requests, by 8 clients
_OVERLOAD_CLIENTS = 8
_GRACE_SECONDS = 30.0
_SEED = 7
_TOGETHER = (1, 3, 64, 16, 2, 33)  # slices of orders that are put at once, for batches to form


def check_slices_equal(running: Running, generator: ReleasedGenerator) -> None:
    """Raise `ServiceError` unless the counts of orders, alone and at once, are those of the bundle, bit for bit."""
    for count in (1, _MANY):
        _check_order(running, generator, CONDITIONS[-2], count)
    with ThreadPoolExecutor(len(_TOGETHER)) as pool:
        for checked in [
            pool.submit(_check_order, running, generator, CONDITIONS[number], count)
            for number, count in enumerate(_TOGETHER)
        ]:
            checked.result()


def _check_order(running: Running, generator: ReleasedGenerator, condition: Condition, count: int) -> None:
    start = 5
    order = {"level": condition.level.value, "pattern": condition.pattern.value}
    got = npz.load_batch(running.fetch({**order, "count": count, "seed": _SEED, "start": start}))
    ours = generator.generate(condition, seed=_SEED, start=start, count=count)
    if got.counts.tobytes() != ours.counts.tobytes() or not np.array_equal(got.index, ours.index):
        raise ServiceError(f"its {count} slices of {condition} are not those of the bundle; nothing was timed")


def measure(running: Running, *, cores: set[int], seconds: float) -> Figures:
    """Put the loads on a server, one after the other, from cores of their own."""

    def load(**plan: float) -> Figures:
        patience = 3 * seconds + _GRACE_SECONDS  # at twice the load the last answer is due after twice the time
        return run_load(running.url, cores, dialect=running.peer.dialect, seconds=seconds, patience=patience, **plan)

    many = check_served(load(slices=_MANY, clients=_CLIENTS_OF_MANY))
    one = check_served(load(slices=1, clients=CLIENTS_OF_ONE))
    memory = running.weigh()  # before the overload, whose backlog would be most of it
    peak = check_served(load(slices=_OVERLOAD_SLICES, clients=_OVERLOAD_CLIENTS))
    rate = OVERLOAD * peak["slices_per_second_to_the_end"] / _OVERLOAD_SLICES
    return {
        "start": running.seconds_to_ready,
        "64 slices": many,
        "1 slice, 32 clients": one,
        "peak": peak,
        "overload": {**load(slices=_OVERLOAD_SLICES, rate=rate), "rate": rate},
        "memory": memory,
        "memory_after_overload": running.weigh(),
    }


def check_served(told: Figures) -> Figures:
    """Return a load that was served whole; raise `ServiceError` where it was not."""
    if set(told["statuses"]) != {"200"}:
        raise ServiceError(f"answers to requests of {told['slices_per_request']} slices were {told['statuses']}")
    return told
