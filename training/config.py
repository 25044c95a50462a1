"""Settings of a training run and the table of presets; frozen, checked once, saved with the run."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from spect.errors import ConfigurationError

MATRICES = (64, 128)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """What fixes a run besides its cohort and its seed. Cadences and lengths are counted in images seen."""

    # networks
    matrix: int
    width: int  # channels at full resolution; SCIENCE.md section 5 gives the multiples
    latent_size: int = 128  # latents of shape and regional pattern
    texture_matrix: int = 64  # side of the map of latents that texture grows from, laid over the field
    detail_gain: float = 8.0  # of the fine detail that the discriminator is shown as a channel of its own
    embedding_size: int = 128
    principal_scores: int = 32

    # optimisation
    images: int
    batch_size: int = 16
    generator_learning_rate: float = 2e-4
    discriminator_learning_rate: float = 2e-4
    decay_share: float = 0.3  # the rates fall to zero over this last share of the run
    lecam_weight: float = 0.3
    r1_strength: float = 2e-4  # gamma = r1_strength * matrix^2 / batch_size
    r1_interval: int = 16  # steps between two R1 terms, each weighted by the interval
    logit_gain: float = (
        4.0  # steepness spectral norms leave the discriminator: at 1 it sits at chance, blind to texture
    )
    gradient_limit: float = 5.0  # norm: the discriminator threw itself off three times in 80,000 images without it
    reconstruction_weight: float = 1.0
    quantity_weight: float = 3.0
    projection_ramp_share: float = 0.1
    averaging_half_life: int = 4_000
    averaging_ramp: float = 0.05  # early on the half-life is at most this share of the images seen

    # augmentation, of acquired and synthetic slices alike
    augmentation_probability: float = 0.7
    translation: float = 0.06  # share of the field
    scaling: float = 0.04
    cutout: float = 0.2

    # cadence
    log_every: int = 320
    checkpoint_every: int = 4_000
    validate_every: int = 8_000
    validation_slices: int = 96  # synthetic slices a condition

    def __post_init__(self) -> None:
        if self.matrix not in MATRICES:
            raise ConfigurationError(f"matrix must be one of {MATRICES}, got {self.matrix}")
        for name in (
            "width",
            "latent_size",
            "texture_matrix",
            "embedding_size",
            "principal_scores",
            "images",
            "log_every",
            "r1_interval",
        ):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.texture_matrix not in (32, 64, 128) or self.texture_matrix > self.matrix:
            raise ConfigurationError(
                f"texture_matrix must be 32, 64 or 128 and at most matrix, got {self.texture_matrix}"
            )
        if self.batch_size < 4 or self.batch_size % 4:
            raise ConfigurationError(f"batch_size must be a multiple of 4, got {self.batch_size}")
        if self.validation_slices < 8:
            raise ConfigurationError(f"validation_slices must be at least 8, got {self.validation_slices}")

    @property
    def input_latents(self) -> int:
        """Latents a slice is made from: those of shape, then the texture map's."""
        return self.latent_size + self.texture_matrix**2

    @property
    def quantity_size(self) -> int:
        """Mean counts, log left/right ratio and the principal scores."""
        return 2 + self.principal_scores

    @property
    def r1_gamma(self) -> float:
        """Weight of the R1 penalty before laziness, after Karras et al. 2020 (arXiv 1912.04958)."""
        return self.r1_strength * self.matrix**2 / self.batch_size

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types; the inverse of `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrainingConfig":
        """Rebuild from `to_dict`; raise `ConfigurationError` on a setting this version does not know."""
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise ConfigurationError(
                f"unknown training settings {sorted(unknown)}; was the run made by a newer synspect?"
            )
        missing = {field.name for field in fields(cls)} - set(values)
        if missing:  # a default would be another network than the one that was trained
            raise ConfigurationError(
                f"training settings {sorted(missing)} are missing; was the run made by an older synspect?"
            )
        return cls(**values)


PRESETS: dict[str, TrainingConfig] = {
    # Proves that everything runs: a blurred brain of the right size, in under 90 s on two cores.
    "smoke": TrainingConfig(
        matrix=64,
        width=6,
        images=3_200,
        averaging_half_life=400,
        checkpoint_every=1_600,
        validate_every=1_600,
        validation_slices=32,
    ),
    # The reference model: about an hour on two cores.
    "brain64": TrainingConfig(matrix=64, width=16, images=80_000),
    # For a GPU, or a night on a few cores.
    "brain128": TrainingConfig(matrix=128, width=32, images=400_000),
}


def preset(name: str) -> TrainingConfig:
    """Return a preset; raise `ConfigurationError` naming the choices."""
    try:
        return PRESETS[name]
    except KeyError:
        raise ConfigurationError(f"unknown preset {name!r}; use one of {', '.join(PRESETS)}") from None
