"""How the cost of slices grows: with the count of a request, with clients, with the matrix, with workers, with time.

    python benchmarks/serving_growth.py                                    # 5 minutes on two quiet cores
    python benchmarks/serving_growth.py --slices 100000 --json growth.json --plot growth.png
    python benchmarks/serving_growth.py --only clients --seconds 2

One thing grows at a time: `count` with one client, `clients` with one slice a request, `matrix` with 64 slices and two
clients, `workers` with 16 slices and eight clients. The service is pinned to --server-cores, the load, a second process
on loopback, to --load-cores; for `workers`, one and two share all of these cores with the load. Beside every rate
stands the floor: the bare session (`benchmarks/bare_session.py`) in runs as large as the service's, pinned alike, just
before. A point takes --seconds and the time of the answers that are still on their way; `memory` serves --slices from a
worker that has just started.
"""

import argparse
import json
import os
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from growth.figure import draw
from growth.points import SWEEPS, Point, Sweep, describe_memory, to_table
from pinned_server import Layout, load_server, run_bare, start_pinned_server, watch_memory
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

from registry.bundle.directory import load_bundle
from serving.settings import ServiceSettings
from spect.atomic import write_atomically
from spect.errors import SynspectError
from synspect.server_process import ServerProcess
from synspect.source import find_reference_bundle

RUN_SLICES = int(ServiceSettings.model_fields["batch_slices"].default)  # of one run of the generator
MEMORY = "memory"
BARE_SECONDS = 2.0
MOST_SECONDS = 600.0
MOST_SLICES = 10_000_000


def main() -> int:
    arguments = _parse()
    load = os.getloadavg()[0]
    try:
        load_bundle(arguments.bundle)
        points, memory = _measure(arguments)
    except SynspectError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    machine = describe_machine()
    print_machine(machine)
    told = [to_table(points)] if points else []
    told += [describe_memory(memory)] if memory else []
    print("\n\n".join([*told, f"load average {load:.2f} at the start, {os.getloadavg()[0]:.2f} at the end"]))
    warn_unless_quiet(load)
    if arguments.json:
        kept = {"machine": machine, "load_average": load, "points": [asdict(one) for one in points], MEMORY: memory}
        write_atomically(arguments.json, json.dumps(kept, indent=2).encode())
    if arguments.plot:
        title = (
            f"{machine['processor']}, {machine['cores']} cores; service on core {_list(arguments.server_cores)}, load "
            f"on core {_list(arguments.load_cores)}; load average {load:.1f} at the start"
        )
        draw(points, memory, title=title, path=arguments.plot)
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What is measured of one server."""

    layout: Layout
    loads: tuple[tuple[Sweep, int], ...] = ()
    watches_memory: bool = False


def _plan(arguments: argparse.Namespace) -> list[Turn]:
    """Return the turns of what is wanted: loads on one worker on its own cores share it."""
    wanted = [sweep for sweep in SWEEPS if not arguments.only or sweep.name in arguments.only]
    alone = tuple((sweep, value) for sweep in wanted if not sweep.is_on_all_cores for value in sweep.values)
    together = [(sweep, value) for sweep in wanted if sweep.is_on_all_cores for value in sweep.values]
    server, load = frozenset(arguments.server_cores), frozenset(arguments.load_cores)
    layout = Layout(bundle=arguments.bundle, server_cores=server, load_cores=load, workers=1, log=arguments.log)
    turns = [Turn(layout=layout, loads=alone)] if alone else []
    shared = replace(layout, server_cores=server | load, load_cores=server | load)
    turns += [Turn(layout=replace(shared, workers=one[1]), loads=(one,)) for one in together]
    if not arguments.only or MEMORY in arguments.only:
        turns.append(Turn(layout=layout, watches_memory=True))
    return turns


def _measure(arguments: argparse.Namespace) -> tuple[list[Point], Figures | None]:
    """Take the turns; return the points, and what the memory did where it was watched."""
    turns = _plan(arguments)
    points: list[Point] = []
    memory = None
    with Progress(transient=True) as progress:
        task = progress.add_task("starting", total=sum(len(turn.loads) + turn.watches_memory for turn in turns))
        for turn in turns:
            with start_pinned_server(turn.layout) as server:
                for sweep, value in turn.loads:
                    progress.update(task, description=f"{sweep.name} {value}")
                    points.append(_measure_point(server, turn.layout, sweep, value, seconds=arguments.seconds))
                    progress.advance(task)
                if turn.watches_memory:
                    progress.update(task, description=f"{MEMORY}, {arguments.slices:,} slices")
                    memory = watch_memory(server, turn.layout, slices=arguments.slices)
                    progress.advance(task)
    return points, memory


def _measure_point(server: ServerProcess, layout: Layout, sweep: Sweep, value: int, *, seconds: float) -> Point:
    bare = run_bare(layout, batch=RUN_SLICES, seconds=min(seconds, BARE_SECONDS))
    told = load_server(server, layout, **sweep.plan(value), seconds=seconds)
    return Point.of(sweep, value, told, bare)


def _list(cores: set[int]) -> str:
    return ", ".join(map(str, sorted(cores)))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=find_reference_bundle())
    names = [*(sweep.name for sweep in SWEEPS), MEMORY]
    parser.add_argument("--only", action="append", choices=names, help="may be repeated")
    parser.add_argument("--server-cores", type=parse_cores, default="0", help="such as 0 or 0,2")
    parser.add_argument("--load-cores", type=parse_cores, default="1")
    parser.add_argument("--seconds", type=float, default=6.0, help="of one point")
    parser.add_argument("--slices", type=int, default=20_000, help="served while memory is watched")
    parser.add_argument("--log", type=Path, default=Path(os.devnull), help="where the server's log goes")
    parser.add_argument("--json", type=Path, help="file to keep every figure in")
    parser.add_argument("--plot", type=Path, help="draw the figures into this PNG")
    arguments = parser.parse_args()
    check_cores(parser, arguments.server_cores, arguments.load_cores)
    check_places(parser, arguments.json, arguments.plot, arguments.log)
    if not 0 < arguments.seconds <= MOST_SECONDS:
        parser.error(f"--seconds must be above 0 and at most {MOST_SECONDS:g}, got {arguments.seconds:g}")
    if not 0 < arguments.slices <= MOST_SLICES:
        parser.error(f"--slices must be 1 to {MOST_SLICES:,}, got {arguments.slices}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
