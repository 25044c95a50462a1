"""What is set right of a finished image: its spectrum and the mean of its condition, two linear steps without learning.

`training.calibration.calibrate` measures both when an average is made ready; a network that still learns knows neither.
"""

import math

import torch
from torch import Tensor, nn

from spect.conditions import CONDITIONS


class OutputCorrection(nn.Module):
    """Weighs the waves of an image by their wavelength, adds the mean correction of its condition, keeps the range."""

    gain: Tensor  # (m, m), of the cosine transform's coefficients
    mean: Tensor  # (conditions, 1, m, m), model images
    cosines: Tensor  # (m, m)

    def __init__(self, matrix: int) -> None:
        super().__init__()
        self.register_buffer("gain", torch.ones(matrix, matrix))
        self.register_buffer("mean", torch.zeros(len(CONDITIONS), 1, matrix, matrix))
        self.register_buffer("cosines", cosine_matrix(matrix), persistent=False)
        self.register_load_state_dict_pre_hook(_accept_uncorrected)  # type: ignore[no-untyped-call]

    def forward(self, model_images: Tensor, condition: Tensor) -> Tensor:
        """Correct model images (n, 1, m, m) of conditions (n,); what comes out lies in [-1, 1]."""
        return (self.weigh(model_images) + self.mean[condition]).clamp(-1, 1)

    def weigh(self, images: Tensor) -> Tensor:
        """Multiply the waves of images (n, 1, m, m) by their gain."""
        waves = self.cosines @ images @ self.cosines.T
        # As a change of the image, so that where nothing is weighed nothing is rounded either: black stays black.
        weighed: Tensor = images + self.cosines.T @ (waves * (self.gain - 1)) @ self.cosines
        return weighed

    def reset(self) -> None:
        """Correct nothing."""
        self.gain.fill_(1)
        self.mean.zero_()


def _accept_uncorrected(correction: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Complete the state of a checkpoint of before, when nothing was corrected: such a run trains on so."""
    for name in ("gain", "mean"):
        state.setdefault(f"{prefix}{name}", correction.get_buffer(name).clone())


def cosine_matrix(size: int) -> Tensor:
    """Return the orthonormal matrix (size, size) of the cosine transform (DCT-II), one wave a row."""
    wave, place = torch.meshgrid(
        torch.arange(size, dtype=torch.float64), torch.arange(size, dtype=torch.float64), indexing="ij"
    )
    cosines = torch.cos(math.pi / size * (place + 0.5) * wave) * math.sqrt(2 / size)
    cosines[0] *= math.sqrt(0.5)
    return cosines.float()
