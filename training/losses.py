"""The losses of both networks; each takes tensors and returns one number."""

import torch
from torch import Tensor
from torch.nn import functional

MODEL_RANGE = 2.0  # model images span [-1, 1]
SSIM_WINDOW = 7


def hinge_discriminator(logits_real: Tensor, logits_fake: Tensor) -> Tensor:
    """Hinge loss of the discriminator (Lim & Ye 2017): 2 at chance, 0 when both are told apart with margin 1."""
    return functional.relu(1 - logits_real).mean() + functional.relu(1 + logits_fake).mean()


def hinge_generator(logits_fake: Tensor) -> Tensor:
    """Hinge loss of the generator."""
    return -logits_fake.mean()


def lecam(logits_real: Tensor, logits_fake: Tensor, *, anchor_real: Tensor, anchor_fake: Tensor) -> Tensor:
    """LeCam regularisation (Tseng et al. 2021, arXiv 2104.03310): logits stay near the running mean of the others."""
    return functional.relu(logits_real - anchor_fake).square().mean() + (
        functional.relu(anchor_real - logits_fake).square().mean()
    )


def r1_penalty(logits_real: Tensor, model_images: Tensor) -> Tensor:
    """Half the squared gradient of the logits at acquired slices (Mescheder et al. 2018), mean over the batch."""
    (gradient,) = torch.autograd.grad(logits_real.sum(), model_images, create_graph=True)
    return 0.5 * gradient.square().sum(dim=(1, 2, 3)).mean()


def structural_similarity(first: Tensor, second: Tensor) -> Tensor:
    """Mean SSIM of two batches (n, 1, r, c) of model images (Wang et al. 2004), uniform 7x7 window."""
    stabilisers = (0.01 * MODEL_RANGE) ** 2, (0.03 * MODEL_RANGE) ** 2

    def local_mean(planes: Tensor) -> Tensor:
        return functional.avg_pool2d(planes, SSIM_WINDOW, stride=1)

    mean_first, mean_second = local_mean(first), local_mean(second)
    variance_first = local_mean(first.square()) - mean_first.square()
    variance_second = local_mean(second.square()) - mean_second.square()
    covariance = local_mean(first * second) - mean_first * mean_second
    luminance = (2 * mean_first * mean_second + stabilisers[0]) / (
        mean_first.square() + mean_second.square() + stabilisers[0]
    )
    structure = (2 * covariance + stabilisers[1]) / (variance_first + variance_second + stabilisers[1])
    return (luminance * structure).mean()


def reconstruction(reconstructed: Tensor, target: Tensor) -> Tensor:
    """L1 + 0.5 (1 - SSIM) + 0.1 L1 of the gradients: sharp and structural without a downloaded network."""
    absolute = functional.l1_loss(reconstructed, target)
    structural = 1 - structural_similarity(reconstructed, target)
    return absolute + 0.5 * structural + 0.1 * _gradient_difference(reconstructed, target)


def absolute_reconstruction(reconstructed: Tensor, target: Tensor) -> Tensor:
    """L1, as in the author's code."""
    return functional.l1_loss(reconstructed, target)


def _gradient_difference(first: Tensor, second: Tensor) -> Tensor:
    difference = first - second
    return difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()


def latent_recovery(recovered: Tensor, latents: Tensor) -> Tensor:
    """Mean squared error of recovered latents of shape (n, d), of unit second moment: 1 where nothing is known.

    Up to constants InfoGAN's bound on the mutual information (Chen et al. 2016, arXiv 1606.03657), for a Gaussian of
    fixed width.
    """
    return functional.mse_loss(recovered, latents)


def quantity_error(
    asked: Tensor, measured: Tensor, emphasis: Tensor, is_measurable: Tensor, *, measurable: Tensor | None = None
) -> Tensor:
    """Huber loss between asked and measured quantities (n, d), standardised, mean over what could be measured.

    `emphasis` (n, d) multiplies each difference: quantities that vary little in a condition count for more there.
    `measurable` is how many could be measured in a device's share of the batch, on average over the devices.
    """
    if measurable is None:
        measurable = is_measurable.sum()
    scaled = (asked - measured) * emphasis
    terms = functional.smooth_l1_loss(scaled, torch.zeros_like(scaled), reduction="none")
    return (terms * is_measurable).sum() / measurable.clamp(min=1)
