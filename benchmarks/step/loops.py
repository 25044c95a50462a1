"""Our training step, and the plain float32 loop that one would write first: the same learning, one step at a call."""

import torch
from lightning_fabric import Fabric
from torch.nn import functional

from training import losses
from training.augment import augment
from training.batches import Batch, BatchSource
from training.config import TrainingConfig
from training.loop import set_up_networks
from training.networks.averaging import averaging_weight, start_averaging, update_average
from training.networks.build import build_networks
from training.networks.discriminator import cut_quadrant
from training.prepare import Prepared
from training.quantities.differentiable import DifferentiableQuantifier, emphasis_by_condition
from training.step import ANCHOR_DECAY, Stepper


class OurLoop:
    """The product's own step."""

    def __init__(self, prepared: Prepared, config: TrainingConfig, precision: str) -> None:
        self.config, self.seen = config, 0
        self.fabric = Fabric(accelerator="auto", devices=1, precision=precision)
        self.networks = set_up_networks(config, 0, self.fabric)
        self.batches = BatchSource(prepared.slices, prepared.density, config, 0)
        self.quantifier, self.emphasis = _quantifier(prepared, self.fabric.device)
        self.stepper = Stepper(self.fabric, config, self.quantifier, self.emphasis)

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


def _quantifier(prepared: Prepared, device: torch.device) -> tuple[DifferentiableQuantifier, torch.Tensor]:
    quantifier = DifferentiableQuantifier(
        scale=prepared.scale,
        density=prepared.density,
        basis=prepared.basis,
        pixel_spacing_mm=prepared.pixel_spacing_mm,
        device=device,
    )
    return quantifier, torch.from_numpy(emphasis_by_condition(prepared.density)).to(device)
