"""The settings of a run are complete, or refused; each ablation is one of them."""

import dataclasses

import pytest

from spect.errors import ConfigurationError
from tests.support.tiny_training import TINY
from training.config import BEFORE, TrainingConfig, to_assignment
from training.presets import PRESETS

# config.json of a brain64 run made before the settings in BEFORE were there.
BRAIN64_OF_THE_FIRST_VERSION = {
    "matrix": 64,
    "width": 16,
    "latent_size": 128,
    "texture_matrix": 64,
    "detail_gain": 8.0,
    "embedding_size": 128,
    "principal_scores": 32,
    "images": 80000,
    "batch_size": 16,
    "generator_learning_rate": 0.0002,
    "discriminator_learning_rate": 0.0002,
    "decay_share": 0.3,
    "lecam_weight": 0.3,
    "r1_strength": 0.0002,
    "r1_interval": 16,
    "logit_gain": 4.0,
    "gradient_limit": 5.0,
    "reconstruction_weight": 1.0,
    "quantity_weight": 3.0,
    "projection_ramp_share": 0.1,
    "averaging_half_life": 4000,
    "averaging_ramp": 0.05,
    "augmentation_probability": 0.7,
    "translation": 0.06,
    "scaling": 0.04,
    "cutout": 0.2,
    "log_every": 320,
    "checkpoint_every": 4000,
    "validate_every": 8000,
    "validation_slices": 96,
}


def test_settings_that_are_missing_are_refused_by_name_rather_than_filled_with_defaults() -> None:
    settings = TINY.to_dict()
    assert TrainingConfig.from_dict(settings) == TINY
    del settings["texture_matrix"]
    with pytest.raises(ConfigurationError, match=r"\['texture_matrix'\] are missing; .* older synspect"):
        TrainingConfig.from_dict(settings)


def test_settings_of_a_newer_version_are_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match=r"unknown training settings \['colour'\]"):
        TrainingConfig.from_dict(TINY.to_dict() | {"colour": 1})


def test_a_run_of_the_first_version_trains_on_as_it_began() -> None:
    old = TrainingConfig.from_dict(BRAIN64_OF_THE_FIRST_VERSION)
    watch = {"margin_limit": None, "collapse_limit": None, "roll_backs": 0}  # it had none
    assert old.differences(PRESETS["brain64"]) == watch | {"corrects_mean_slices": False, "corrects_spectrum": False}
    assert set(BEFORE) | set(BRAIN64_OF_THE_FIRST_VERSION) == set(old.to_dict())


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_survives_its_own_file(name: str) -> None:
    assert TrainingConfig.from_dict(PRESETS[name].to_dict()) == PRESETS[name]


def test_one_word_changes_one_setting_in_its_own_type() -> None:
    changed = TINY.changed_by(["r1_strength=0", "averaging_half_life=none", "conditioning=condition", "width=4"])
    assert changed.differences(TINY) == {
        "r1_strength": 0.0,
        "averaging_half_life": None,
        "conditioning": "condition",
        "width": 4,
    }


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("width=none", "width must be a whole number, got 'none'"),
        ("width=1e9", "width must be a whole number, got '1e9'"),
        ("discriminator_width=0", "discriminator_width must be from 1 to 1024, got 0"),
        ("width=0", "width must be from 1 to 1024, got 0"),
        ("matrix=256", r"matrix must be one of \(64, 128\), got 256"),
        ("gradient_limit=inf", "gradient_limit must be from"),
        ("texture_matrix=16", "texture_matrix must be 32, 64 or 128 and at most matrix, or none, got 16"),
        ("colour=1", "there is no setting 'colour'; --dry-run prints them all"),
    ],
)
def test_a_value_that_a_setting_cannot_have_is_refused(word: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        TINY.changed_by([word])


def test_only_a_generator_that_is_taught_its_quantities_obeys_them() -> None:
    obeying = [TINY, PRESETS["brain64"], TINY.changed_by(["principal_scores=0"])]
    others = [PRESETS["paper"], TINY.changed_by(["conditioning=condition"]), TINY.changed_by(["quantity_weight=0"])]
    assert [config.obeys_quantities for config in obeying] == [True] * 3
    assert [config.obeys_quantities for config in others] == [False] * 3


def test_the_settings_that_differ_are_written_as_they_are_read() -> None:
    changed = dataclasses.replace(
        TINY, texture_matrix=None, corrects_mean_slices=False, lecam_weight=0.05, sampling="count"
    )
    assignments = [to_assignment(name, value) for name, value in changed.differences(TINY).items()]
    assert sorted(assignments) == [
        "corrects_mean_slices=false",
        "lecam_weight=0.05",
        "sampling=count",
        "texture_matrix=none",
    ]
    assert TINY.changed_by(assignments) == changed
