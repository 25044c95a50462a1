"""The trials that no preset holds: each does what it is for, and leaves a run without it as it was."""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric

from spect.conditions import CONDITIONS
from tests.support.tiny_training import TINY, same_tensors, tiny_cohort, tiny_prepared
from training.config import TrainingConfig
from training.loop import TrainingLoop
from training.networks.build import build_networks
from training.networks.generator import shape_latents
from training.prepare import prepare
from training.run import RunDirectory

LEGIBLE = dataclasses.replace(TINY, images=8_000, latent_recovery_weight=30.0, generator_learning_rate=2e-3)


def _loop(config: TrainingConfig) -> TrainingLoop:
    fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
    run = RunDirectory(Path("never written"))
    return TrainingLoop(run=run, prepared=tiny_prepared(), config=config, seed=3, fabric=fabric)


def _train(loop: TrainingLoop, steps: int) -> list[dict[str, float]]:
    """Losses of so many steps."""
    size = TINY.batch_size
    batches = ((step * size, loop._batches.draw(step * size)) for step in range(steps))
    return [dict(loop._stepper.step(loop.networks, batch, images_seen=seen)) for seen, batch in batches]


def _recovery_error(loop: TrainingLoop) -> float:
    """Mean squared error of the latents of shape of slices never seen, as the discriminator recovers them."""
    networks, errors = loop.networks, []
    for seed in range(8):
        batch = loop._batches.draw(1_000_000 + seed)
        with torch.no_grad():
            synthetic = networks.generator(batch.latents, batch.condition, batch.asked)
            recovered = networks.discriminator(synthetic, batch.condition, batch.asked, 1.0).recovered_latents
        errors.append((recovered - shape_latents(batch.latents, TINY.latent_size)).square().mean())
    return float(torch.stack(errors).mean())


def test_the_discriminator_learns_to_recover_the_latents_of_shape_better_than_chance() -> None:
    loop = _loop(dataclasses.replace(LEGIBLE, discriminator_learning_rate=2e-3, augmentation_probability=0.0))
    _train(loop, 150)
    assert _recovery_error(loop) < 0.9, "1 is the error of recovering nothing"


def test_the_generator_is_paid_for_latents_that_can_be_recovered() -> None:
    loop = _loop(dataclasses.replace(LEGIBLE, discriminator_learning_rate=0.0))
    batch = loop._batches.draw(0)
    errors = [
        loop._stepper.step(loop.networks, batch, images_seen=step)["generator_latent_recovery"] for step in range(20)
    ]
    assert errors[-1] < errors[0] - 0.003, "the discriminator stood still: it was the generator that learnt"


def test_a_discriminator_without_recovery_has_no_head_for_it() -> None:
    without = build_networks(TINY, seed=1)[1].state_dict()
    recovering = build_networks(dataclasses.replace(TINY, latent_recovery_weight=1.0), seed=1)[1].state_dict()
    assert set(recovering) - set(without) == {"recover_latents.weight", "recover_latents.bias"}
    assert recovering["recover_latents.weight"].shape == (TINY.latent_size, TINY.embedding_size)


def test_a_discriminator_of_another_width_judges_and_leaves_the_generator_as_it_was() -> None:
    config = dataclasses.replace(TINY, discriminator_width=5)
    generator, discriminator = build_networks(config, seed=1)
    same = build_networks(TINY, seed=1)[0]
    assert [p.shape for p in generator.parameters()] == [p.shape for p in same.parameters()]
    assert discriminator.from_image[0].out_channels == 2 * 5, "64 pixels have twice the channels of full resolution"
    images, condition = torch.zeros(4, 1, 64, 64), torch.arange(4)
    judged = discriminator(images, condition, torch.zeros(4, TINY.quantity_size), 1.0, quadrant=0, reconstruct=2)
    assert judged.logits.shape == (4,)
    assert judged.reconstructed_whole.shape == judged.reconstructed_part.shape == (2, 1, 32, 32)


def test_the_discriminator_has_the_generator_s_width_where_none_is_set_apart() -> None:
    alone, named = (
        build_networks(dataclasses.replace(TINY, discriminator_width=width), seed=1)[1] for width in (None, TINY.width)
    )
    assert same_tensors(alone.state_dict().values(), named.state_dict().values())


def test_two_discriminator_steps_update_it_twice_and_the_generator_once_for_the_same_images_seen() -> None:
    loop = _loop(dataclasses.replace(TINY, discriminator_steps=2))
    loop._step()
    updates = [
        {int(state["step"]) for state in optimizer.state_dict()["state"].values()}
        for optimizer in (loop.networks.generator_optimizer, loop.networks.discriminator_optimizer)
    ]
    assert updates == [{1}, {2}]


def test_each_turn_draws_a_batch_of_its_own_and_the_first_is_that_of_a_run_without_more() -> None:
    batches = _loop(TINY)._batches
    drawn = [batches.draw(8, turn=turn) for turn in (0, 1, 2)] + [batches.draw(16), batches.draw(8, roll_backs=1)]
    assert torch.equal(drawn[0].latents, batches.draw(8).latents)
    assert torch.equal(drawn[1].latents, batches.draw(8, turn=1).latents)
    assert len({float(batch.latents.sum()) for batch in drawn}) == len(drawn)


def test_a_run_draws_quantities_from_as_many_gaussians_as_it_asks_for() -> None:
    rows = np.arange(len(tiny_cohort().counts))
    cohort = tiny_cohort().take(np.concatenate([rows, rows]))  # 24 training slices of a condition: two of twelve fit
    one, two = (prepare(cohort, dataclasses.replace(TINY, density_components=components)) for components in (1, 2))
    assert [len(made.density.mixtures[CONDITIONS[0]].weights) for made in (one, two)] == [1, 2]
