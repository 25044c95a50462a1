"""What brings the mean synthetic slice of each condition to that of the training slices.

A generator lays part of its texture at the same places of every slice. Each slice looks right by itself, and the
discriminator, which sees it shifted and enlarged, cannot tell; the mean of some hundred slices shows a mottle that no
scans share, and a logistic regression on their principal components finds it. A penalty while learning was tried: as
a gradient, the mean of a few slices is mostly noise. Measured over some thousand slices it can simply be taken away.
"""

from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from spect.conditions import CONDITIONS
from spect.slices import FIELD_MM
from training.quantities.principal import LEVELS, level_of_condition

# What tells patterns apart is no finer than a territory (sigma). Finer detail is shared by the patterns of a level: a
# few dozen slices of one of them would bring in more noise of their own than they take away.
PATTERN_SIGMA_MM = 12.0
TINY = 1e-9

Maps = NDArray[np.float64]  # (conditions, rows, columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanSlices:
    """Mean model image of each condition's training slices, and how many there were."""

    model_images: NDArray[np.float32]  # (conditions, m, m)
    slices: NDArray[np.int64]  # (conditions,)

    @classmethod
    def of(cls, model_images: NDArray[np.float32], condition: NDArray[np.int64]) -> "MeanSlices":
        """Average model images (n, m, m) of conditions (n,)."""
        means = np.zeros((len(CONDITIONS), *model_images.shape[1:]), dtype=np.float32)
        for index in np.unique(condition):
            means[index] = model_images[condition == index].mean(axis=0)
        return cls(model_images=means, slices=np.bincount(condition, minlength=len(CONDITIONS)))


def compute_mean_correction(expected: MeanSlices, found: NDArray[np.float32]) -> Maps:
    """Return what brings the mean slices found (conditions, m, m) to those expected, to be added to every image.

    Before the tanh it would weigh on the middle greys most: that brought the components' means together as well, but
    not the fine detail. A condition without slices gets nothing.
    """
    error = expected.model_images.astype(np.float64) - found
    error[expected.slices == 0] = 0
    return _leave_flow(_share_detail(error, expected.slices), expected)


def _share_detail(error: Maps, slices: NDArray[np.int64]) -> Maps:
    """Return each condition's error as its level's, weighted by slices, and what is smooth of its own."""
    level = level_of_condition()
    shared: Maps = np.zeros_like(error)
    for position in range(len(LEVELS)):
        rows = (level == position) & (slices > 0)
        if rows.any():
            shared[rows] = np.average(error[rows], axis=0, weights=slices[rows])
    own: Maps = shared + _smooth(error - shared)
    return own


def _leave_flow(correction: Maps, expected: MeanSlices) -> Maps:
    """Take out of each correction what would make the whole slice brighter or darker: flow is what was asked for."""
    counts = _smooth(expected.model_images.astype(np.float64) + 1)  # shares of the intensity scale: background is -1
    brighter = (correction * counts).sum(axis=(1, 2)) / np.maximum((counts**2).sum(axis=(1, 2)), TINY)
    left: Maps = correction - brighter[:, None, None] * counts
    return left


def _smooth(maps: Maps) -> Maps:
    """Blur each map (rows, columns) until no more than a territory can be told."""
    sigma = PATTERN_SIGMA_MM * maps.shape[-1] / FIELD_MM
    smooth: Maps = scipy.ndimage.gaussian_filter(maps, (0, sigma, sigma))
    return smooth
