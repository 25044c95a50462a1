"""What the inference form saves: the same network exported as it was trained and as it is released, timed in turn.

One thread, processor time, the first quarter of the repeats: steady on a machine that does other work too. The weights
are drawn, not trained: time does not depend on them.

    python benchmarks/released_graph.py                    # a minute; the preset of the reference model
    python benchmarks/released_graph.py --preset brain128
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from spect.sampling import GeneratorInputs
from training.export import MODEL_RANGE, write_graph
from training.inference_form import to_inference_form
from training.machine import describe_cpu
from training.networks import INPUT_NAMES, OUTPUT_NAME, Generator
from training.presets import preset

BATCHES = (1, 32)
SLICES_A_REPEAT = 16
REPEATS = 25


def build_generator(name: str) -> Generator:
    torch.manual_seed(0)
    generator = Generator(preset(name)).eval()
    return generator.requires_grad_(requires_grad=False).remove_parametrizations()


def draw(generator: Generator, n: int) -> GeneratorInputs:
    rng = np.random.default_rng(n)
    return GeneratorInputs(
        latents=rng.standard_normal((n, generator.input_latents)).astype(np.float32),
        condition=rng.integers(0, 8, n),
        quantities=rng.standard_normal((n, generator.quantity_size)).astype(np.float32),
    )


def open_graph(network: torch.nn.Module, generator: Generator, path: Path) -> onnxruntime.InferenceSession:
    write_graph(network, draw(generator, 2), path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])


def measure(sessions: list[onnxruntime.InferenceSession], inputs: GeneratorInputs) -> tuple[list[float], float]:
    """Return milliseconds a slice of each session, and their largest difference as a share of the model range."""
    fed = dict(zip(INPUT_NAMES, (inputs.latents, inputs.condition, inputs.quantities), strict=True))
    first, second = (session.run([OUTPUT_NAME], fed)[0] for session in sessions)
    runs = max(1, SLICES_A_REPEAT // len(inputs))
    times = np.empty((REPEATS, len(sessions)))
    for repeat in range(REPEATS):
        for column, session in enumerate(sessions):
            started = time.process_time()
            for _ in range(runs):
                session.run([OUTPUT_NAME], fed)
            times[repeat, column] = (time.process_time() - started) / runs / len(inputs) * 1e3
    return np.quantile(times, 0.25, axis=0).tolist(), float(np.abs(first - second).max() / MODEL_RANGE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="brain64")
    generator = build_generator(parser.parse_args().preset)
    with tempfile.TemporaryDirectory() as directory:
        networks = {"trained": generator, "released": to_inference_form(generator)}
        sessions = [open_graph(network, generator, Path(directory) / name) for name, network in networks.items()]
    print(f"one thread of {describe_cpu()}, ONNX Runtime {onnxruntime.__version__}\n")
    print(
        "| batch | as trained, ms a slice | as released, ms a slice | ratio | difference |\n| --- " + "| --- " * 4 + "|"
    )
    for size in BATCHES:
        (trained, released), difference = measure(sessions, draw(generator, size))
        print(f"| {size} | {trained:.2f} | {released:.2f} | {trained / released:.2f} | {difference:.0e} |")


if __name__ == "__main__":
    main()
