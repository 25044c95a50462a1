"""The service beside LitServe, Ray Serve, `mlflow models serve`, Triton and plain FastAPI: one graph, one load.

    python benchmarks/serving_peers.py                                            # 20 minutes on two quiet cores
    python benchmarks/serving_peers.py --only synspect --only ray --seconds 2 --rounds 1
    python benchmarks/serving_peers.py --json peers.json --plot peers.png

Every server runs the released graph of --bundle on --server-cores and answers the same orders with the same counts, bit
for bit: that is checked before anything is timed. The load is another process on --load-cores. In each round every
server in turn, the first one another each time, is started alone, checked, loaded and ended; a figure is the median of
the rounds. Peers live in environments that are made under --venv at first (2.5 GB). One that does not start or answer
gets a row that says why. `benchmarks/peers/roster.py` holds the settings of each, `docs/performance-peers.md` the rest.
"""

import argparse
import contextlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from peers.process import Running, adopt_orphans, start_ours, start_peer
from peers.roster import OURS, PEERS, Peer
from peers.rounds import check_slices_equal, measure
from peers.rows import draw, to_row, to_table
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
from registry.bundle.generator import ReleasedGenerator
from spect.atomic import write_atomically
from spect.errors import SynspectError
from spect.home import home_directory
from synspect.source import find_reference_bundle


def main() -> int:
    arguments = _parse()
    signal.signal(signal.SIGTERM, _stop)
    adopt_orphans()
    load = os.getloadavg()[0]
    peers = [peer for peer in PEERS if not arguments.only or peer.name in arguments.only]
    try:
        generator = ReleasedGenerator(load_bundle(arguments.bundle), threads=len(arguments.server_cores))
    except SynspectError as error:
        print(error, file=sys.stderr)
        return 2
    rounds, reasons = _take_turns(peers, generator, arguments)
    rows = [to_row(peer.name, rounds[peer.name], reasons.get(peer.name)) for peer in peers]
    machine = describe_machine()
    print_machine(machine)
    print(to_table(rows) + "\n")
    print("\n".join(f"* {peer.name}: {peer.setting}" for peer in peers))
    warn_unless_quiet(load)
    if arguments.json:
        kept = {"machine": machine, "load_average": load, "rows": [asdict(row) for row in rows], "rounds": rounds}
        write_atomically(arguments.json, json.dumps(kept, indent=2).encode())
    if arguments.plot:
        draw(rows, arguments.plot)
    return 1 if len(reasons) == len(peers) else 0


def _take_turns(
    peers: Sequence[Peer], generator: ReleasedGenerator, arguments: argparse.Namespace
) -> tuple[dict[str, list[Figures]], dict[str, str]]:
    """Measure every server once a round; one that fails has a reason, and no further turn."""
    rounds: dict[str, list[Figures]] = {peer.name: [] for peer in peers}
    reasons: dict[str, str] = {}
    with Progress(transient=True) as progress:
        task = progress.add_task("", total=arguments.rounds * len(peers))
        for number in range(arguments.rounds):
            first = number % len(peers)
            for peer in (*peers[first:], *peers[:first]):
                progress.update(task, description=f"round {number + 1}: {peer.name}")
                if peer.name not in reasons:
                    try:
                        rounds[peer.name].append(_take_turn(peer, generator, arguments))
                    except SynspectError as error:
                        reasons[peer.name] = str(error)
                progress.advance(task)
    return rounds, reasons


def _take_turn(peer: Peer, generator: ReleasedGenerator, arguments: argparse.Namespace) -> Figures:
    with _start(peer, arguments) as running:
        check_slices_equal(running, generator)
        return measure(running, cores=arguments.load_cores, seconds=arguments.seconds)


def _start(peer: Peer, arguments: argparse.Namespace) -> contextlib.AbstractContextManager[Running]:
    log = arguments.venv / "logs" / f"{peer.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    if peer.name == OURS:
        return start_ours(peer, bundle=arguments.bundle, cores=arguments.server_cores, log=log)
    return start_peer(peer, bundle=arguments.bundle, cores=arguments.server_cores, log=log, venv=arguments.venv)


def _stop(*_signal: object) -> None:
    """End as after Ctrl-C: what runs is ended on the way out."""
    raise KeyboardInterrupt


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=find_reference_bundle())
    parser.add_argument("--venv", type=Path, default=home_directory() / "peers", help="where environments and logs lie")
    parser.add_argument("--only", action="append", choices=[peer.name for peer in PEERS], help="may be repeated")
    parser.add_argument("--server-cores", type=parse_cores, default="0", help="such as 0 or 0,2")
    parser.add_argument("--load-cores", type=parse_cores, default="1")
    parser.add_argument("--seconds", type=float, default=10.0, help="of one load; there are four a turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file to keep every figure in")
    parser.add_argument("--plot", type=Path, help="draw the table into this PNG")
    arguments = parser.parse_args()
    check_cores(parser, arguments.server_cores, arguments.load_cores)
    check_places(parser, arguments.json, arguments.plot)
    if not (arguments.seconds > 0 and arguments.rounds > 0):
        parser.error("--seconds and --rounds must be positive")
    arguments.venv = arguments.venv.absolute()
    return arguments


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped; what ran was ended")
