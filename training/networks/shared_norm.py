"""Batch norm over the batches of all processes, so that the number of devices does not change what is learnt.

torch's SyncBatchNorm does the same, on GPUs alone.
"""

from typing import Any

import torch
from torch import Tensor, distributed, nn


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm; while training and once shared, its statistics are those of every process's batch together."""

    is_shared = False  # a copy that one process runs by itself, such as the average, must not wait for the others

    def forward(self, input: Tensor) -> Tensor:
        """Normalise features (n, c, r, c)."""
        if not (self.training and self.is_shared):
            normalised: Tensor = super().forward(input)
            return normalised
        features = input.float()
        mean = _mean_over_processes(features.mean(dim=(0, 2, 3)))
        centered = features - mean[:, None, None]
        variance = _mean_over_processes(centered.square().mean(dim=(0, 2, 3)))
        self._track(mean.detach(), variance.detach(), features.numel() // features.shape[1])
        result = centered * torch.rsqrt(variance + self.eps)[:, None, None]
        if self.affine:
            result = result * self.weight[:, None, None] + self.bias[:, None, None]
        return result.to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, values: int) -> None:
        if self.num_batches_tracked is None or self.running_mean is None or self.running_var is None:
            return
        self.num_batches_tracked.add_(1)
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        everywhere = values * distributed.get_world_size()
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * everywhere / (everywhere - 1), momentum)


def share_batch_norms(network: nn.Module) -> None:
    """Let every batch norm of a network see the batches of all processes."""
    for module in network.modules():
        if isinstance(module, SharedBatchNorm):
            module.is_shared = True


def _mean_over_processes(values: Tensor) -> Tensor:
    summed: Tensor = _SumOverProcesses.apply(values)  # type: ignore[no-untyped-call]
    return summed / distributed.get_world_size()


class _SumOverProcesses(torch.autograd.Function):
    """Sum of every process's values; each process's gradient is the sum of all gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:  # noqa: ANN401, ARG004 — torch's signature
        summed = values.clone()
        distributed.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401, ARG004
        summed = gradient.clone()
        distributed.all_reduce(summed)
        return summed
