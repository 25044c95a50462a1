"""What a worker takes at its peak for the largest answers of a format, asked for alone and then several at once.

    python benchmarks/serving_memory.py                                    # 5 minutes
    python benchmarks/serving_memory.py --only png --only nifti --json memory.json

Every row is of a server of one worker that has just started and has written 64 slices before: as npz, or in every
format, which brings in the libraries of each. The peak is the kernel's (VmHWM). Requests are let in however long they
wait (SYNSPECT_MAX_WAITING_SECONDS), as they are on a machine that makes more slices.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from pinned_server import Layout, check_all_served, load_server, start_pinned_server
from rich.progress import track
from side_by_side import check_cores, check_places, describe_machine, parse_cores, print_machine

from registry.bundle.directory import load_bundle
from serving.settings import WHOLE_SLICES
from spect.atomic import write_atomically
from spect.errors import SynspectError
from spect.formats.whole import count_most
from spect.formats.writer import FORMATS, NAMES
from synspect.server_process import ServerProcess
from synspect.source import MATRICES, find_reference_bundle

MATRIX = max(MATRICES)
NPZ, EVERY_FORMAT = "npz", "every format"  # what a worker has written before
BEFORE = (NPZ, EVERY_FORMAT)
FIRST_SLICES = 64
KIBIBYTES = 1024
TOLD = ("npz", "dicom", "png", "json")  # in docs/serving.md


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The largest answers of a format that are made whole."""

    format: str
    slices: int
    at_once: int

    @classmethod
    def of(cls, name: str) -> "Answers":
        """Return as many slices as the format may hold, or as are not sent while they are made."""
        if FORMATS[name].needs_all:
            return cls(format=name, slices=count_most(MATRIX), at_once=4)
        return cls(format=name, slices=WHOLE_SLICES, at_once=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The memory of one worker, MiB."""

    answers: Answers
    before: str
    resident_before: float  # when nothing but `before` was written
    peak_alone: float
    peak_at_once: float


def main() -> int:
    arguments = _parse()
    load = os.getloadavg()[0]
    wanted = [(Answers.of(name), before) for name in arguments.only or TOLD for before in BEFORE]
    layout = Layout(
        bundle=arguments.bundle,
        server_cores=frozenset(arguments.server_cores),
        load_cores=frozenset(arguments.load_cores),
        workers=1,
        log=arguments.log,
        environment={"SYNSPECT_MAX_WAITING_SECONDS": "3600"},
    )
    try:
        load_bundle(arguments.bundle)
        measured = [_measure(layout, *one) for one in track(wanted, transient=True)]
    except SynspectError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    machine = describe_machine()
    print_machine(machine)
    print(to_table(measured))
    print(f"\n{describe_resident(measured)}")
    print(f"load average {load:.2f} at the start, {os.getloadavg()[0]:.2f} at the end")
    if arguments.json:
        kept = {"machine": machine, "load_average": load, "measured": [asdict(one) for one in measured]}
        write_atomically(arguments.json, json.dumps(kept, indent=2).encode())
    return 0


def _measure(layout: Layout, answers: Answers, before: str) -> Measured:
    with start_pinned_server(layout) as server:
        for name in NAMES if before == EVERY_FORMAT else (NPZ,):
            check_all_served(load_server(server, layout, slices=FIRST_SLICES, clients=1, requests=1, format=name))
        resident = read_worker(server)["VmRSS"]
        alone, at_once = (_find_peak(server, layout, answers, clients=clients) for clients in (1, answers.at_once))
    return Measured(answers=answers, before=before, resident_before=resident, peak_alone=alone, peak_at_once=at_once)


def _find_peak(server: ServerProcess, layout: Layout, answers: Answers, *, clients: int) -> float:
    plan = {"slices": answers.slices, "clients": clients, "requests": clients, "matrix": MATRIX}
    check_all_served(load_server(server, layout, **plan, format=answers.format))
    return read_worker(server)["VmHWM"]


def read_worker(server: ServerProcess) -> dict[str, float]:
    """Return the sizes of the largest process of the server, MiB: the worker."""
    processes = psutil.Process(server.pid).children(recursive=True)
    worker = max(processes, key=lambda process: int(process.memory_info().rss))
    return parse_sizes(Path(f"/proc/{worker.pid}/status").read_text(encoding="ascii"))


def parse_sizes(status: str) -> dict[str, float]:
    """Read the sizes of /proc/PID/status, which are in kB, as MiB."""
    lines = (line.split() for line in status.splitlines() if line.endswith(" kB"))
    return {name.rstrip(":"): int(size) / KIBIBYTES for name, size, _unit in lines}


def to_table(measured: Sequence[Measured]) -> str:
    """Return a row for each worker, as Markdown."""
    heading = [
        f"| format | slices at matrix {MATRIX} | written before | peak for one, MiB | at once | peak, MiB |",
        "| --- | ---: | --- | ---: | ---: | ---: |",
    ]
    rows = [
        f"| {one.answers.format} | {one.answers.slices} | {one.before} | {one.peak_alone:.0f} "
        f"| {one.answers.at_once} | {one.peak_at_once:.0f} |"
        for one in measured
    ]
    return "\n".join([*heading, *rows])


def describe_resident(measured: Sequence[Measured]) -> str:
    """Say what workers held that had written nothing large yet."""
    held = {before: [one.resident_before for one in measured if one.before == before] for before in BEFORE}
    words = (f"{min(sizes):.0f} to {max(sizes):.0f} MiB after {before}" for before, sizes in held.items())
    return f"a worker held {', '.join(words)}, {FIRST_SLICES} slices each"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=find_reference_bundle(), help="what is served")
    parser.add_argument("--only", action="append", choices=NAMES, help="may be repeated")
    parser.add_argument("--server-cores", type=parse_cores, default="0", help="such as 0 or 0,2")
    parser.add_argument("--load-cores", type=parse_cores, default="1", help="cores of the load")
    parser.add_argument("--log", type=Path, default=Path(os.devnull), help="where the server's log goes")
    parser.add_argument("--json", type=Path, help="file to keep every figure in")
    arguments = parser.parse_args()
    check_cores(parser, arguments.server_cores, arguments.load_cores)
    check_places(parser, arguments.json, arguments.log)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
