"""Several devices as one: each takes a share of the batch, and all hold the same weights.

Gradients, the running means of LeCam and the statistics of batch norms are those of the whole batch, so that the number
of devices changes the speed and nothing else.
"""

from collections.abc import Callable
from typing import Literal, TypeVar, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, nn

from spect.errors import ConfigurationError, SynspectError, TrainingError
from training.config import TrainingConfig

Precision = Literal["bf16-mixed", "32-true"]
Result = TypeVar("Result")


class OneReduction(DDPStrategy):
    """Processes and their group as DDP has them, networks left bare.

    DDP averages gradients during one backward pass for each forward pass. The discriminator takes two (R1) and none at
    all while the generator learns, so the step averages them itself, once, when all are there.
    """

    def setup_module(self, module: nn.Module) -> nn.Module:  # type: ignore[override]
        """Return the network as it is."""
        return module


def open_devices(devices: int, precision: Precision, *, accelerator: str = "auto") -> Fabric:
    """Start one process a device; this process goes on as the first of them, and the others run the same command.

    Raises
    ------
    ConfigurationError
        There are not as many GPUs.
    """
    if devices < 1:
        raise ConfigurationError(f"devices must be at least 1, got {devices}")
    if accelerator == "auto" and torch.cuda.is_available() and torch.cuda.device_count() < devices:
        raise ConfigurationError(f"{devices} devices were asked for, this machine has {torch.cuda.device_count()} GPUs")
    strategy = OneReduction() if devices > 1 else "auto"
    fabric = Fabric(accelerator=accelerator, devices=devices, strategy=strategy, precision=precision)
    fabric.launch()
    return fabric


def check_devices(config: TrainingConfig, devices: int) -> None:
    """Raise `ConfigurationError` unless a batch can be shared out evenly."""
    unit = devices * (config.deviation_group or 1)
    if config.batch_size % unit:
        raise ConfigurationError(
            f"batch_size {config.batch_size} cannot be shared by {devices} devices; make it a multiple of {unit}"
        )


def average_gradients(fabric: Fabric, network: nn.Module) -> None:
    """Replace the gradients of every process by their mean."""
    if fabric.world_size == 1:
        return
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    averaged = mean_over_devices(fabric, torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, part in zip(gradients, torch.split(averaged, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def mean_over_devices(fabric: Fabric, values: Tensor) -> Tensor:
    """Mean of every process's values; the values themselves where there is one process."""
    mean = fabric.all_reduce(values, reduce_op="mean")
    return cast(Tensor, mean)


def any_device(fabric: Fabric, *, is_so: bool) -> bool:
    """Whether it is so in at least one process."""
    if fabric.world_size == 1:
        return is_so
    return bool(mean_over_devices(fabric, torch.tensor(float(is_so), device=fabric.device)) > 0)


def on_first(fabric: Fabric, work: Callable[[], Result]) -> Result:
    """Do something in the first process alone: its result, or its error, is every process's."""
    if fabric.world_size == 1:
        return work()
    done: Result | SynspectError | None = None
    if fabric.is_global_zero:
        try:
            done = work()
        except SynspectError as error:
            done = error
    result = fabric.broadcast(done)
    if isinstance(result, SynspectError):
        raise result
    return cast(Result, result)


def check_alike(fabric: Fabric, network: nn.Module) -> None:
    """Raise `TrainingError` where processes hold different weights: they would learn apart without a sign."""
    if fabric.world_size == 1:
        return
    ours = torch.stack([parameter.detach().double().sum() for parameter in network.parameters()])
    theirs = fabric.broadcast(ours.cpu())
    if any_device(fabric, is_so=not torch.equal(ours.cpu(), theirs)):
        raise TrainingError(
            "the devices no longer hold the same weights; resume from the last checkpoint, on one device if it recurs"
        )
