"""`synspect train` at its edges: a plan without a run, and one clear line for what cannot be done."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from cohort.store import save_cohort
from spect.errors import ConfigurationError, RequestError, RunError, SynspectError
from synspect.cli import app
from tests.support.command_line import run_synspect
from tests.support.tiny_training import tiny_cohort
from training.loop import Outcome

runner = CliRunner()


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cohort") / "cohort"
    save_cohort(tiny_cohort(), path)
    return path


def _fails(*arguments: str) -> SynspectError:
    result = runner.invoke(app, ["train", *arguments])
    assert isinstance(result.exception, SynspectError), result.output
    return result.exception


def test_a_dry_run_prints_the_configuration_and_writes_nothing(cohort: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = runner.invoke(app, ["train", str(cohort), "--preset", "smoke", "--out", str(out), "--dry-run"])
    assert result.exit_code == 0
    assert json.loads(result.output)["matrix"] == 64
    assert not out.exists()


def test_a_dry_run_refuses_what_the_run_itself_would_refuse_at_once(cohort: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")

    no_cohort = run_synspect("train", tmp_path / "none", "--dry-run")
    taken = run_synspect("train", cohort, "--out", tmp_path / "full", "--dry-run")

    assert (no_cohort.exit_code, taken.exit_code) == (2, 2)
    assert str(tmp_path / "none") in no_cohort.sentence
    assert "full exists and is not an empty directory; choose another --out" in taken.sentence
    assert (no_cohort.output, taken.output) == ("", "")


def test_a_resumed_run_takes_no_settings_that_it_would_ignore() -> None:
    refused = run_synspect("train", "--resume", "run", "--preset", "brain64", "--seed", "1")

    assert refused.exit_code == 2
    assert (
        refused.sentence == "--preset and --seed would be ignored: --resume goes on with the run's own; leave them out"
    )


def test_settings_are_changed_one_flag_each(cohort: Path) -> None:
    changes = ("--set", "lecam_weight=0", "--set", "texture_matrix=none", "--set", "upsampling=nearest")
    result = runner.invoke(app, ["train", str(cohort), "--dataset", "B", *changes, "--dry-run"])
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
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = SimpleNamespace(path=tmp_path / "run")
    outcome = Outcome(images_seen=64, best_score=1.5, is_finished=False)
    monkeypatch.setattr("training.session.start_run", lambda *_given, **_named: (started, outcome))

    result = runner.invoke(app, ["train", str(cohort), "--preset", "smoke", "--out", str(tmp_path / "run")])

    assert result.exit_code == 130
    assert f"synspect train --resume {tmp_path / 'run'}" in result.output
