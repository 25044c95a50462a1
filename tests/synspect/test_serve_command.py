"""`synspect serve`: what runs beside the server."""

from typer.testing import CliRunner

from synspect.cli import app
from synspect.commands.serve import Alias, _followed_directory, _Follower


def test_the_follower_is_the_registry_command_for_that_model_and_alias(tmp_path) -> None:
    follower = _Follower(Alias.CANDIDATE, tmp_path / "served", name="mine")

    assert follower.command[3:] == ["registry", "follow", "candidate", str(tmp_path / "served"), "--name", "mine"]
    understood = CliRunner().invoke(app, [*follower.command[3:], "--help"])
    assert understood.exit_code == 0


def test_two_models_are_not_followed_into_one_directory(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SYNSPECT_HOME", str(tmp_path))

    assert _followed_directory("mine", Alias.CHAMPION) != _followed_directory("synspect", Alias.CHAMPION)
