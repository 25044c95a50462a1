"""What a slice costs: torch, the plain export and the released graph, beside what this machine could do at most.

The operations of each form are counted from its shapes; the machine's rate is that of a large float32 matrix product,
measured in turn with them. Operations over rate is the floor, the time no program of these operations can go below.
Weights are drawn, not trained: time does not depend on them. Rounds take turns, so that what else the machine does
falls on all; processor time, and of all rounds the quickest quarter.

    python benchmarks/inference.py                                   # the preset of the reference model, 3 minutes
    python benchmarks/inference.py --preset brain128 --threads 1 2 --json inference.json --plot inference.png
"""

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from floor import Needs, count_needs, describe_floor, measure_copy_rate
from matplotlib.figure import Figure
from side_by_side import check_places

from registry.bundle.runtime import onnxruntime
from spect.atomic import write_atomically
from spect.sampling import GeneratorInputs
from training.config import TrainingConfig
from training.export import MODEL_RANGE, write_graph
from training.inference_form import to_inference_form
from training.machine import describe_cpu
from training.networks.generator import INPUT_NAMES, OUTPUT_NAME, Generator
from training.presets import PRESETS, preset

FORMS = ("torch", "plain export", "released")
BATCHES = (1, 8, 32, 128)
SLICES_A_ROUND = 32
ROUNDS = 12
PRODUCT = 1024  # side of the matrices whose product tells the machine's rate
QUIET_LOAD = 0.5
KIBIBYTES = 1024  # of a mebibyte

Run = Callable[[GeneratorInputs], np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one form takes at one batch and number of threads."""

    form: str
    threads: int
    batch: int
    slices_per_second: float
    gigaflops_per_slice: float
    share_of_rate: float  # of the matrix product's operations a second
    ratio_to_plain: float  # slices/s over those of the plain export
    difference: float  # from torch, of the model range
    peak_mebibytes: float  # of a process that runs this alone, over the one that only opened it


def main() -> None:
    arguments = _parse()
    load = os.getloadavg()[0]
    print(f"{describe_cpu()}; torch {torch.__version__}, ONNX Runtime {onnxruntime.__version__}; {arguments.preset}")
    if load > QUIET_LOAD:
        print(f"load {load:.1f}: something else runs here; ratios hold better than rates")
    costs = []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        generator = build_generator(preset(arguments.preset))
        needs = write_forms(generator, directory)
        print(_describe_needs(generator, needs))
        for threads in arguments.threads:
            costs += measure(generator, directory, needs, threads=threads, preset_name=arguments.preset)
    print(_table(costs) + "\n")
    copy_rate = measure_copy_rate()
    for threads in arguments.threads:
        rate = _rate_of_products(costs, threads=threads)
        released = needs["released"]
        print(describe_floor(released, gigaflops_a_second=rate, gigabytes_a_second=copy_rate, threads=threads))
    if arguments.json:
        write_atomically(arguments.json, json.dumps([asdict(cost) for cost in costs], indent=2).encode())
    if arguments.plot:
        draw(costs, arguments.plot)


def build_generator(config: TrainingConfig) -> Generator:
    """Return an untrained generator, ready to be exported."""
    torch.manual_seed(0)
    generator = Generator(config).eval()
    generator.correction.gain.uniform_(0.5, 1.2)  # as after calibration
    return generator.requires_grad_(requires_grad=False).remove_parametrizations()


def write_forms(generator: Generator, directory: Path) -> dict[str, Needs]:
    """Export both graphs; return what each form needs."""
    rewritten = to_inference_form(generator)
    inputs = draw_inputs(generator, 2)
    write_graph(generator, inputs, directory / "plain export")
    write_graph(rewritten, inputs, directory / "released")
    one = to_tensors(draw_inputs(generator, 1))
    trained = count_needs(generator, one)
    return {"torch": trained, "plain export": trained, "released": count_needs(rewritten, one)}


def draw_inputs(generator: Generator, n: int) -> GeneratorInputs:
    """Draw inputs of n slices."""
    rng = np.random.default_rng(n)
    return GeneratorInputs(
        latents=rng.standard_normal((n, generator.input_latents)).astype(np.float32),
        condition=rng.integers(0, 8, n),
        quantities=rng.standard_normal((n, generator.quantity_size)).astype(np.float32),
    )


def open_form(form: str, generator: Generator, directory: Path, *, threads: int) -> Run:
    """Return a function from inputs to model images."""
    if form == "torch":
        torch.set_num_threads(threads)

        @torch.no_grad()
        def run(inputs: GeneratorInputs) -> np.ndarray:
            return generator(*to_tensors(inputs)).numpy()

        return run
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession((directory / form).read_bytes(), options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(
        [OUTPUT_NAME], dict(zip(INPUT_NAMES, (inputs.latents, inputs.condition, inputs.quantities), strict=True))
    )[0]


def measure(
    generator: Generator, directory: Path, needs: dict[str, Needs], *, threads: int, preset_name: str
) -> list[Cost]:
    """Time every form at every batch, in turns with the matrix product."""
    runs = {form: open_form(form, generator, directory, threads=threads) for form in FORMS}
    costs = []
    for batch in BATCHES:
        inputs = draw_inputs(generator, batch)
        images = {form: run(inputs) for form, run in runs.items()}
        seconds, rate = _take_turns(runs, inputs, threads=threads)
        for form in FORMS:
            speed = 1 / seconds[form]
            costs.append(
                Cost(
                    form=form,
                    threads=threads,
                    batch=batch,
                    slices_per_second=speed,
                    gigaflops_per_slice=needs[form].gigaflops,
                    share_of_rate=needs[form].gigaflops * speed / rate,
                    ratio_to_plain=seconds["plain export"] / seconds[form],
                    difference=float(np.abs(images[form] - images["torch"]).max() / MODEL_RANGE),
                    peak_mebibytes=measure_memory(form, preset_name, directory, threads=threads, batch=batch),
                )
            )
    return costs


def _take_turns(runs: dict[str, Run], inputs: GeneratorInputs, *, threads: int) -> tuple[dict[str, float], float]:
    """Return seconds a slice of each form, and the matrix product's rate, 10^9 operations a second."""
    repeats = max(1, SLICES_A_ROUND // len(inputs))
    left, right = torch.randn(PRODUCT, PRODUCT), torch.randn(PRODUCT, PRODUCT)
    taken: dict[str, list[float]] = {name: [] for name in (*runs, "product")}
    for _ in range(ROUNDS):
        for form, run in runs.items():
            taken[form].append(_time(lambda run=run: run(inputs), repeats, threads) / len(inputs))
        taken["product"].append(_time(lambda: torch.mm(left, right), 4, threads))
    quick = {name: float(np.quantile(values, 0.25)) for name, values in taken.items()}
    return quick, 2 * PRODUCT**3 / 1e9 / quick.pop("product")


def _time(run: Callable[[], object], repeats: int, threads: int) -> float:
    """Seconds of one call: of the processor where one thread works, else of the clock."""
    clock = time.process_time if threads == 1 else time.perf_counter
    started = clock()
    for _ in range(repeats):
        run()
    return (clock() - started) / repeats


def measure_memory(form: str, preset_name: str, directory: Path, *, threads: int, batch: int) -> float:
    """Return how much a process grows by running a form, MiB: a fresh one, so that nothing else is in it."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return float(pool.apply(_grow, (form, preset_name, directory, threads, batch)))


def _grow(form: str, preset_name: str, directory: Path, threads: int, batch: int) -> float:
    generator = build_generator(preset(preset_name))
    run, inputs = open_form(form, generator, directory, threads=threads), draw_inputs(generator, batch)
    before = _peak_mebibytes()
    for _ in range(3):
        run(inputs)
    return _peak_mebibytes() - before


def _peak_mebibytes() -> float:
    """Return the most this process has held since it began; `getrusage` would tell of its parent as well."""
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / KIBIBYTES


def _describe_needs(generator: Generator, needs: dict[str, Needs]) -> str:
    trained, released = needs["torch"], needs["released"]
    image = generator.matrix**2 * 4 / 2**10
    return (
        f"a slice: {trained.gigaflops:.3f} Gflop as trained, {released.gigaflops:.3f} as released; "
        f"{released.map_mebibytes:.1f} MiB of maps that its layers write, {released.weight_mebibytes:.1f} MiB of "
        f"weights once a batch, {image:.0f} KiB of image"
    )


def _rate_of_products(costs: Sequence[Cost], *, threads: int) -> float:
    """Return the matrix product's rate, 10^9 operations a second: the median over batches."""
    return statistics.median(
        cost.gigaflops_per_slice * cost.slices_per_second / cost.share_of_rate
        for cost in costs
        if cost.form == "released" and cost.threads == threads
    )


def _table(costs: Sequence[Cost]) -> str:
    head = (
        "| form | threads | batch | slices/s | over plain export | of the matrix rate | difference | memory, MiB |\n"
        "| --- " + "| ---: " * 7 + "|"
    )
    rows = [
        f"| {cost.form} | {cost.threads} | {cost.batch} | {cost.slices_per_second:.0f} | {cost.ratio_to_plain:.2f} "
        f"| {cost.share_of_rate:.0%} | {cost.difference:.0e} | {cost.peak_mebibytes:.0f} |"
        for cost in costs
    ]
    return "\n".join(["", head, *rows])


def draw(costs: Sequence[Cost], path: Path) -> None:
    """Draw slices a second against batch, one panel a number of threads, the floor's speed as a line."""
    threads = sorted({cost.threads for cost in costs})
    figure = Figure(figsize=(4.5 * len(threads), 3.6), layout="constrained")
    axes = figure.subplots(1, len(threads), sharey=True, squeeze=False)[0]
    for axis, count in zip(axes, threads, strict=True):
        for form in FORMS:
            chosen = [cost for cost in costs if cost.form == form and cost.threads == count]
            axis.plot([c.batch for c in chosen], [c.slices_per_second for c in chosen], marker="o", label=form)
        bound = [c for c in costs if c.form == "released" and c.threads == count]
        most = [c.slices_per_second / c.share_of_rate for c in bound]
        axis.plot([c.batch for c in bound], most, color="black", linestyle=":", label="matrix rate, released")
        axis.set_xscale("log", base=2)
        axis.set_xticks(BATCHES, [str(batch) for batch in BATCHES])
        axis.set(title=f"{count} thread{'s' * (count > 1)}", xlabel="slices a batch", ylim=(0, None))
    axes[0].set_ylabel("slices/s")
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=150)


def to_tensors(inputs: GeneratorInputs) -> tuple[torch.Tensor, ...]:
    """Return inputs as torch takes them, in the order of the graph's."""
    return tuple(torch.from_numpy(values) for values in (inputs.latents, inputs.condition, inputs.quantities))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="brain64", help="whose generator is built")
    parser.add_argument(
        "--threads", type=int, nargs="+", default=[1], help="of torch and of ONNX Runtime, one after the other"
    )
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--plot", type=Path, help="draw slices/s against batch into this PNG")
    arguments = parser.parse_args()
    check_places(parser, arguments.json, arguments.plot)
    if arguments.preset not in PRESETS:
        parser.error(f"--preset must be one of {', '.join(PRESETS)}, got {arguments.preset!r}")
    if min(arguments.threads) < 1:
        parser.error(f"--threads must be positive, got {min(arguments.threads)}")
    return arguments


if __name__ == "__main__":
    main()
