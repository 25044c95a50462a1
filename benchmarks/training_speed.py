"""Our training step against a plain float32 loop of the same networks, side by side on this machine.

    python benchmarks/training_speed.py COHORT [--matrix 64] [--width 16] [--batch 16] [--seconds 50]

The plain loop is what one would write first: the networks of the preset in float32, memory as it comes, no Fabric, no
autocast; the same batches, augmentation, losses, R1 interval, quantity term and averaging. Both take turns in short
rounds, so that what else the machine does falls on both. The share outside the networks is timed piece by piece on the
same batches: drawing a batch, augmentation, the outlines of the quantifier, averaging.
"""

import argparse
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch.nn import functional

from cohort.store import load_cohort
from training import losses
from training.augment import augment
from training.batches import Batch, BatchSource
from training.config import TrainingConfig
from training.loop import set_up_networks
from training.networks.averaging import averaging_weight, start_averaging, update_average
from training.networks.build import build_networks
from training.networks.discriminator import cut_quadrant
from training.prepare import Prepared, prepare
from training.presets import PRESETS
from training.quantities.differentiable import DifferentiableQuantifier, emphasis_by_condition
from training.session import preferred_precision
from training.step import ANCHOR_DECAY, Stepper

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
    _print_shares(ours, config.batch_size / np.median(rates["ours"]))
    print(f"load {os.getloadavg()[0]:.1f} at the end")


class OurLoop:
    """The product's own step."""

    def __init__(self, prepared: Prepared, config: TrainingConfig, precision: str) -> None:
        self.config, self.seen = config, 0
        self.fabric = Fabric(accelerator="auto", devices=1, precision=precision)
        self.networks = set_up_networks(config, 0, self.fabric)
        self.batches = BatchSource(prepared.slices, prepared.density, config, 0)
        self.quantifier, emphasis = _quantifier(prepared, self.fabric.device)
        self.stepper = Stepper(self.fabric, config, self.quantifier, emphasis)

    def step(self) -> None:
        """Take one step."""
        batch = self.batches.draw(self.seen).to(self.fabric.device)
        self.stepper.step(self.networks, batch, images_seen=self.seen)
        self.seen += self.config.batch_size


class PlainLoop:
    """The same learning, written plainly."""

    def __init__(self, prepared: Prepared, config: TrainingConfig) -> None:
        self.config, self.seen = config, 0
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.generator, self.discriminator = (network.to(self.device) for network in build_networks(config, 0))
        self.averaged = start_averaging(self.generator)
        betas = (config.adam_beta1, config.adam_beta2)
        self.generator_optimizer = torch.optim.Adam(self.generator.parameters(), config.generator_learning_rate, betas)
        self.discriminator_optimizer = torch.optim.Adam(
            self.discriminator.parameters(), config.discriminator_learning_rate, betas
        )
        self.batches = BatchSource(prepared.slices, prepared.density, config, 0)
        self.quantifier, self.emphasis = _quantifier(prepared, self.device)
        self.anchors = torch.zeros(2, device=self.device)

    def step(self) -> None:
        """Take one step."""
        batch = self.batches.draw(self.seen).to(self.device)
        synthetic = self.generator(batch.latents, batch.condition, batch.asked)
        augmented = augment(synthetic, batch.augmentation_synthetic)
        self._teach_discriminator(batch, augmented.detach())
        self._teach_generator(batch, synthetic, augmented)
        weight = averaging_weight(
            images_seen=self.seen,
            batch_size=self.config.batch_size,
            half_life=self.config.averaging_half_life,
            ramp=self.config.averaging_ramp,
        )
        update_average(self.averaged, self.generator, weight)
        self.seen += self.config.batch_size

    def _teach_discriminator(self, batch: Batch, synthetic: torch.Tensor) -> None:
        self.discriminator.requires_grad_(requires_grad=True)
        acquired, size = augment(batch.model_images, batch.augmentation), len(synthetic)
        judged = self.discriminator(
            torch.cat([acquired, synthetic]),
            batch.condition.repeat(2),
            torch.cat([batch.quantities, batch.asked]),
            self._projection_weight(),
            batch.quadrant,
            size,
        )
        real, fake = judged.logits[:size], judged.logits[size:]
        total = losses.hinge_discriminator(real, fake)
        total = total + self.config.lecam_weight * losses.lecam(
            real, fake, anchor_real=self.anchors[0], anchor_fake=self.anchors[1]
        )
        total = total + losses.reconstruction(judged.reconstructed_whole, functional.avg_pool2d(acquired, 2))
        total = total + losses.reconstruction(judged.reconstructed_part, cut_quadrant(acquired, batch.quadrant))
        if self.seen // self.config.batch_size % self.config.r1_interval == 0:
            images = acquired.detach().requires_grad_()
            logits = self.discriminator(images, batch.condition, batch.quantities, self._projection_weight()).logits
            strength = self.config.r1_gamma * self.config.r1_interval
            total = total + strength * losses.r1_penalty(logits, images)
        self.discriminator_optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.discriminator.parameters(), self.config.gradient_limit)
        self.discriminator_optimizer.step()
        means = torch.stack([real.detach().mean(), fake.detach().mean()])
        self.anchors.lerp_(means, 1 - ANCHOR_DECAY)

    def _teach_generator(self, batch: Batch, synthetic: torch.Tensor, augmented: torch.Tensor) -> None:
        self.discriminator.requires_grad_(requires_grad=False)
        logits = self.discriminator(augmented, batch.condition, batch.asked, self._projection_weight()).logits
        measured = self.quantifier(synthetic, batch.condition)
        total = losses.hinge_generator(logits) + self.config.quantity_weight * losses.quantity_error(
            batch.asked, measured.quantities, self.emphasis[batch.condition], measured.is_measurable
        )
        self.generator_optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.generator.parameters(), self.config.gradient_limit)
        self.generator_optimizer.step()

    def _projection_weight(self) -> float:
        return min(1.0, self.seen / self.config.images / self.config.projection_ramp_share)


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
    _wait_for_device()
    started, taken = time.perf_counter(), 0
    while taken == 0 or time.perf_counter() - started < seconds:
        step()
        taken += 1
    _wait_for_device()
    return taken * batch / (time.perf_counter() - started)


def _print_shares(ours: OurLoop, step_seconds: float) -> None:
    """Time the pieces outside the networks on batches of the run, as shares of a whole step."""
    batch = ours.batches.draw(0).to(ours.fabric.device)
    with torch.no_grad():
        synthetic = ours.networks.generator(batch.latents, batch.condition, batch.asked).float()
    pieces: dict[str, Callable[[], object]] = {
        "drawing a batch": lambda: ours.batches.draw(ours.seen).to(ours.fabric.device),
        "augmentation": lambda: (
            augment(batch.model_images, batch.augmentation),
            augment(synthetic, batch.augmentation_synthetic),
        ),
        "quantifier": lambda: ours.quantifier(synthetic, batch.condition),
        "averaging": lambda: update_average(ours.networks.averaged, ours.networks.generator.module, 0.01),
    }
    shares = {name: _median_seconds(piece) / step_seconds for name, piece in pieces.items()}
    print(f"outside the networks: {100 * sum(shares.values()):.1f} % of a step of {1000 * step_seconds:.0f} ms")
    for name, share in shares.items():
        print(f"  {name}: {100 * share:.1f} %")


def _median_seconds(piece: Callable[[], object], repetitions: int = 15) -> float:
    taken = []
    for _ in range(repetitions):
        _wait_for_device()
        started = time.perf_counter()
        piece()
        _wait_for_device()
        taken.append(time.perf_counter() - started)
    return float(np.median(taken))


def _wait_for_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _quantifier(prepared: Prepared, device: torch.device) -> tuple[DifferentiableQuantifier, torch.Tensor]:
    quantifier = DifferentiableQuantifier(
        scale=prepared.scale,
        density=prepared.density,
        basis=prepared.basis,
        pixel_spacing_mm=prepared.pixel_spacing_mm,
        device=device,
    )
    return quantifier, torch.from_numpy(emphasis_by_condition(prepared.density)).to(device)


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
    return parser.parse_args()


if __name__ == "__main__":
    main()
