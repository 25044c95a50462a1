"""One optimisation step of both networks: takes tensors, returns values, touches no file."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from spect.errors import DivergenceError, TrainingError
from training import losses
from training.augment import augment
from training.batches import Batch
from training.config import TrainingConfig
from training.devices import average_gradients, mean_over_devices
from training.networks.averaging import averaging_weight, update_average
from training.networks.discriminator import Judgement, cut_quadrant
from training.networks.generator import Generator, shape_latents
from training.quantities.differentiable import DifferentiableQuantifier

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
            is_r1_due=config.r1_strength > 0 and step % config.r1_interval == 0,
        )


class Stepper:
    """Takes steps; holds what does not change between them."""

    def __init__(
        self, fabric: Fabric, config: TrainingConfig, quantifier: DifferentiableQuantifier, emphasis: Tensor
    ) -> None:
        self._fabric, self._config, self._quantifier, self._emphasis = fabric, config, quantifier, emphasis

    def step(
        self, networks: Networks, batch: Batch, *, images_seen: int, discriminator_batches: Iterable[Batch] = ()
    ) -> Mapping[str, float]:
        """Update the discriminator, then the generator, then the average; return the losses.

        The discriminator is first updated once with each of `discriminator_batches`, which count as no images seen; its
        losses are those of `batch`, the last.
        """
        schedule = Schedule.at(images_seen, self._config)
        self._set_rates(networks, schedule)
        for extra in discriminator_batches:
            with torch.no_grad():
                synthetic = networks.generator(extra.latents, extra.condition, extra.asked)
            shown = augment(synthetic, extra.augmentation_synthetic)
            self._update_discriminator(networks, extra, shown, schedule)
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
        names, numbers = list(values), torch.stack([value.detach().float() for value in values.values()])
        mean = mean_over_devices(self._fabric, numbers).tolist()
        return _checked(dict(zip(names, mean, strict=True)), images_seen) | {
            "learning_rate_generator": self._config.generator_learning_rate * schedule.learning_rate_factor,
            "learning_rate_discriminator": self._config.discriminator_learning_rate * schedule.learning_rate_factor,
        }

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
            "reconstruction": self._reconstruction(judged, batch, acquired),
        }
        total = (
            values["discriminator_hinge"]
            + self._config.lecam_weight * values["lecam"]
            + self._config.reconstruction_weight * values["reconstruction"]
        )
        if judged.recovered_latents is not None:
            recovery = self._latent_recovery(judged.recovered_latents[size:], batch)
            values["discriminator_latent_recovery"] = recovery
            total = total + self._config.latent_recovery_weight * recovery
        networks.discriminator_optimizer.zero_grad(set_to_none=True)
        self._fabric.backward(total)
        if schedule.is_r1_due:
            values["r1"] = self._add_r1(networks, batch, acquired, schedule)
        values["discriminator_gradient"] = self._join_gradients(networks.discriminator)
        networks.discriminator_optimizer.step()
        means = torch.stack([logits_real.detach().mean(), logits_fake.detach().mean()])
        means = mean_over_devices(self._fabric, means)
        networks.anchors.lerp_(means, 1 - ANCHOR_DECAY)
        return values | {"margin": means[0] - means[1]}

    def _add_r1(self, networks: Networks, batch: Batch, acquired: Tensor, schedule: Schedule) -> Tensor:
        images = acquired.detach().requires_grad_()
        # The bare network, in float32: second derivatives in bfloat16 are noise.
        judged = _inner(networks.discriminator)(images, batch.condition, batch.quantities, schedule.projection_weight)
        penalty = losses.r1_penalty(judged.logits, images)
        self._fabric.backward(penalty * (self._config.r1_gamma * self._config.r1_interval))
        return penalty

    def _join_gradients(self, network: nn.Module) -> Tensor:
        """Average the gradient over all devices, scale it down where it is longer than the limit; return its norm."""
        average_gradients(self._fabric, network)
        limit = self._config.gradient_limit
        return nn.utils.clip_grad_norm_(network.parameters(), math.inf if limit is None else limit)

    def _update_generator(
        self, networks: Networks, batch: Batch, synthetic: Tensor, augmented: Tensor, schedule: Schedule
    ) -> dict[str, Tensor]:
        networks.discriminator.requires_grad_(requires_grad=False)
        judged = networks.discriminator(augmented, batch.condition, batch.asked, schedule.projection_weight)
        values = {"generator_hinge": losses.hinge_generator(judged.logits)}
        total = values["generator_hinge"]
        if self._config.obeys_quantities:
            values["quantity_error"] = self._quantity_error(synthetic, batch)
            total = total + self._config.quantity_weight * values["quantity_error"]
        if judged.recovered_latents is not None:
            recovery = self._latent_recovery(judged.recovered_latents, batch)
            values["generator_latent_recovery"] = recovery
            total = total + self._config.latent_recovery_weight * recovery
        networks.generator_optimizer.zero_grad(set_to_none=True)
        self._fabric.backward(total)
        values["generator_gradient"] = self._join_gradients(networks.generator)
        networks.generator_optimizer.step()
        return values

    def _latent_recovery(self, recovered: Tensor, batch: Batch) -> Tensor:
        return losses.latent_recovery(recovered, shape_latents(batch.latents, self._config.latent_size))

    def _quantity_error(self, synthetic: Tensor, batch: Batch) -> Tensor:
        measured = self._quantifier(synthetic, batch.condition)
        return losses.quantity_error(
            batch.asked,
            measured.quantities,
            self._emphasis[batch.condition],
            measured.is_measurable,
            measurable=mean_over_devices(self._fabric, measured.is_measurable.sum()),
        )

    def _reconstruction(self, judged: Judgement, batch: Batch, augmented: Tensor) -> Tensor:
        """Both decoders against what the discriminator saw, or against what it was before the augmentation."""
        if judged.reconstructed_whole is None or judged.reconstructed_part is None:
            raise TrainingError("the discriminator was not asked to reconstruct; pass it a quadrant")
        is_author_s = self._config.reconstruction == "acquired"
        target = batch.model_images if is_author_s else augmented
        loss = losses.absolute_reconstruction if is_author_s else losses.reconstruction
        whole = loss(judged.reconstructed_whole, functional.avg_pool2d(target, 2))
        return whole + loss(judged.reconstructed_part, cut_quadrant(target, batch.quadrant))


def _inner(network: nn.Module) -> nn.Module:
    inner = getattr(network, "module", network)
    return inner if isinstance(inner, nn.Module) else network


def _checked(values: dict[str, float], images_seen: int) -> dict[str, float]:
    for name, value in values.items():
        if not math.isfinite(value):
            raise DivergenceError(f"training diverged after {images_seen:,} images: {name} is {value}")
    return values
