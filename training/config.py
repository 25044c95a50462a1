"""Settings of a training run; frozen, checked once, saved with the run. `training.presets` holds the table."""

import difflib
import functools
import types
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from spect.errors import ConfigurationError

MATRICES = (64, 128)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """What fixes a run besides its cohort and its seed. Cadences and lengths are counted in images seen.

    Each setting that departs from FastGAN (Liu et al. 2021, arXiv 2101.04775) says why beside it. Settings that may be
    None are switched off by it.
    """

    # networks
    matrix: int
    width: int  # channels at full resolution; training.networks gives the multiples
    discriminator_width: int | None = None  # of the discriminator, where it is not the generator's
    latent_size: int = 128  # latents of shape and regional pattern
    # Side of a map of latents that texture grows from, laid over the field: the noise of a scan has hundreds of
    # degrees of freedom, more than the latents of shape carry (Karras et al. 2019, arXiv 1812.04948, section 3.2).
    texture_matrix: int | None = 64
    # Magnification of fine detail, shown to the discriminator as a channel of its own: texture is a few per cent of
    # the counts, and a linear probe found slices of 80,000 images by it.
    detail_gain: float | None = 8.0
    embedding_size: int = 128
    # quantities: condition and measured quantities reach both networks (SCIENCE.md section 5: without, the spread of
    # the left/right ratio collapsed to a quarter in every trial).
    # condition: the same networks without the quantities.
    # one-hot: the condition joins the latents, and the discriminator's input as planes (the author's code).
    conditioning: Literal["quantities", "condition", "one-hot"] = "quantities"
    # Scores of the reference's principal components among the quantities: z was nearly ignored without them.
    principal_scores: int = 32
    # Gaussians in the density of a condition's quantities, on each side where it is unilateral; fewer where one of them
    # would hold too few slices (training.quantities.density_fit).
    density_components: int = 1
    # spectral: Miyato et al. 2018 (arXiv 1802.05957) on both networks; the discriminator has no batch norm, which lets
    # it tell by the company a slice is in. batch: no spectral norm, batch norm in the discriminator (author's code).
    normalisation: Literal["spectral", "batch"] = "spectral"
    # FastGAN repeats pixels ("nearest"); on slices that a camera has blurred that left a visible grid.
    upsampling: Literal["bilinear", "nearest"] = "bilinear"
    # Slices whose spread the discriminator is shown (Karras et al. 2018, arXiv 1710.10196, section 3): a lack of
    # variety becomes visible.
    deviation_group: int | None = 4
    # Steepness that spectral norms leave the discriminator: at 1 it sits at chance, blind to texture.
    logit_gain: float = 4.0

    # optimisation
    images: int
    batch_size: int = 16
    # square-root: conditions by the square root of their count, so that 33 slices are seen often enough to be learnt.
    # count: every slice alike.
    sampling: Literal["square-root", "count"] = "square-root"
    generator_learning_rate: float = 2e-4
    discriminator_learning_rate: float = 2e-4
    # Updates of the discriminator to one of the generator, each with a batch of its own. Images seen are those of the
    # generator's steps, the batch of the last update: at equal images seen generators have had as many updates, and the
    # discriminator has been shown so many times as many slices.
    discriminator_steps: int = 1
    adam_beta1: float = 0.0  # Gulrajani et al. 2017: momentum chases an opponent that has moved on
    adam_beta2: float = 0.99
    decay_share: float = 0.3  # the rates fall to zero over this last share of the run
    lecam_weight: float = 0.3  # Tseng et al. 2021 (arXiv 2104.03310): for a few hundred slices; 0 leaves it out
    # Mescheder et al. 2018 (arXiv 1801.04406): gamma = r1_strength * matrix^2 / batch_size; 0 leaves it out.
    r1_strength: float = 2e-4
    r1_interval: int = 16  # steps between two R1 terms, each weighted by the interval (Karras et al. 2020)
    # Norm: the discriminator threw itself off three times in 80,000 images without it.
    gradient_limit: float | None = 5.0
    # augmented: what the discriminator saw, by L1, SSIM and gradients, without FastGAN's downloaded VGG.
    # acquired: the slice before augmentation, by L1 alone (the author's code; undoing an augmentation is not its work).
    reconstruction: Literal["augmented", "acquired"] = "augmented"
    reconstruction_weight: float = 1.0
    quantity_weight: float = 3.0  # of the error between asked and measured quantities; 0 leaves it out
    # Of the error with which the discriminator recovers the latents of shape from a synthetic slice (InfoGAN,
    # Chen et al. 2016, arXiv 1606.03657): a generator that ignores them pays. 0 leaves head and term out.
    latent_recovery_weight: float = 0.0
    # Share of the run over which the condition gains weight in the discriminator: conditional GANs can collapse on
    # small data where unconditional ones train (Shahbazi et al. 2022, arXiv 2201.06578).
    projection_ramp_share: float = 0.1
    # Images after which a weight counts half in the released average; FastGAN's own leaves out the batch norms.
    averaging_half_life: int | None = 4_000
    averaging_ramp: float = 0.05  # early on the half-life is at most this share of the images seen
    # The average's mean slices are brought to those of the training slices (`calibration/`): a probe told slices
    # of 80,000 images by a mottle that all of them shared.
    corrects_mean_slices: bool = True
    # And the power of each wavelength to that of training: what is finer than a camera sees tells.
    corrects_spectrum: bool = True
    # The released checkpoint: the best by the selection patients, or the last one.
    kept_checkpoint: Literal["best", "last"] = "best"

    # Augmentation, of acquired and synthetic slices alike (Zhao et al. 2020, arXiv 2006.10738). Never left/right: it
    # destroys the ratio.
    augmentation_probability: float = 0.7
    translation: float = 0.06  # share of the field
    scaling: float = 0.04
    cutout: float = 0.2
    # Of the model range; stock jitter inflates the variance of mean counts that the discriminator sees 24 times.
    brightness: float = 0.0
    contrast: float = 0.0

    # Watch over divergence and collapse: see training.watch.
    margin_limit: float | None = 8.0  # logits of acquired above those of synthetic slices
    collapse_limit: float | None = 0.25  # SD ratio, synthetic over selection patients
    collapse_after_share: float = 0.25  # of the run: an early generator has not spread yet
    roll_backs: int = 3  # to the last good checkpoint; then, or at 0, the run stops

    # cadence
    log_every: int = 320
    checkpoint_every: int = 4_000
    validate_every: int = 8_000
    validation_slices: int = 96  # synthetic slices a condition

    def __post_init__(self) -> None:
        for name, kind in _kinds().items():
            _check_choice(name, kind, getattr(self, name))
        for name, (low, high) in BOUNDS.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:  # also refuses NaN
                raise ConfigurationError(f"{name} must be from {low:g} to {high:g}, got {value!r}")
        self._check_together()

    def _check_together(self) -> None:
        if self.matrix not in MATRICES:
            raise ConfigurationError(f"matrix must be one of {MATRICES}, got {self.matrix}")
        if self.texture_matrix is not None and (
            self.texture_matrix not in (32, 64, 128) or self.texture_matrix > self.matrix
        ):
            raise ConfigurationError(
                f"texture_matrix must be 32, 64 or 128 and at most matrix, or none, got {self.texture_matrix}"
            )
        if self.deviation_group is not None and self.batch_size % self.deviation_group:
            raise ConfigurationError(
                f"batch_size must be a multiple of deviation_group {self.deviation_group}, got {self.batch_size}"
            )
        if self.conditioning == "one-hot" and self.texture_matrix is not None:
            raise ConfigurationError("conditioning one-hot has no place for a texture map; set texture_matrix=none")

    @property
    def input_latents(self) -> int:
        """Latents a slice is made from: those of shape, then the texture map's."""
        return self.latent_size + (self.texture_matrix or 0) ** 2

    @property
    def quantity_size(self) -> int:
        """Mean counts, log left/right ratio and the principal scores."""
        return 2 + self.principal_scores

    @property
    def obeys_quantities(self) -> bool:
        """Whether the generator makes what it is asked for; a model that does not is never released."""
        return self.conditioning == "quantities" and self.quantity_weight > 0

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
        values = {**BEFORE, **values}
        missing = {field.name for field in fields(cls)} - set(values)
        if missing:  # a default would be another network than the one that was trained
            raise ConfigurationError(
                f"training settings {sorted(missing)} are missing; was the run made by an older synspect?"
            )
        return cls(**values)

    def changed_by(self, assignments: Iterable[str]) -> "TrainingConfig":
        """Return a copy with settings changed by words like "lecam_weight=0"; "none" switches a setting off.

        Raises
        ------
        ConfigurationError
            A setting that is not one, or a value it cannot have.
        """
        changes = dict(map(_parse_assignment, assignments))
        return TrainingConfig(**{**self.to_dict(), **changes})

    def differences(self, other: "TrainingConfig") -> dict[str, Any]:
        """Return the settings that are not the other's."""
        theirs = other.to_dict()
        return {name: value for name, value in self.to_dict().items() if value != theirs[name]}


# What runs did before a setting was there. A run whose config.json lacks it was trained so, and trains on so.
BEFORE: Mapping[str, Any] = {
    "discriminator_width": None,
    "conditioning": "quantities",
    "density_components": 1,
    "normalisation": "spectral",
    "upsampling": "bilinear",
    "deviation_group": 4,
    "sampling": "square-root",
    "discriminator_steps": 1,
    "adam_beta1": 0.0,
    "adam_beta2": 0.99,
    "reconstruction": "augmented",
    "latent_recovery_weight": 0.0,
    "corrects_mean_slices": False,
    "corrects_spectrum": False,
    "kept_checkpoint": "best",
    "brightness": 0.0,
    "contrast": 0.0,
    "margin_limit": None,
    "collapse_limit": None,
    "collapse_after_share": 0.25,
    "roll_backs": 0,
}

# Wide: they catch a slip of the pen, not a bad idea.
BOUNDS: Mapping[str, tuple[float, float]] = {
    "width": (1, 1024),
    "discriminator_width": (1, 1024),
    "latent_size": (1, 65_536),
    "detail_gain": (0, 1000),
    "embedding_size": (1, 65_536),
    "principal_scores": (0, 512),
    "density_components": (1, 64),
    "deviation_group": (2, 64),
    "logit_gain": (1e-3, 1e3),
    "images": (1, 10**9),
    "batch_size": (2, 65_536),
    "generator_learning_rate": (0, 1e30),  # so that a test can throw a run off
    "discriminator_learning_rate": (0, 1e30),
    "discriminator_steps": (1, 64),
    "adam_beta1": (0, 0.9999),
    "adam_beta2": (0, 0.99999),
    "decay_share": (0, 1),
    "lecam_weight": (0, 1e6),
    "r1_strength": (0, 1e6),
    "r1_interval": (1, 10**6),
    "gradient_limit": (1e-6, 1e9),
    "reconstruction_weight": (0, 1e6),
    "quantity_weight": (0, 1e6),
    "latent_recovery_weight": (0, 1e6),
    "projection_ramp_share": (0, 1),
    "averaging_half_life": (1, 10**9),
    "averaging_ramp": (1e-6, 1),
    "augmentation_probability": (0, 1),
    "translation": (0, 1),
    "scaling": (0, 0.9),
    "cutout": (0, 1),
    "brightness": (0, 2),
    "contrast": (0, 1),
    "margin_limit": (2, 1e9),  # the hinge asks for 2
    "collapse_limit": (0, 1),
    "collapse_after_share": (0, 1),
    "roll_backs": (0, 100),
    "log_every": (1, 10**9),
    "checkpoint_every": (1, 10**9),
    "validate_every": (1, 10**9),
    "validation_slices": (8, 10**6),
}


@functools.cache
def _kinds() -> dict[str, Any]:
    return get_type_hints(TrainingConfig)


def _check_choice(name: str, kind: Any, value: object) -> None:  # noqa: ANN401 — a type
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise ConfigurationError(f"{name} must be one of {', '.join(get_args(kind))}, got {value!r}")
        return
    allowed = get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if float in allowed:
        allowed = (*allowed, int)
    if isinstance(value, bool) != (kind is bool) or not isinstance(value, allowed):
        raise ConfigurationError(f"{name} must be {_in_words(kind)}, got {value!r}")


def to_assignment(name: str, value: object) -> str:
    """Write a setting in the words that `TrainingConfig.changed_by` reads."""
    words = {None: "none", True: "true", False: "false"}
    return f"{name}={words[value] if value is None or isinstance(value, bool) else value}"


def _parse_assignment(assignment: str) -> tuple[str, Any]:
    name, separator, text = assignment.partition("=")
    name, text = name.strip(), text.strip()
    if not separator or not text:
        raise ConfigurationError(f"a setting is changed by name=value, got {assignment!r}; try lecam_weight=0")
    if name not in _kinds():
        near = difflib.get_close_matches(name, _kinds(), n=1)
        raise ConfigurationError(
            f"there is no setting {name!r}; did you mean {near[0]}?"
            if near
            else f"there is no setting {name!r}; --dry-run prints them all"
        )
    kind = _kinds()[name]
    try:
        return name, TypeAdapter(kind).validate_python(None if text == "none" else text)
    except ValidationError:
        raise ConfigurationError(f"{name} must be {_in_words(kind)}, got {text!r}") from None


def _in_words(kind: Any) -> str:  # noqa: ANN401 — a type
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(get_args(kind))
    words = {bool: "true or false", int: "a whole number", float: "a number", types.NoneType: "none"}
    return " or ".join(words[part] for part in get_args(kind) or (kind,))
