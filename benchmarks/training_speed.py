"""Our training step against a plain float32 loop of the same networks, side by side on this machine.

    python benchmarks/training_speed.py COHORT [--matrix 64] [--width 16] [--batch 16] [--seconds 50]
    python benchmarks/training_speed.py COHORT --json training.json --plot training.png

The plain loop is what one would write first: the networks of the preset in float32, memory as it comes, no Fabric, no
autocast; the same batches, augmentation, losses, R1 interval, quantity term and averaging. Both take turns in short
rounds, so that what else the machine does falls on both. Then every part of our step is done again by itself on a
batch of the run; what is left of the step over their sum is called all else.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from side_by_side import check_places
from step.clock import wait_for_device
from step.loops import OurLoop, PlainLoop
from step.parts import draw, print_parts, time_parts

from cohort.store import load_cohort
from spect.atomic import write_atomically
from training.prepare import prepare
from training.presets import PRESETS
from training.session import preferred_precision

WARM_UP_STEPS = 3
ROUNDS = 6
QUIET_LOAD = 0.5


def main() -> None:
    arguments = _parse()
    changes = [f"matrix={arguments.matrix}", f"width={arguments.width}", f"batch_size={arguments.batch}"]
    config = PRESETS["brain64"].changed_by(changes)
    prepared = prepare(load_cohort(arguments.cohort), config)
    precision = preferred_precision()
    ours = OurLoop(prepared, config, precision)
    plain = PlainLoop(prepared, config)
    load = os.getloadavg()[0]
    print(f"machine: {_name_machine()}, load {load:.1f} at the start")
    if load > QUIET_LOAD:
        print("the machine is busy with something else: these figures are not to be quoted")
    print(f"{config.matrix} px, width {config.width}, batch {config.batch_size}; ours in {precision}, plain in float32")
    rates = _take_turns({"ours": ours.step, "plain": plain.step}, config.batch_size, arguments.seconds)
    for name, rate in rates.items():
        print(f"{name:>6}: {np.median(rate):7.1f} images/s (median of rounds, {min(rate):.1f} to {max(rate):.1f})")
    ratio = [first / second for first, second in zip(rates["ours"], rates["plain"], strict=True)]
    print(f" ratio: {np.median(ratio):7.2f} (median of {ROUNDS} pairs of rounds, {min(ratio):.2f} to {max(ratio):.2f})")
    parts = time_parts(ours, config.batch_size / float(np.median(rates["ours"])))
    print_parts(parts)
    print(f"load {os.getloadavg()[0]:.1f} at the end")
    about = f"{config.matrix} px, width {config.width}, batch {config.batch_size}, {precision}"
    if arguments.json:
        kept = {"machine": _name_machine(), "about": about, "load_average": load, "images_per_second": rates}
        write_atomically(arguments.json, json.dumps(kept | {"seconds_of_a_step": parts}, indent=2).encode())
    if arguments.plot:
        title = f"{_name_machine()}; {about}; load average {load:.1f} at the start"
        draw(parts, rates, title=title, path=arguments.plot)


def _take_turns(steps: dict[str, Callable[[], None]], batch: int, seconds: float) -> dict[str, list[float]]:
    for step in steps.values():
        for _ in range(WARM_UP_STEPS):
            step()
    rates: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(ROUNDS):
        for name, step in steps.items():
            rates[name].append(_images_per_second(step, batch, seconds / ROUNDS))
    return rates


def _images_per_second(step: Callable[[], None], batch: int, seconds: float) -> float:
    wait_for_device()
    started, taken = time.perf_counter(), 0
    while taken == 0 or time.perf_counter() - started < seconds:
        step()
        taken += 1
    wait_for_device()
    return taken * batch / (time.perf_counter() - started)


def _name_machine() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = names[0].split(":")[1].strip() if names else platform.processor()
    return f"{model}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path, help="a cohort directory with training and selection patients")
    parser.add_argument("--matrix", type=int, default=64)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=50.0, help="measured for each of the two loops")
    parser.add_argument("--json", type=Path, help="file to keep every figure in")
    parser.add_argument("--plot", type=Path, help="draw the parts of a step into this PNG")
    arguments = parser.parse_args()
    check_places(parser, arguments.json, arguments.plot)
    if not arguments.seconds > 0:
        parser.error(f"--seconds must be positive, got {arguments.seconds:g}")
    return arguments


if __name__ == "__main__":
    main()
