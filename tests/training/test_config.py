"""The settings of a run are complete, or refused."""

import pytest

from spect.errors import ConfigurationError
from tests.support.tiny_training import TINY
from training.config import TrainingConfig


def test_settings_of_an_older_version_are_refused_by_name_rather_than_filled_with_defaults() -> None:
    settings = TINY.to_dict()
    assert TrainingConfig.from_dict(settings) == TINY
    del settings["texture_matrix"]
    with pytest.raises(ConfigurationError, match=r"\['texture_matrix'\] are missing; .* older synspect"):
        TrainingConfig.from_dict(settings)


def test_settings_of_a_newer_version_are_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match=r"unknown training settings \['colour'\]"):
        TrainingConfig.from_dict(TINY.to_dict() | {"colour": 1})
