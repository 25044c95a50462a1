"""Where a worker's time goes under load, by thread: the session, and what stands on and beside the path of a request.

py-spy looks at the running service from outside, a hundred times a second, and the kernel tells what each thread took
of the processor meanwhile. py-spy must be allowed to: run this as root, or set kernel.yama.ptrace_scope to 0. The
service and its load are pinned as in `serving_speed.py`.

    python benchmarks/serving_profile.py                  # 64 slices a request, 4 clients; half a minute
    python benchmarks/serving_profile.py --slices 1 --clients 32 --json profile.json
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
from pinned_server import Layout, check_all_served, load_server, start_pinned_server
from profiling.stacks import DRIFT_THREAD, Seconds, parse_stacks, share_out, sum_in_the_path
from side_by_side import check_cores, check_places, describe_machine, parse_cores, print_machine, warn_unless_quiet

from registry.bundle.directory import load_bundle
from spect.atomic import write_atomically
from spect.errors import SynspectError
from synspect.server_process import ServerProcess
from synspect.source import find_reference_bundle

RATE = 100  # looks a second
WARM_UP_SECONDS = 3.0


def main() -> int:
    arguments = _parse()
    load, machine = os.getloadavg()[0], describe_machine()
    with tempfile.TemporaryDirectory() as directory:
        layout = Layout(
            bundle=arguments.bundle,
            server_cores=frozenset(arguments.server_cores),
            load_cores=frozenset(arguments.load_cores),
            workers=1,
            log=Path(directory) / "server.log",
        )
        try:
            load_bundle(arguments.bundle)
            with start_pinned_server(layout) as server:
                seconds = profile(server, layout, arguments, Path(directory) / "samples")
        except SynspectError as error:
            print(f"error: {error}", file=sys.stderr)
            return error.exit_code
    print_machine(machine)
    print_seconds(seconds)
    warn_unless_quiet(load)
    if arguments.json:
        plan = {"slices": arguments.slices, "clients": arguments.clients}
        kept = {"machine": machine, "load_average": load, "plan": plan, "seconds": seconds}
        write_atomically(arguments.json, json.dumps(kept, indent=2).encode())
    return 0


def profile(server: ServerProcess, layout: Layout, arguments: argparse.Namespace, samples: Path) -> Seconds:
    """Look at a server while it is loaded; end with py-spy's own words where it may not."""
    plan = {"slices": arguments.slices, "clients": arguments.clients}
    check_all_served(load_server(server, layout, **plan, seconds=WARM_UP_SECONDS))
    spy = str(Path(sys.executable).with_name("py-spy"))
    command = [spy, "record", "--pid", str(server.pid), "--subprocesses", "--threads", "--format", "raw"]
    command += ["--rate", str(RATE), "--duration", f"{arguments.seconds:.0f}", "--output", str(samples)]
    try:
        looking = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except FileNotFoundError:
        raise SystemExit(f"{spy} is not there; pip install py-spy") from None
    before = read_thread_seconds(server)
    with looking:
        check_all_served(load_server(server, layout, **plan, seconds=arguments.seconds))
        after = read_thread_seconds(server)
        said, _ = looking.communicate()
    if looking.returncode:
        raise SystemExit(
            f"py-spy may not look at the service; run this as root, or see above how to let it: {said.strip()}"
        )
    stacks = parse_stacks(samples.read_text(encoding="utf-8").splitlines())
    return share_out(stacks, {thread: taken - before.get(thread, 0) for thread, taken in after.items()})


def read_thread_seconds(server: ServerProcess) -> dict[int, float]:
    """Return what every thread of the server has taken of the processor so far, by the kernel's thread id."""
    processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    return {one.id: one.user_time + one.system_time for process in processes for one in process.threads()}


def print_seconds(seconds: Seconds) -> None:
    """Print parts as shares of the processor time, with the threads they were found in."""
    whole = sum(sum(threads.values()) for threads in seconds.values())
    print("| at | of the processor time | in threads |\n| --- | ---: | --- |")
    for part, threads in seconds.items():
        ordered = sorted(threads.items(), key=lambda item: -item[1])
        named = ", ".join(f"{thread} {taken / whole:.1%}" for thread, taken in ordered)
        print(f"| {part} | {sum(threads.values()) / whole:.1%} | {named} |")
    print(f"\n{whole:.1f} s; quantifier and drift watch outside {DRIFT_THREAD}: {sum_in_the_path(seconds) / whole:.2%}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=find_reference_bundle(), help="what is served")
    parser.add_argument("--server-cores", type=parse_cores, default={0}, help="cores of the service, as 0 or 0,2")
    parser.add_argument("--load-cores", type=parse_cores, default={1}, help="cores of the load")
    parser.add_argument("--slices", type=int, default=64, help="of a request")
    parser.add_argument("--clients", type=int, default=4, help="that ask again when they are answered")
    parser.add_argument("--seconds", type=float, default=15.0, help="of looking")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    arguments = parser.parse_args()
    check_cores(parser, arguments.server_cores, arguments.load_cores)
    check_places(parser, arguments.json)
    if arguments.slices < 1 or arguments.clients < 1 or not arguments.seconds >= 1:
        parser.error("--slices, --clients and --seconds must be at least 1")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
