"""The floor under a slice: the operations and bytes it needs, and how many of either this machine does in a second."""

import statistics
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

BYTES_A_NUMBER = 4  # float32
COPIED_BYTES = 2**28  # many times what any cache holds
_COPIES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What one form of the network needs."""

    gigaflops: float  # a slice
    map_mebibytes: float  # a slice: maps that its layers write
    weight_mebibytes: float  # a batch


def count_needs(network: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> Needs:
    """Run a network once on inputs of one slice, and count."""
    numbers = 0

    def add(_module: torch.nn.Module, _inputs: object, output: object) -> None:
        nonlocal numbers
        numbers += output.numel() if isinstance(output, torch.Tensor) else 0

    leaves = [module for module in network.modules() if not list(module.children())]
    hooks = [leaf.register_forward_hook(add) for leaf in leaves]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(*inputs)
    for hook in hooks:
        hook.remove()
    held = [*network.parameters(), *network.buffers()]
    return Needs(
        gigaflops=counter.get_total_flops() / 1e9,
        map_mebibytes=numbers * BYTES_A_NUMBER / 2**20,
        weight_mebibytes=sum(tensor.numel() for tensor in held) * BYTES_A_NUMBER / 2**20,
    )


def measure_copy_rate() -> float:
    """Return the bytes a second that one core reads and writes where no cache helps, 10^9."""
    source = np.ones(COPIED_BYTES, dtype=np.uint8)
    target = np.empty_like(source)
    seconds = []
    for _ in range(_COPIES):
        started = time.process_time()
        np.copyto(target, source)
        seconds.append(time.process_time() - started)
    return 2 * COPIED_BYTES / statistics.median(seconds) / 1e9


def describe_floor(needs: Needs, *, gigaflops_a_second: float, gigabytes_a_second: float, threads: int) -> str:
    """Return both floors of a slice in words: that of its operations, and that of its maps written and read once."""
    arithmetic = 1000 * needs.gigaflops / gigaflops_a_second
    traffic = 1000 * 2 * needs.map_mebibytes * 2**20 / 1e9 / gigabytes_a_second
    return (
        f"floor with {threads} thread{'s' * (threads > 1)}: {needs.gigaflops:.3f} Gflop at {gigaflops_a_second:.0f} "
        f"Gflop/s of a matrix product, {arithmetic:.2f} ms a slice; {needs.map_mebibytes:.1f} MiB of maps, written and "
        f"read at {gigabytes_a_second:.1f} GB/s of one core's copy, {traffic:.2f} ms where no cache holds them"
    )
