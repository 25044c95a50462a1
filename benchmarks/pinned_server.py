"""The service under a load of ours: pinned to its cores, its memory watched, its session run bare likewise."""

import contextlib
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from side_by_side import Figures, pinned, run_load, run_scripts

from synspect.server_process import ServerOptions, ServerProcess, find_free_port

MEMORY_REQUEST_SLICES = 64
MEMORY_CLIENTS = 2  # keep the generator busy, and are not refused on a slow core
_READINGS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What runs where."""

    bundle: Path
    server_cores: frozenset[int]
    load_cores: frozenset[int]
    workers: int
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)  # settings of the service


@contextlib.contextmanager
def start_pinned_server(layout: Layout) -> Iterator[ServerProcess]:
    """Start the service on its cores, wait until it is ready, and stop it at the end."""
    options = ServerOptions(
        bundle_dir=layout.bundle,
        port=find_free_port(preferred=0),
        workers=layout.workers,
        environment=layout.environment,
    )
    with layout.log.open("ab") as log:
        with pinned(set(layout.server_cores)):
            server = ServerProcess(options, log=log)
        try:
            server.wait_until_ready()
            yield server
        finally:
            server.stop()


def load_server(server: ServerProcess, layout: Layout, **plan: float | str) -> Figures:
    """Put a load on a server from the cores of the load."""
    return run_load(server.url, set(layout.load_cores), **plan)


def run_bare(layout: Layout, *, batch: int, seconds: float) -> Figures:
    """Run the session alone, in as many processes as the server has workers, all at once."""
    threads = max(len(layout.server_cores) // layout.workers, 1)
    plan = {"bundle": str(layout.bundle), "batch": batch, "seconds": seconds, "threads": threads}
    told = run_scripts(["bare_session.py"] * layout.workers, set(layout.server_cores), plan)
    return {
        "slices_per_second": sum(one["slices_per_second"] for one in told),
        "p50_seconds": statistics.median(one["p50_seconds"] for one in told),
    }


def watch_memory(server: ServerProcess, layout: Layout, *, slices: int) -> Figures:
    """Serve so many slices, and read the memory of the largest worker on the way."""
    seen: list[Figures] = [{"slices": 0, "mebibytes": read_memory(server)}]
    requests = max(slices // _READINGS, MEMORY_REQUEST_SLICES) // MEMORY_REQUEST_SLICES
    while seen[-1]["slices"] < slices:
        served = load_server(server, layout, slices=MEMORY_REQUEST_SLICES, clients=MEMORY_CLIENTS, requests=requests)
        done = MEMORY_REQUEST_SLICES * served["statuses"].get("200", 0)
        if not done:
            raise SystemExit(describe_refusals(served["statuses"]))
        seen.append({"slices": seen[-1]["slices"] + done, "mebibytes": read_memory(server)})
    half = [one["mebibytes"] for one in seen[len(seen) // 2 :]]
    return {"seen": seen, "most_mebibytes": max(one["mebibytes"] for one in seen), "growth": half[-1] - half[0]}


def check_all_served(told: Figures) -> Figures:
    """Return what a load saw; end where anything but slices was answered."""
    if set(told["statuses"]) != {"200"}:
        raise SystemExit(describe_refusals(told["statuses"]))
    return told


def describe_refusals(statuses: Mapping[str, int]) -> str:
    return (
        f"answers were {dict(statuses)}; look at the server's log (503 alone: this machine is too slow or too busy for "
        "what its clients wait for)"
    )


def read_memory(server: ServerProcess) -> float:
    """Return the resident memory of the largest process of the server, MiB: each worker holds model and session."""
    processes = psutil.Process(server.pid).children(recursive=True)
    return float(max(process.memory_info().rss for process in processes) / 2**20)
