"""What the parts of our step take, each done again by itself on a batch of the run; and the picture of it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from step.clock import time_once
from step.loops import OurLoop

from training import losses
from training.augment import augment
from training.networks.averaging import update_average
from training.networks.discriminator import Judgement

REPETITIONS = 12
REST = "all else"
OUTSIDE = ("drawing a batch", "augmentation", "quantifier", "averaging")  # of the networks


def time_parts(ours: OurLoop, step_seconds: float) -> dict[str, float]:
    """Return the seconds of each part of a step, and of what is left of `step_seconds`."""
    seconds = {name: _median_seconds(part) * share for name, (part, share) in _parts(ours).items()}
    return seconds | {REST: step_seconds - sum(seconds.values())}


def _parts(ours: OurLoop) -> dict[str, tuple[Callable[[], object], float]]:
    """Return what each part does, and in what share of steps it is done."""
    networks, config, fabric = ours.networks, ours.config, ours.fabric
    batch = ours.batches.draw(0).to(fabric.device)
    with torch.no_grad():
        synthetic = networks.generator(batch.latents, batch.condition, batch.asked).float()
    both = torch.cat([batch.model_images, synthetic])
    conditions, quantities = batch.condition.repeat(2), torch.cat([batch.quantities, batch.asked])

    def generate() -> torch.Tensor:
        made: torch.Tensor = networks.generator(batch.latents, batch.condition, batch.asked)
        return made

    def teach_discriminator() -> None:
        networks.discriminator.requires_grad_(requires_grad=True)
        judged: Judgement = networks.discriminator(both, conditions, quantities, 1.0, batch.quadrant, len(synthetic))
        fabric.backward(judged.logits.mean() + judged.reconstructed_whole.mean() + judged.reconstructed_part.mean())

    def penalise() -> None:
        networks.discriminator.requires_grad_(requires_grad=True)
        images = batch.model_images.detach().requires_grad_()
        logits = networks.discriminator.module(images, batch.condition, batch.quantities, 1.0).logits
        fabric.backward(losses.r1_penalty(logits, images))

    def judge_backward() -> None:
        networks.discriminator.requires_grad_(requires_grad=False)
        judged: Judgement = networks.discriminator(synthetic.requires_grad_(), batch.condition, batch.asked, 1.0)
        fabric.backward(judged.logits.mean())

    def generate_backward() -> None:
        fabric.backward(generate().mean())

    def update() -> None:
        networks.generator_optimizer.step()
        networks.discriminator_optimizer.step()

    r1_share = 1 / config.r1_interval if config.r1_strength > 0 else 0.0
    return {
        "drawing a batch": (lambda: ours.batches.draw(ours.seen).to(fabric.device), 1.0),
        "generator, there and back": (generate_backward, 1.0),
        "augmentation": (
            lambda: (
                augment(batch.model_images, batch.augmentation),
                augment(synthetic, batch.augmentation_synthetic),
            ),
            1.0,
        ),
        "discriminator, there and back": (teach_discriminator, 1.0),
        "R1, every so many steps": (penalise, r1_share),
        "generator's loss through the discriminator": (judge_backward, 1.0),
        "quantifier": (lambda: ours.quantifier(synthetic.detach(), batch.condition), 1.0),
        "optimisers": (update, 1.0),
        "averaging": (lambda: update_average(networks.averaged, networks.generator.module, 0.01), 1.0),
    }


def print_parts(seconds: Mapping[str, float]) -> None:
    """Print parts as shares of the step, those outside the networks together first."""
    step = sum(seconds.values())
    outside = sum(seconds[name] for name in OUTSIDE)
    print(f"a step of {1000 * step:.0f} ms; outside the networks {outside / step:.1%}")
    for name, taken in seconds.items():
        print(f"  {name}: {1000 * taken:.1f} ms, {taken / step:.1%}")


def draw(seconds: Mapping[str, float], rates: Mapping[str, Sequence[float]], *, title: str, path: Path) -> None:
    """Draw the parts of our step as bars, and the rounds of both loops beside them."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    figure.suptitle(title, fontsize="medium")
    parts, loops = figure.subplots(1, 2, width_ratios=[2, 1])
    milliseconds = [1000 * taken for taken in seconds.values()]
    parts.barh(list(seconds), milliseconds)
    for place, taken in enumerate(milliseconds):
        parts.text(max(taken, 0), place, f" {taken:.1f} ms, {taken / sum(milliseconds):.0%}", va="center", size="small")
    parts.invert_yaxis()
    parts.set(xlabel="ms of a step", xlim=(min(0, *milliseconds), 1.3 * max(milliseconds)))
    for place, (name, found) in enumerate(rates.items()):
        loops.bar(place, float(np.median(found)), label=name, color="tab:blue" if place == 0 else "lightsteelblue")
        loops.plot([place] * len(found), found, color="black", marker="o", linestyle="", markersize=3)
    loops.set_xticks(range(len(rates)), list(rates))
    loops.set(ylabel="images/s; a dot a round")
    for axis in (parts, loops):
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def _median_seconds(part: Callable[[], object]) -> float:
    part()  # warm
    return float(np.median([time_once(part) for _ in range(REPETITIONS)]))
