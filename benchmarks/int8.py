"""What the released graph would gain by int8, and what its slices would lose.

The convolutions but the last are quantised as ONNX Runtime does it by default (static, signed, a scale a channel,
calibrated on slices of every condition), in a temporary directory; both graphs take turns on the same inputs, on one
thread of the CPU. How much faster int8 is hangs on what the processor has for it (VNNI, AMX).

    python benchmarks/int8.py                      # the reference bundle, a minute
    python benchmarks/int8.py --bundle DIR --json int8.json
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
from side_by_side import check_places, describe_machine, print_machine, warn_unless_quiet

from registry.bundle.directory import load_bundle
from registry.bundle.generator import ReleasedGenerator
from registry.bundle.manifest import GENERATOR_NAME
from spect.atomic import write_atomically
from spect.errors import SynspectError
from spect.features import compute_features
from spect.sampling import GeneratorInputs
from synspect.source import find_reference_bundle

BATCH = 16  # slices a run, as the service runs them
CALIBRATED_ON = 4  # runs, of conditions mixed
COMPARED = 16  # runs
ROUNDS = 24
CALIBRATION_SEED, SEED = 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The int8 graph beside the released one, on the same inputs."""

    speed_ratio: float  # slices/s, int8 over released: median of rounds
    rms_difference: float  # of the model range
    largest_difference: float  # of the model range
    mean_counts_ratio: float  # median over slices
    noise_sd_ratio: float  # median over slices: what a scan's texture is measured by
    high_frequency_share_ratio: float  # median over slices


class _CalibrationRuns:
    """Hands runs to ONNX Runtime, which asks for one at a time (its `CalibrationDataReader`)."""

    def __init__(self, runs: Iterator[GeneratorInputs]) -> None:
        self._runs = runs

    def get_next(self) -> dict[str, np.ndarray] | None:
        inputs = next(self._runs, None)
        return None if inputs is None else asdict(inputs)


def main() -> int:
    arguments = _parse()
    load, machine = os.getloadavg()[0], describe_machine()
    try:
        released = ReleasedGenerator(load_bundle(arguments.bundle), threads=1)
    except SynspectError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    with tempfile.TemporaryDirectory() as directory:
        path = quantise(released, arguments.bundle / GENERATOR_NAME, Path(directory))
        narrow = ReleasedGenerator.from_onnx(path, released.manifest, threads=1)
        comparison = compare(released, narrow)
    print_machine(machine)
    for name, value in asdict(comparison).items():
        print(f"{name.replace('_', ' '):>28}: {value:.3g}")
    warn_unless_quiet(load)
    if arguments.json:
        kept = {"machine": machine, "load_average": load, "sha256": released.sha256} | asdict(comparison)
        write_atomically(arguments.json, json.dumps(kept, indent=2).encode())
    return 0


def quantise(generator: ReleasedGenerator, graph: Path, directory: Path) -> Path:
    """Write the int8 form of a graph into a directory; return its path."""
    # After registry.bundle.runtime, which keeps ONNX Runtime from sending anything home.
    from onnxruntime.quantization import QuantFormat, quantize_static  # noqa: PLC0415, TID251
    from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: PLC0415, TID251

    prepared, narrow = directory / "prepared.onnx", directory / "int8.onnx"
    quant_pre_process(graph, prepared, skip_symbolic_shape=True)
    convolutions = [node.name for node in onnx.load(prepared).graph.node if node.op_type == "Conv"]
    quantize_static(
        prepared,
        narrow,
        _CalibrationRuns(draw_runs(generator, seed=CALIBRATION_SEED, runs=CALIBRATED_ON)),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        nodes_to_quantize=convolutions[:-1],  # the last one writes the image
    )
    return narrow


def draw_runs(generator: ReleasedGenerator, *, seed: int, runs: int) -> Iterator[GeneratorInputs]:
    """Draw inputs of runs in which every condition is."""
    conditions = generator.manifest.density().conditions
    share = BATCH // len(conditions)
    for run in range(runs):
        yield GeneratorInputs.concatenate(
            [generator.draw_inputs(one, seed=seed, start=run * share, count=share) for one in conditions]
        )


def compare(released: ReleasedGenerator, narrow: ReleasedGenerator) -> Comparison:
    """Make the same slices with both, then time both in turns."""
    runs = list(draw_runs(released, seed=SEED, runs=COMPARED))
    wide, other = (np.concatenate([one.run(inputs) for inputs in runs]) for one in (released, narrow))
    difference = np.abs(other - wide) / released.manifest.max_counts
    spacing = released.manifest.pixel_spacing_mm
    features, others = (compute_features(counts, pixel_spacing_mm=spacing) for counts in (wide, other))

    def ratio(name: str) -> float:
        return float(np.median(others[name] / features[name]))

    return Comparison(
        speed_ratio=measure_speed_ratio(released, narrow, runs[0]),
        rms_difference=float(np.sqrt(np.square(difference).mean())),
        largest_difference=float(difference.max()),
        mean_counts_ratio=ratio("mean_counts"),
        noise_sd_ratio=ratio("noise_sd"),
        high_frequency_share_ratio=ratio("high_frequency_share"),
    )


def measure_speed_ratio(released: ReleasedGenerator, narrow: ReleasedGenerator, inputs: GeneratorInputs) -> float:
    """Return how many times as fast the narrow graph runs: median over rounds, processor time."""
    pairs = [(_seconds(released, inputs), _seconds(narrow, inputs)) for _ in range(ROUNDS)]
    return float(np.median([wide / other for wide, other in pairs]))


def _seconds(generator: ReleasedGenerator, inputs: GeneratorInputs) -> float:
    started = time.process_time()
    generator.run(inputs)
    return time.process_time() - started


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=find_reference_bundle(), help="whose graph is quantised")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    arguments = parser.parse_args()
    check_places(parser, arguments.json)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
