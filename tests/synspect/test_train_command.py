"""`synspect train` at its edges: a plan without a run, and one clear line for what cannot be done."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from cohort.store import save_cohort
from spect.errors import ConfigurationError, RequestError, RunError, SynspectError
from synspect.cli import app
from tests.support.tiny_training import tiny_cohort
from training.loop import Outcome

runner = CliRunner()


def _fails(*arguments: str) -> SynspectError:
    result = runner.invoke(app, ["train", *arguments])
    assert isinstance(result.exception, SynspectError), result.output
    return result.exception


def test_a_dry_run_prints_the_configuration_and_writes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = runner.invoke(app, ["train", str(tmp_path), "--preset", "smoke", "--out", str(out), "--dry-run"])
    assert result.exit_code == 0
    assert json.loads(result.output)["matrix"] == 64
    assert not out.exists()


def test_settings_are_changed_one_flag_each(tmp_path: Path) -> None:
    changes = ("--set", "lecam_weight=0", "--set", "texture_matrix=none", "--set", "upsampling=nearest")
    result = runner.invoke(app, ["train", str(tmp_path), "--dataset", "B", *changes, "--dry-run"])
    assert result.exit_code == 0, result.output
    plan = json.loads(result.output)
    assert (plan["lecam_weight"], plan["texture_matrix"], plan["upsampling"]) == (0, None, "nearest")
    assert (plan["preset"], plan["dataset"], plan["width"]) == ("brain64", "B", 16)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("cohort", "--preset", "huge"), "unknown preset 'huge'; use one of smoke, brain64, brain128, paper"),
        (("cohort", "--dataset", "C"), "dataset must be A .* or B"),
        (("cohort", "--tracker", "tensorboard"), "tracker must be mlflow or none"),
        ((), "no cohort given"),
        (("cohort", "--resume", "run"), "leave DIR, --out and --set out"),
        (("cohort", "--set", "lecam_wieght=0"), "there is no setting 'lecam_wieght'; did you mean lecam_weight"),
        (("cohort", "--set", "lecam_weight"), "changed by name=value, got 'lecam_weight'"),
        (("cohort", "--set", "width=wide"), "width must be a whole number, got 'wide'"),
        (("cohort", "--set", "batch_size=18"), "batch_size must be a multiple of deviation_group 4, got 18"),
        (("cohort", "--set", "upsampling=cubic"), "upsampling must be one of bilinear, nearest, got 'cubic'"),
        (("cohort", "--set", "decay_share=nan"), "decay_share must be from 0 to 1, got nan"),
        (("cohort", "--set", "conditioning=one-hot"), "set texture_matrix=none"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(arguments: tuple[str, ...], words: str) -> None:
    error = _fails(*arguments)
    assert isinstance(error, ConfigurationError)
    with pytest.raises(ConfigurationError, match=words):
        raise error


def test_a_seed_beyond_what_is_reproducible_is_refused() -> None:
    error = _fails("cohort", "--seed", str(10**23), "--dry-run")
    assert isinstance(error, RequestError)
    assert "seed must be an integer from 0 to" in str(error)


def test_a_run_that_does_not_exist_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNSPECT_HOME", str(tmp_path))
    error = _fails("--resume", "nowhere")
    assert isinstance(error, RunError)
    assert "no run at nowhere" in str(error)


def test_a_missing_cohort_leaves_no_run_behind(tmp_path: Path) -> None:
    error = _fails(str(tmp_path / "none"), "--preset", "smoke", "--tracker", "none", "--out", str(tmp_path / "run"))
    assert error.exit_code == 2
    assert not (tmp_path / "run").exists()


def test_a_run_that_was_interrupted_says_how_to_go_on_and_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = SimpleNamespace(path=tmp_path / "run")
    outcome = Outcome(images_seen=64, best_score=1.5, is_finished=False)
    monkeypatch.setattr("training.session.start_run", lambda *_given, **_named: (started, outcome))
    save_cohort(tiny_cohort(), tmp_path / "cohort")

    result = runner.invoke(
        app, ["train", str(tmp_path / "cohort"), "--preset", "smoke", "--out", str(tmp_path / "run")]
    )

    assert result.exit_code == 130
    assert f"synspect train --resume {tmp_path / 'run'}" in result.output
