"""The generator's and the discriminator's promises."""

import copy

import numpy as np
import torch

from spect.conditions import CONDITIONS
from tests.support.tiny_training import TINY
from training.networks.blocks import FineDetail
from training.networks.build import build_networks
from training.networks.discriminator import Discriminator
from training.networks.generator import Generator


def _inputs(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    return (
        torch.from_numpy(rng.standard_normal((n, TINY.input_latents)).astype(np.float32)),
        torch.arange(n) % len(CONDITIONS),
        torch.from_numpy(rng.standard_normal((n, TINY.quantity_size)).astype(np.float32)),
    )


def _used_generator() -> Generator:
    """A generator whose batch norms and conditional gains have left their starting values."""
    generator, _ = build_networks(TINY, seed=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        for name, parameter in generator.named_parameters():
            if ".gain." in name or ".bias." in name:
                torch.nn.init.normal_(parameter, std=0.1)
    with torch.no_grad():
        for seed in range(5):
            generator(*_inputs(16, seed))
    return generator.eval()


def test_a_slice_does_not_depend_on_its_batch_mates() -> None:
    generator = _used_generator()
    latents, condition, quantities = _inputs(8)
    with torch.no_grad():
        together = generator(latents, condition, quantities)
        alone = torch.cat(
            [generator(latents[i : i + 1], condition[i : i + 1], quantities[i : i + 1]) for i in range(8)]
        )
    assert torch.allclose(together, alone, atol=1e-5)


def test_model_images_stay_in_their_range_however_extreme_the_quantities() -> None:
    generator = _used_generator()
    latents, condition, quantities = _inputs(8)
    with torch.no_grad():
        images = generator(latents, condition, 50 * quantities)
    assert images.shape == (8, 1, 64, 64)
    assert images.dtype == torch.float32
    assert images.abs().max() <= 1


def test_the_length_of_the_latents_of_shape_does_not_matter() -> None:
    generator = _used_generator()
    latents, condition, quantities = _inputs(4)
    longer = latents.clone()
    longer[:, : TINY.latent_size] *= 3
    with torch.no_grad():
        assert torch.allclose(
            generator(latents, condition, quantities), generator(longer, condition, quantities), atol=1e-4
        )


def test_condition_quantities_and_latents_each_change_the_slice() -> None:
    generator = _used_generator()
    latents, condition, quantities = _inputs(4)
    with torch.no_grad():
        base = generator(latents, condition, quantities)
        changed = (
            generator(latents.flip(0), condition, quantities),
            generator(latents, (condition + 1) % 8, quantities),
            generator(latents, condition, quantities + 1),
        )
    for images in changed:
        assert (images - base).abs().amax(dim=(1, 2, 3)).min() > 1e-4


def test_another_texture_map_changes_every_part_of_a_slice_and_its_own_only() -> None:
    generator = _used_generator()
    latents, condition, quantities = _inputs(2)
    other = latents.clone()
    other[0, TINY.latent_size :] = -latents[0, TINY.latent_size :]
    with torch.no_grad():
        change = (generator(latents, condition, quantities) - generator(other, condition, quantities)).abs()
    quarters = change[0, 0].reshape(2, 32, 2, 32).amax(dim=(1, 3))
    assert quarters.min() > 1e-4
    assert change[1].max() == 0


def test_fine_detail_is_what_a_blur_of_ten_millimetres_takes_away() -> None:
    detail = FineDetail(64, 8.0)
    columns = torch.arange(64.0)
    ramp = (columns / 64).expand(1, 1, 64, 64)
    assert detail(ramp)[0, 1, :, 8:-8].abs().max() < 1e-4
    waves = torch.cos(torch.pi * columns).expand(1, 1, 64, 64)  # 1.25 cycles/cm: nothing of it passes the blur
    assert torch.allclose(detail(waves)[0, 1, :, 8:-8], 8 * waves[0, 0, :, 8:-8], atol=0.2)
    assert torch.equal(detail(waves)[:, :1], waves)


def test_conditional_norms_start_without_effect() -> None:
    generator, _ = build_networks(TINY, seed=1)
    assert float(generator.start_norm.gain.weight.detach().abs().max()) == 0
    assert float(generator.start_norm.bias.weight.detach().abs().max()) == 0


def test_removing_the_parametrizations_changes_no_pixel_and_leaves_plain_layers() -> None:
    generator = _used_generator()
    with torch.no_grad():
        before = generator(*_inputs(4))
        after = generator.remove_parametrizations()(*_inputs(4))
    assert torch.allclose(before, after, atol=1e-5)
    assert not any("parametrizations" in name for name, _ in generator.named_parameters())


def test_building_networks_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    build_networks(TINY, seed=3)
    assert torch.equal(before, torch.get_rng_state())


def test_one_seed_builds_one_pair_of_networks() -> None:
    first, second, other = (build_networks(TINY, seed=seed)[0].state_dict() for seed in (4, 4, 5))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["to_image.bias"], other["to_image.bias"]) or any(
        not torch.equal(first[name], other[name]) for name in first
    )


def test_the_discriminator_has_no_batch_norm_and_reconstructs_at_half_the_matrix() -> None:
    _, discriminator = build_networks(TINY, seed=1)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in discriminator.modules())
    _, condition, quantities = _inputs(8)
    judged = discriminator(torch.zeros(8, 1, 64, 64), condition, quantities, 1.0, quadrant=2, reconstruct=4)
    assert judged.logits.shape == (8,)
    assert judged.reconstructed_whole.shape == judged.reconstructed_part.shape == (4, 1, 32, 32)


def test_the_projection_sees_what_was_asked_for_only_when_it_has_weight() -> None:
    discriminator: Discriminator = build_networks(TINY, seed=1)[1].eval()
    _, condition, quantities = _inputs(4)
    images = torch.linspace(-1, 1, 4 * 64 * 64).reshape(4, 1, 64, 64)
    with torch.no_grad():
        unweighted = [discriminator(images, condition, q, 0.0).logits for q in (quantities, -quantities)]
        weighted = [discriminator(images, condition, q, 1.0).logits for q in (quantities, -quantities)]
    assert torch.equal(*unweighted)
    assert not torch.allclose(*weighted, atol=1e-4)


def test_a_copy_generates_what_the_original_does() -> None:
    generator = _used_generator()
    with torch.no_grad():
        assert torch.equal(generator(*_inputs(3)), copy.deepcopy(generator)(*_inputs(3)))
