"""The table of presets: named configurations of one training path."""

from spect.errors import ConfigurationError
from training.config import TrainingConfig

PRESETS: dict[str, TrainingConfig] = {
    # Proves that everything runs: a blurred brain of the right size, in under 90 s on two cores; too short to judge.
    "smoke": TrainingConfig(
        matrix=64,
        width=6,
        images=3_200,
        averaging_half_life=400,
        collapse_limit=None,
        checkpoint_every=1_600,
        validate_every=1_600,
        validation_slices=32,
    ),
    # The reference model: about an hour on two cores.
    "brain64": TrainingConfig(matrix=64, width=16, images=80_000),
    # For a GPU, or a night on a few cores.
    "brain128": TrainingConfig(matrix=128, width=32, images=400_000),
    # The baseline: the senior author's public code of December 2020 (KoshinoK/Conditional-Lightweight-GAN), which
    # predates the paper; its settings, not the paper's. What differs, and why:
    #   matrix 128 instead of 256, and one channel instead of three: the slices have no more;
    #   200 epochs of the 703 training slices of the built-in cohort; other cohorts: set images to 200 times theirs;
    #   one-hot of the eight conditions, where its annotations are vectors of the user's own;
    #   translation pads with background, not with half the range; DiffAugment's saturation does nothing to grey slices;
    #   a random quadrant is reconstructed, where its code always takes the centre, and two doublings decode it;
    #   channels by our multiples of the width; 64 is its own width at full resolution;
    #   batch norms are measured anew before a slice is generated, as the seed rule needs.
    # The watch is off but for values that are not finite: a baseline that collapses is a result.
    "paper": TrainingConfig(
        matrix=128,
        width=64,
        latent_size=256,
        texture_matrix=None,
        detail_gain=None,
        embedding_size=256,
        conditioning="one-hot",
        principal_scores=0,
        normalisation="batch",
        upsampling="nearest",
        deviation_group=None,
        logit_gain=1.0,
        images=200 * 703,
        batch_size=2,
        sampling="count",
        adam_beta1=0.9,
        adam_beta2=0.999,
        decay_share=0.0,
        lecam_weight=0.0,
        r1_strength=0.0,
        gradient_limit=None,
        reconstruction="acquired",
        quantity_weight=0.0,
        projection_ramp_share=0.0,
        averaging_half_life=None,
        corrects_mean_slices=False,
        corrects_spectrum=False,
        kept_checkpoint="last",
        augmentation_probability=1.0,
        translation=0.125,
        scaling=0.0,
        cutout=0.5,
        brightness=0.5,
        contrast=0.5,
        margin_limit=None,
        collapse_limit=None,
        roll_backs=0,
    ),
}


def preset(name: str) -> TrainingConfig:
    """Return a preset; raise `ConfigurationError` naming the choices."""
    try:
        return PRESETS[name]
    except KeyError:
        raise ConfigurationError(f"unknown preset {name!r}; use one of {', '.join(PRESETS)}") from None
