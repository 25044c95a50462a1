"""Augmentation moves, scales and cuts; it never mirrors, and never changes brightness."""

import dataclasses

import numpy as np
import torch

from tests.support.tiny_training import TINY
from training.augment import BACKGROUND, augment, draw_augmentation

ALWAYS = dataclasses.replace(TINY, augmentation_probability=1.0)
NO_CUTOUT = dataclasses.replace(ALWAYS, cutout=0.0)


def _one_sided(n: int) -> torch.Tensor:
    """A bright disc on image left, as far from the middle as augmentation cannot carry it."""
    axis = torch.linspace(-1, 1, 64)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    disc = ((x + 0.5) ** 2 + y**2 < 0.04).float()
    return (disc * 1.2 + BACKGROUND).expand(n, 1, 64, 64).clone()


def test_augmentation_never_flips_left_and_right() -> None:
    images = _one_sided(256)
    augmented = augment(images, draw_augmentation(NO_CUTOUT, 256, np.random.default_rng(0)))
    light = (augmented - BACKGROUND)[:, 0]
    assert (light[:, :, :32].sum(dim=(1, 2)) > 50 * light[:, :, 32:].sum(dim=(1, 2))).all()


def test_augmentation_never_changes_brightness() -> None:
    images = _one_sided(256)
    augmented = augment(images, draw_augmentation(NO_CUTOUT, 256, np.random.default_rng(1)))
    peaks = augmented.amax(dim=(1, 2, 3))
    assert torch.allclose(peaks, torch.full_like(peaks, 0.2), atol=1e-3)


def test_without_augmentation_slices_come_back_as_they_were() -> None:
    never = dataclasses.replace(TINY, augmentation_probability=0.0)
    images = torch.rand(8, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert torch.allclose(augment(images, draw_augmentation(never, 8, np.random.default_rng(2))), images, atol=1e-5)


def test_what_comes_in_from_outside_and_what_is_cut_out_is_background() -> None:
    bright = torch.full((64, 1, 64, 64), 0.9)
    augmented = augment(bright, draw_augmentation(ALWAYS, 64, np.random.default_rng(3)))
    assert torch.isclose(augmented.min(), torch.tensor(BACKGROUND))
    share_cut = (augmented < -0.9).float().mean(dim=(1, 2, 3))
    assert (share_cut > 0.005).all()
    assert (share_cut < 0.35).all()


def test_translation_stays_within_its_share_of_the_field() -> None:
    augmentation = draw_augmentation(ALWAYS, 1000, np.random.default_rng(4))
    assert float(augmentation.shift.abs().max()) <= 2 * ALWAYS.translation  # half fields
    assert float(augmentation.shift.abs().max()) > 1.8 * ALWAYS.translation


def test_gradients_reach_the_pixels() -> None:
    images = _one_sided(2).requires_grad_()
    augment(images, draw_augmentation(NO_CUTOUT, 2, np.random.default_rng(5))).sum().backward()
    assert float(images.grad.abs().sum()) > 0
