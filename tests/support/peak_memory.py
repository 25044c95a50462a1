"""How much memory a worker takes beyond its model to write one whole answer: run as a process of its own (Linux)."""

import asyncio
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from prometheus_client import CollectorRegistry

from serving.metrics import ServiceMetrics
from serving.schemas import parse_order
from serving.settings import ServiceSettings
from serving.worker import Worker

MIB = 2**20


def main() -> None:
    """Print the MiB that writing grew the process by at its peak: arguments are a bundle, a format and an order."""
    bundle, name, body = sys.argv[1:]
    with TemporaryDirectory() as state:
        settings = ServiceSettings(bundle_dir=Path(bundle), state_dir=Path(state))
        grown = asyncio.run(_measure(Worker(settings, ServiceMetrics(CollectorRegistry())), name, body))
    sys.stdout.write(f"{grown}\n")


async def _measure(worker: Worker, name: str, body: str) -> int:
    await worker.start()
    try:
        model = worker.slot.current()
        one = parse_order(json.dumps({**json.loads(body), "count": 1}).encode())
        await worker.encode(model, one, name, await worker.make(model, one))  # what libraries take once
        order = parse_order(body.encode())
        batch = await worker.make(model, order)
        before = _peak_bytes()
        answer = await worker.encode(model, order, name, batch)
        answer.close()
        return (_peak_bytes() - before) // MIB
    finally:
        await worker.stop()


def _peak_bytes() -> int:
    # Not getrusage, which begins with the parent's peak.
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (peak,) = (line for line in lines if line.startswith("VmHWM"))
    return int(peak.split()[1]) * 1024


if __name__ == "__main__":
    main()
