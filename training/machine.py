"""The machine a number was measured on, in words, and how long the released graph takes on it."""

import platform
import statistics
import time
from pathlib import Path

import torch

from registry.bundle.generator import ReleasedGenerator
from registry.bundle.runtime import onnxruntime
from spect.conditions import CONDITIONS
from spect.cores import count_cores
from spect.words import in_number

LATENCY_BATCHES = (1, 32)
_REPEATS = 9
_WARM_UP = 2


def describe_machine() -> str:
    """Return what a run is trained on: the GPU where torch sees one, else cores and their kind."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return f"{describe_cpu()}, torch {torch.__version__}"


def describe_cpu() -> str:
    """Return how many cores this process may use, and of which kind."""
    return f"{in_number(count_cores(), 'core')} of {_cpu_model()}"


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines() if cpuinfo.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.machine() or "unknown"


def describe_latency(generator: ReleasedGenerator) -> str:
    """Time the graph here and now: the median of a few runs for each batch size, reported and never judged."""
    times = " and ".join(f"{_milliseconds(generator, size):.1f} ms in a batch of {size}" for size in LATENCY_BATCHES)
    return f"{times}; {generator.provider} of ONNX Runtime {onnxruntime.__version__}, {describe_cpu()}"


def _milliseconds(generator: ReleasedGenerator, size: int) -> float:
    """Return milliseconds a slice."""
    inputs = generator.draw_inputs(CONDITIONS[0], seed=0, count=size)
    seconds = []
    for _ in range(_WARM_UP + _REPEATS):
        started = time.perf_counter()
        generator.run(inputs)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[_WARM_UP:]) / size * 1000
