"""The averaged generator averages buffers too, and is recalibrated before use."""

import copy

import numpy as np
import torch

from tests.support.tiny_training import TINY, same_tensors, tiny_prepared
from training.networks.averaging import averaging_weight, recalibrated, start_averaging, update_average
from training.networks.build import build_networks
from training.quantities.differentiable import draw_quantities


def _disturbed():
    generator, _ = build_networks(TINY, seed=0)
    averaged = start_averaging(generator)
    with torch.no_grad():
        for tensor in (*generator.parameters(), *generator.buffers()):
            if tensor.is_floating_point():
                tensor.add_(1.0)
    return generator, averaged


def test_buffers_are_averaged_like_parameters() -> None:
    generator, averaged = _disturbed()
    before = {name: tensor.clone() for name, tensor in averaged.named_buffers()}
    update_average(averaged, generator, 0.25)
    running = [name for name in before if "running_" in name]
    assert running
    for name in running:
        assert torch.allclose(averaged.get_buffer(name), before[name] + 0.25, atol=1e-6)
    assert torch.allclose(averaged.to_image.bias, generator.to_image.bias - 0.75, atol=1e-6)


def test_the_half_life_is_kept_once_the_ramp_is_over() -> None:
    weight = averaging_weight(images_seen=10**6, batch_size=16, half_life=4_000, ramp=0.05)
    assert np.isclose((1 - weight) ** (4_000 / 16), 0.5)
    early = averaging_weight(images_seen=160, batch_size=16, half_life=4_000, ramp=0.05)
    assert early > 0.5


def test_averaging_does_not_touch_the_trained_generator() -> None:
    generator, averaged = _disturbed()
    before = copy.deepcopy(generator)
    update_average(averaged, generator, 0.5)
    assert same_tensors(before.parameters(), generator.parameters())


def test_recalibrated_norms_hold_the_statistics_of_the_generator_s_own_output() -> None:
    _, averaged = _disturbed()
    density = tiny_prepared().density
    generator = recalibrated(averaged, density)
    assert not generator.training
    seen = []
    hook = generator.start_norm.norm.register_forward_hook(lambda *call: seen.append(call[2]))
    condition = np.repeat(np.arange(8), 32)
    rng = np.random.default_rng(0)
    with torch.no_grad():
        generator(
            torch.from_numpy(rng.standard_normal((256, TINY.input_latents)).astype(np.float32)),
            torch.from_numpy(condition),
            torch.from_numpy(draw_quantities(density, condition, rng)),
        )
    hook.remove()
    assert float(seen[0].mean(dim=(0, 2, 3)).abs().max()) < 0.2
    assert abs(float(seen[0].std(dim=(0, 2, 3)).mean()) - 1) < 0.1


def test_recalibration_has_one_result_and_leaves_the_average_alone() -> None:
    _, averaged = _disturbed()
    before = copy.deepcopy(averaged)
    first, second = (recalibrated(averaged, tiny_prepared().density) for _ in range(2))
    assert same_tensors(first.buffers(), second.buffers())
    assert same_tensors(before.buffers(), averaged.buffers())
