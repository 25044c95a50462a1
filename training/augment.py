"""Differentiable augmentation of acquired and synthetic slices alike.

It moves, scales and cuts out. It never mirrors left and right, which would destroy the left/right ratio, and changes
brightness and contrast for the baseline alone: that drowns the variance of mean counts. After Zhao et al. 2020
(arXiv 2006.10738).
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training.config import TrainingConfig

BACKGROUND = -1.0  # of model images: no counts


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What is done to each of n slices; drawn once, so that a step can be repeated."""

    shift: Tensor  # (n, 2) columns and rows, in half fields: the unit of `grid_sample`
    scale: Tensor  # (n,)
    cutout: Tensor  # (n, 4) top, bottom, left, right in half fields; empty where none
    colour: Tensor | None = None  # (n, 2) shift of brightness and factor of contrast; None: not touched

    def take(self, rows: slice) -> "Augmentation":
        """Return what is done to some of the slices."""
        return Augmentation(
            self.shift[rows],
            self.scale[rows],
            self.cutout[rows],
            None if self.colour is None else self.colour[rows],
        )


def draw_augmentation(config: TrainingConfig, n: int, rng: np.random.Generator) -> Augmentation:
    """Draw what is done to n slices; each kind is applied with the configured probability."""
    moved, scaled, cut = rng.random((3, n)) < config.augmentation_probability
    # A share of the field is twice that share of a half field.
    shift = rng.uniform(-2 * config.translation, 2 * config.translation, (n, 2)) * moved[:, None]
    scale = 1 + rng.uniform(-config.scaling, config.scaling, n) * scaled
    center = rng.uniform(-1, 1, (n, 2))
    half = config.cutout * cut[:, None]
    edges = np.stack([center[:, :1] - half, center[:, :1] + half, center[:, 1:] - half, center[:, 1:] + half], axis=1)
    colour = _draw_colour(config, n, rng) if config.brightness or config.contrast else None
    arrays = (shift, scale, edges[..., 0], *(() if colour is None else (colour,)))
    return Augmentation(*(torch.from_numpy(array.astype(np.float32)) for array in arrays))


def _draw_colour(config: TrainingConfig, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    brightened, contrasted = rng.random((2, n)) < config.augmentation_probability
    shift = rng.uniform(-config.brightness, config.brightness, n) * brightened
    factor = 1 + rng.uniform(-config.contrast, config.contrast, n) * contrasted
    return np.column_stack([shift, factor])


def augment(model_images: Tensor, augmentation: Augmentation) -> Tensor:
    """Move, scale and cut out model images (n, 1, m, m); what comes in from outside the field is background."""
    if augmentation.colour is not None:
        model_images = _change_colour(model_images, augmentation.colour.to(model_images.device))
    above_background = model_images - BACKGROUND
    n = len(above_background)
    scale = augmentation.scale.to(above_background.device)
    matrix = torch.zeros(n, 2, 3, device=above_background.device)
    matrix[:, 0, 0] = 1 / scale
    matrix[:, 1, 1] = 1 / scale
    matrix[:, :, 2] = -augmentation.shift.to(above_background.device)
    grid = functional.affine_grid(matrix, list(above_background.shape), align_corners=False)
    moved = functional.grid_sample(above_background, grid, padding_mode="zeros", align_corners=False)
    return moved * _outside_cutout(augmentation.cutout, moved) + BACKGROUND


def _change_colour(model_images: Tensor, colour: Tensor) -> Tensor:
    shift, factor = (column[:, None, None, None] for column in colour.unbind(dim=1))
    brightened = model_images + shift
    mean = brightened.mean(dim=(1, 2, 3), keepdim=True)
    return (brightened - mean) * factor + mean


def _outside_cutout(edges: Tensor, like: Tensor) -> Tensor:
    edges = edges.to(like.device)[:, :, None, None]
    rows = torch.linspace(-1, 1, like.shape[-2], device=like.device)[None, :, None]
    columns = torch.linspace(-1, 1, like.shape[-1], device=like.device)[None, None, :]
    top, bottom, left, right = edges.unbind(dim=1)
    inside = (rows > top) & (rows < bottom) & (columns > left) & (columns < right)
    return (~inside)[:, None].to(like.dtype)
