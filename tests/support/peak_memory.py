"""How much memory a worker takes beyond its model to write whole answers: run as a process of its own (Linux)."""

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
    """Print the MiB that writing grew the process by: arguments are a bundle, a format, an order, how often at once."""
    bundle, name, body, times = sys.argv[1:]
    with TemporaryDirectory() as state:
        settings = ServiceSettings(bundle_dir=Path(bundle), state_dir=Path(state))
        grown = asyncio.run(_measure(Worker(settings, ServiceMetrics(CollectorRegistry())), name, body, int(times)))
    sys.stdout.write(f"{grown}\n")


async def _measure(worker: Worker, name: str, body: str, times: int) -> int:
    await worker.start()
    try:
        model = worker.slot.current()
        one = parse_order(json.dumps({**json.loads(body), "count": 1}).encode())
        await worker.encode(model, one, name, await worker.make(model, one))  # what libraries take once
        order = parse_order(body.encode())
        batch = await worker.make(model, order)
        before = _peak_bytes()
        for answer in await asyncio.gather(*(worker.encode(model, order, name, batch) for _ in range(times))):
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
