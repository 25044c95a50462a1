"""What the study trains: two datasets, two configurations, seeds and ablations, all at one scale and equal images."""

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Literal

from pydantic import BaseModel, ConfigDict

from spect.errors import ConfigurationError
from training.config import TrainingConfig
from training.presets import PRESETS

Configuration = Literal["paper", "ours"]

# One setting each away from ours, with what it asks. What is not a setting (a mode-seeking term) cannot be asked here.
ABLATIONS = {
    "conditioning=condition": "no quantities",
    "quantity_weight=0": "no error of quantities in the loss",
    "principal_scores=0": "no principal scores",
    "principal_scores=8": "8 principal scores for 32",
    "principal_scores=64": "64 principal scores for 32",
    "density_components=2": "quantities drawn from two Gaussians for one",
    "texture_matrix=none": "no map of latents for texture",
    "detail_gain=none": "no fine detail shown to the discriminator",
    "deviation_group=none": "no spread shown to the discriminator",
    "discriminator_learning_rate=0.0004": "discriminator's rate doubled",
    "discriminator_steps=2": "two updates of the discriminator to one of the generator",
    "discriminator_width=24": "a discriminator of width 24",
    "logit_gain=1": "discriminator as flat as its spectral norms",
    "lecam_weight=0": "no LeCam",
    "r1_strength=0": "no R1",
    "reconstruction_weight=0": "no reconstruction",
    "latent_recovery_weight=1": "latents of shape recovered by the discriminator",
    "augmentation_probability=0": "no augmentation",
    "sampling=count": "conditions as often as they come",
    "projection_ramp_share=0": "condition at full weight from the start",
    "upsampling=nearest": "nearest doubling",
    "averaging_half_life=none": "no averaging of weights",
    "corrects_mean_slices=false": "mean slices left as they are",
    "corrects_spectrum=false": "spectrum left as it is",
}
# Cadences are the presets' own where the length allows; judging a run more often would take longer than its training.
_VALIDATE_EVERY, _CHECKPOINT_EVERY, _LOG_EVERY = 8_000, 4_000, 320


class Scale(BaseModel):
    """The size every arm is brought to, so that they differ in what is asked alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    matrix: int
    width: int  # channels at full resolution
    images: int  # seen by each arm

    def settings(self) -> list[str]:
        """As assignments: sizes, and cadences that fit the length.

        The watch is off but for values that are not finite, as it is for the author's code: an arm that collapses is a
        result, and is measured.
        """
        return [
            f"matrix={self.matrix}",
            f"width={self.width}",
            f"images={self.images}",
            f"validate_every={max(1, min(_VALIDATE_EVERY, self.images // 2))}",
            f"checkpoint_every={max(1, min(_CHECKPOINT_EVERY, self.images // 10))}",
            f"log_every={max(1, min(_LOG_EVERY, self.images // 20))}",
            "margin_limit=none",
            "collapse_limit=none",
        ]


class Arm(BaseModel):
    """One training run of the study and what is measured of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: Literal["A", "B"]
    configuration: Configuration
    seed: int
    change: str | None = None  # the one setting of an ablation

    @property
    def name(self) -> str:
        """Name of its directory and its result."""
        whole = f"{self.dataset}-{self.configuration}-seed{self.seed}"
        return whole if self.change is None else f"ablation-{re.sub(r'[^A-Za-z0-9._]', '-', self.change)}-{whole}"

    def preset(self, scale: Scale) -> str:
        """Preset it starts from."""
        return "paper" if self.configuration == "paper" else f"brain{scale.matrix}"

    def config(self, scale: Scale) -> TrainingConfig:
        """Return its settings at a scale; raise `ConfigurationError` for a matrix or a change that cannot be."""
        if f"brain{scale.matrix}" not in PRESETS:
            raise ConfigurationError(f"the study runs at matrix 64 or 128, got {scale.matrix}")
        changes = [] if self.change is None else [self.change]
        return PRESETS[self.preset(scale)].changed_by([*scale.settings(), *changes])


def build_plan(
    *, seeds: Sequence[int], ablations: Iterable[str] = ABLATIONS, only: Sequence[str] = ()
) -> tuple[Arm, ...]:
    """List the arms in the order in which a study that is cut short has said most.

    Both datasets and configurations with the first seed, the ablations with it, then the other seeds.

    Raises
    ------
    ConfigurationError
        No seed, one given twice, or no arm has a name that `only` asks for.
    """
    if not seeds or len(set(seeds)) != len(seeds):
        raise ConfigurationError(f"seeds must be different whole numbers, got {list(seeds)}")
    first, *others = seeds
    ablated = [Arm(dataset="A", configuration="ours", seed=first, change=change) for change in dict.fromkeys(ablations)]
    arms = [*_study_arms(first), *ablated, *(arm for seed in others for arm in _study_arms(seed))]
    chosen = tuple(arm for arm in arms if not only or any(fnmatchcase(arm.name, pattern) for pattern in only))
    if not chosen:
        raise ConfigurationError(f"no arm is called {' or '.join(only)}; --dry-run without --only lists their names")
    return chosen


def _study_arms(seed: int) -> list[Arm]:
    configurations: tuple[Configuration, ...] = ("paper", "ours")
    datasets: tuple[Literal["A", "B"], ...] = ("A", "B")
    return [Arm(dataset=d, configuration=c, seed=seed) for d in datasets for c in configurations]
