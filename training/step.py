"""One optimisation step of both networks: takes tensors, returns values, touches no file."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from spect.errors import TrainingError
from training import losses
from training.augment import augment
from training.averaging import averaging_weight, update_average
from training.batches import Batch
from training.config import TrainingConfig
from training.networks import Generator, Judgement, cut_quadrant
from training.quantities import DifferentiableQuantifier

ANCHOR_DECAY = 0.99  # of LeCam's running means


@dataclass(slots=True)
class Networks:
    """Everything a step changes."""

    generator: nn.Module  # as set up by Fabric
    discriminator: nn.Module
    averaged: Generator
    generator_optimizer: Optimizer
    discriminator_optimizer: Optimizer
    anchors: Tensor  # (2,) running means of the logits of acquired and synthetic slices


@dataclass(frozen=True, slots=True)
class Schedule:
    """What depends on how far the run is."""

    learning_rate_factor: float
    projection_weight: float
    is_r1_due: bool

    @classmethod
    def at(cls, images_seen: int, config: TrainingConfig) -> "Schedule":
        """Rates fall to zero over the last share; the projection ramps up over the first."""
        share = images_seen / config.images
        step = images_seen // config.batch_size
        return cls(
            learning_rate_factor=min(1.0, (1 - share) / config.decay_share) if config.decay_share else 1.0,
            projection_weight=min(1.0, share / config.projection_ramp_share) if config.projection_ramp_share else 1.0,
            is_r1_due=step % config.r1_interval == 0,
        )


class Stepper:
    """Takes steps; holds what does not change between them."""

    def __init__(
        self, fabric: Fabric, config: TrainingConfig, quantifier: DifferentiableQuantifier, emphasis: Tensor
    ) -> None:
        self._fabric, self._config, self._quantifier, self._emphasis = fabric, config, quantifier, emphasis

    def step(self, networks: Networks, batch: Batch, *, images_seen: int) -> Mapping[str, float]:
        """Update the discriminator, then the generator, then the average; return the losses."""
        schedule = Schedule.at(images_seen, self._config)
        self._set_rates(networks, schedule)
        synthetic = networks.generator(batch.latents, batch.condition, batch.asked)
        augmented = augment(synthetic, batch.augmentation_synthetic)
        values = self._update_discriminator(networks, batch, augmented.detach(), schedule)
        values |= self._update_generator(networks, batch, synthetic, augmented, schedule)
        update_average(
            networks.averaged,
            _inner(networks.generator),
            averaging_weight(
                images_seen=images_seen,
                batch_size=self._config.batch_size,
                half_life=self._config.averaging_half_life,
                ramp=self._config.averaging_ramp,
            ),
        )
        return _checked({name: float(value.detach()) for name, value in values.items()}, images_seen)

    def _set_rates(self, networks: Networks, schedule: Schedule) -> None:
        rates = (
            (networks.generator_optimizer, self._config.generator_learning_rate),
            (networks.discriminator_optimizer, self._config.discriminator_learning_rate),
        )
        for optimizer, rate in rates:
            for group in optimizer.param_groups:
                group["lr"] = rate * schedule.learning_rate_factor

    def _update_discriminator(
        self, networks: Networks, batch: Batch, synthetic: Tensor, schedule: Schedule
    ) -> dict[str, Tensor]:
        networks.discriminator.requires_grad_(requires_grad=True)
        size = len(synthetic)
        acquired = augment(batch.model_images, batch.augmentation)
        judged: Judgement = networks.discriminator(
            torch.cat([acquired, synthetic]),
            batch.condition.repeat(2),
            torch.cat([batch.quantities, batch.asked]),
            schedule.projection_weight,
            batch.quadrant,
            size,
        )
        logits_real, logits_fake = judged.logits[:size], judged.logits[size:]
        values = {
            "discriminator_hinge": losses.hinge_discriminator(logits_real, logits_fake),
            "lecam": losses.lecam(
                logits_real, logits_fake, anchor_real=networks.anchors[0], anchor_fake=networks.anchors[1]
            ),
            "reconstruction": _reconstruction(judged, acquired, batch.quadrant),
        }
        total = (
            values["discriminator_hinge"]
            + self._config.lecam_weight * values["lecam"]
            + self._config.reconstruction_weight * values["reconstruction"]
        )
        networks.discriminator_optimizer.zero_grad(set_to_none=True)
        self._fabric.backward(total)
        if schedule.is_r1_due:
            values["r1"] = self._add_r1(networks, batch, acquired, schedule)
        values["discriminator_gradient"] = self._limit_gradient(networks.discriminator)
        networks.discriminator_optimizer.step()
        means = torch.stack([logits_real.detach().mean(), logits_fake.detach().mean()])
        networks.anchors.lerp_(means, 1 - ANCHOR_DECAY)
        return values | {"margin": means[0] - means[1]}

    def _add_r1(self, networks: Networks, batch: Batch, acquired: Tensor, schedule: Schedule) -> Tensor:
        images = acquired.detach().requires_grad_()
        # The bare network, in float32: Fabric's wrapper allows one backward pass only, and the penalty takes two.
        judged = _inner(networks.discriminator)(images, batch.condition, batch.quantities, schedule.projection_weight)
        penalty = losses.r1_penalty(judged.logits, images)
        self._fabric.backward(penalty * (self._config.r1_gamma * self._config.r1_interval))
        return penalty

    def _limit_gradient(self, network: nn.Module) -> Tensor:
        """Scale the gradient down to the limit where it is longer; return its norm before."""
        return nn.utils.clip_grad_norm_(network.parameters(), self._config.gradient_limit)

    def _update_generator(
        self, networks: Networks, batch: Batch, synthetic: Tensor, augmented: Tensor, schedule: Schedule
    ) -> dict[str, Tensor]:
        networks.discriminator.requires_grad_(requires_grad=False)
        judged = networks.discriminator(augmented, batch.condition, batch.asked, schedule.projection_weight)
        measured = self._quantifier(synthetic, batch.condition)
        values = {
            "generator_hinge": losses.hinge_generator(judged.logits),
            "quantity_error": losses.quantity_error(
                batch.asked, measured.quantities, self._emphasis[batch.condition], measured.is_measurable
            ),
        }
        total = values["generator_hinge"] + self._config.quantity_weight * values["quantity_error"]
        networks.generator_optimizer.zero_grad(set_to_none=True)
        self._fabric.backward(total)
        values["generator_gradient"] = self._limit_gradient(networks.generator)
        networks.generator_optimizer.step()
        return values


def _reconstruction(judged: Judgement, acquired: Tensor, quadrant: int) -> Tensor:
    """Both decoders against the augmented slices themselves: undoing the augmentation is not their work."""
    if judged.reconstructed_whole is None or judged.reconstructed_part is None:
        raise TrainingError("the discriminator was not asked to reconstruct; pass it a quadrant")
    whole = losses.reconstruction(judged.reconstructed_whole, functional.avg_pool2d(acquired, 2))
    return whole + losses.reconstruction(judged.reconstructed_part, cut_quadrant(acquired, quadrant))


def _inner(network: nn.Module) -> nn.Module:
    inner = getattr(network, "module", network)
    return inner if isinstance(inner, nn.Module) else network


def _checked(values: dict[str, float], images_seen: int) -> dict[str, float]:
    for name, value in values.items():
        if not math.isfinite(value):
            raise TrainingError(
                f"training diverged after {images_seen} images: {name} is {value}; "
                "resume from the last checkpoint with another seed, or lower the learning rates"
            )
    return values
