"""The service against its own ONNX session: throughput, latency, start, memory, and four times too much load.

    python benchmarks/serving_speed.py [--bundle DIR] [--seconds 10] [--rounds 3] [--slices 50000] [--overload 60]

The server is pinned to one set of cores (--server-cores 0), the load, a second process on loopback, to another
(--load-cores 1). The bare session (`benchmarks/bare_session.py`) is pinned as the server is, in as many processes with
as many threads, and takes turns with it, so that what else the machine does falls on both. Ratios are of pairs of
rounds. Everything is bounded: by --seconds a round, by --slices, by --overload. `--json FILE` keeps all figures.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from pinned_server import Layout, check_all_served, load_server, run_bare, start_pinned_server, watch_memory
from rich.progress import Progress
from side_by_side import (
    Figures,
    check_cores,
    check_places,
    describe_machine,
    parse_cores,
    print_machine,
    warn_unless_quiet,
)

from spect.atomic import write_atomically
from synspect.server_process import ServerProcess
from synspect.source import find_reference_bundle

OVERLOAD_SLICES = 16  # of a request under overload: small enough that a bound in slices is met by many
OVERLOAD = 4
RECOVERY_SECONDS = 30.0


def main() -> None:
    arguments = _parse()
    figures: Figures = {"machine": describe_machine(), "command": " ".join(["python", *sys.argv])}
    busy = os.getloadavg()[0]
    figures["load_average"] = busy
    with Progress(transient=True) as progress:
        task = progress.add_task("starting", total=6)
        for name, measure in _measurements(arguments):
            progress.update(task, description=name)
            figures[name] = measure()
            progress.advance(task)
    _print(figures)
    warn_unless_quiet(busy)
    if arguments.json:
        write_atomically(arguments.json, json.dumps(figures, indent=2).encode())


def _measurements(arguments: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """Yield each measurement; all but the first against one server, which lives until they are done."""
    yield "start", lambda: _measure_start(arguments)
    layout = _layout(arguments)
    with start_pinned_server(layout) as server:
        yield "64 slices", lambda: _compare(server, arguments, slices=64, clients=4, batch=64)
        yield "1 slice, 32 clients", lambda: _compare(server, arguments, slices=1, clients=32, batch=32)
        yield "1 slice, 1 client", lambda: _compare(server, arguments, slices=1, clients=1, batch=1)
        yield "overload", lambda: _overload(server, arguments)
        yield "memory", lambda: watch_memory(server, layout, slices=arguments.slices)


def _measure_start(arguments: argparse.Namespace) -> Figures:
    seconds = []
    for _ in range(arguments.rounds):
        started = time.perf_counter()
        with start_pinned_server(_layout(arguments)):
            seconds.append(time.perf_counter() - started)
    return {"seconds_to_ready": seconds, "median": statistics.median(seconds)}


def _compare(server: ServerProcess, arguments: argparse.Namespace, *, slices: int, clients: int, batch: int) -> Figures:
    """Take turns: the session alone with `batch` slices a call, and the service with `slices` a request."""
    layout, rounds = _layout(arguments), []
    for _ in range(arguments.rounds):
        bare = run_bare(layout, batch=batch, seconds=arguments.seconds)
        served = check_all_served(
            load_server(server, layout, slices=slices, clients=clients, seconds=arguments.seconds)
        )
        rounds.append({"bare": bare, "served": served})
    ratios = [one["served"]["slices_per_second"] / one["bare"]["slices_per_second"] for one in rounds]
    return {"rounds": rounds, "ratio_of_slices_per_second": statistics.median(ratios), "bare_batch": batch}


def _overload(server: ServerProcess, arguments: argparse.Namespace) -> Figures:
    """Find the peak, ask for four times as much, and see how soon one slice is there as fast as before."""
    layout = _layout(arguments)
    peak = load_server(server, layout, slices=OVERLOAD_SLICES, clients=16, seconds=arguments.seconds)
    alone = load_server(server, layout, slices=1, clients=1, seconds=min(arguments.seconds, 5.0))
    if not peak["slices_per_second"]:
        raise SystemExit(f"nothing was served within {arguments.seconds:g} s; give more --seconds")
    rate = OVERLOAD * peak["slices_per_second"] / OVERLOAD_SLICES
    under = load_server(server, layout, slices=OVERLOAD_SLICES, rate=rate, seconds=arguments.overload)
    return {
        "peak": peak,
        "under": under,
        "rate": rate,
        "goodput": under["slices_per_second"] / peak["slices_per_second"],
        "seconds_to_recover": under["seconds_after"] + _wait_for_recovery(server, 2 * alone["p50_seconds"]),
    }


def _wait_for_recovery(server: ServerProcess, seconds_of_one: float) -> float:
    """Return the seconds from now until one slice is there in time again; infinite where it never is."""
    body = {"level": "COR", "pattern": "normal", "count": 1, "seed": 1}
    with httpx.Client(base_url=server.url, timeout=60) as client:
        client.get("/livez")  # connected, as a client is that has asked before
        started = time.perf_counter()
        while time.perf_counter() - started < RECOVERY_SECONDS:
            before = time.perf_counter()
            answer = client.post("/v1/slices", json=body)
            if answer.status_code == httpx.codes.OK and time.perf_counter() - before <= seconds_of_one + 0.01:
                return before - started
    return float("inf")


def _layout(arguments: argparse.Namespace) -> Layout:
    return Layout(
        bundle=arguments.bundle,
        server_cores=frozenset(arguments.server_cores),
        load_cores=frozenset(arguments.load_cores),
        workers=arguments.workers,
        log=arguments.log,
    )


def _print(figures: Figures) -> None:
    machine, overload, memory = figures["machine"], figures["overload"], figures["memory"]
    print_machine(machine)
    for name in ("64 slices", "1 slice, 32 clients"):
        one = figures[name]
        last = one["rounds"][-1]
        print(
            f"{name:<22} {one['ratio_of_slices_per_second']:.2f} of the bare session at batch {one['bare_batch']} "
            f"({last['served']['slices_per_second']:.1f} of {last['bare']['slices_per_second']:.1f} slices/s)"
        )
    rounds = figures["1 slice, 1 client"]["rounds"]
    served, bare = (statistics.median(one[who]["p50_seconds"] for one in rounds) * 1000 for who in ("served", "bare"))
    print(f"{'one slice, p50':<22} {served:.1f} ms, the session alone {bare:.1f} ms (limit {1.3 * bare + 3:.1f} ms)")
    print(f"{'start to ready':<22} {figures['start']['median']:.1f} s")
    print(
        f"{'memory per worker':<22} at most {memory['most_mebibytes']:.0f} MiB over {memory['seen'][-1]['slices']} "
        f"slices, {memory['growth']:+.1f} MiB in the second half"
    )
    answers, p99 = overload["under"]["statuses"], overload["under"]["p99_seconds"]
    print(
        f"{'4 times too much':<22} goodput {overload['goodput']:.2f} of the peak, answers {answers}, p99 {p99:.1f} s, "
        f"back after {overload['seconds_to_recover']:.1f} s"
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=find_reference_bundle())
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--server-cores", type=parse_cores, default="0", help="such as 0 or 0,2")
    parser.add_argument("--load-cores", type=parse_cores, default="1")
    parser.add_argument("--seconds", type=float, default=10.0, help="of one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slices", type=int, default=50_000, help="served while memory is watched")
    parser.add_argument("--overload", type=float, default=60.0, help="seconds of four times too much")
    parser.add_argument("--log", type=Path, default=Path(os.devnull), help="where the server's log goes")
    parser.add_argument("--json", type=Path, help="file to keep every figure in")
    arguments = parser.parse_args()
    check_cores(parser, arguments.server_cores, arguments.load_cores)
    check_places(parser, arguments.json)
    return arguments


if __name__ == "__main__":
    main()
