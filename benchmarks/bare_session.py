"""The generator alone: how many slices a second, and how long one call takes, without any service around it.

    python benchmarks/bare_session.py '{"bundle": "models/reference", "batch": 64, "seconds": 5, "threads": 1}'

`benchmarks/serving_speed.py` starts this as a process pinned to the cores that it gives the server, and reads the line
of JSON that it prints.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

from registry.bundle.directory import load_bundle
from registry.bundle.generator import ReleasedGenerator
from spect.conditions import CONDITIONS


def main() -> None:
    plan = json.loads(sys.argv[1])
    generator = ReleasedGenerator(load_bundle(Path(plan["bundle"])), threads=plan["threads"])
    inputs = generator.draw_inputs(CONDITIONS[-1], seed=0, count=plan["batch"])  # drawn once: the session alone
    for _ in range(3):
        generator.run(inputs)
    calls: list[float] = []
    started = time.perf_counter()
    while time.perf_counter() - started < plan["seconds"]:
        before = time.perf_counter()
        generator.run(inputs)
        calls.append(time.perf_counter() - before)
    seconds = time.perf_counter() - started
    print(
        json.dumps({"slices_per_second": plan["batch"] * len(calls) / seconds, "p50_seconds": float(np.median(calls))})
    )


if __name__ == "__main__":
    main()
