"""`synspect registry ...` as a user types it: tables, JSON, and one clear line where something is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from registry.bundle.directory import Bundle, load_bundle
from registry.store import ModelStore
from spect.errors import ConfigurationError, GateError, RegistryError
from synspect.commands.registry import app
from tests.support.tiny_bundle import build_tiny_bundle

BAD = {("c2st_auc_inside_outline", "normal"): {"value": 0.99, "low": 0.98, "high": 1.0}}


def _run(*words: str) -> Result:
    return CliRunner(env={"COLUMNS": "220"}).invoke(app, list(words))


def _json(*words: str) -> dict[str, Any]:
    result = _run(*words, "--json")
    assert result.exit_code == 0, result.output
    fields: dict[str, Any] = json.loads(result.output)
    return fields


@pytest.fixture
def registered(mlflow_uri: str, tiny_bundle: Bundle) -> str:
    return ModelStore(mlflow_uri).register_bundle(tiny_bundle)


def test_an_empty_registry_says_what_to_do(mlflow_uri: str) -> None:
    assert "has no version yet: release a run first" in _run("list").output


def test_a_version_is_promoted_listed_shown_and_followed(registered: str, tmp_path: Path) -> None:
    promoted = _run("promote", "candidate")
    assert promoted.exit_code == 0
    assert "version 1 is champion by its gates" in promoted.output
    assert "c2st auc inside outline" in promoted.output

    listed = _json("list")
    assert listed["champion"]["promotion"] == "gates"
    assert listed["versions"][0]["aliases"] == ["candidate", "champion"]

    shown = _json("show", "champion")
    assert shown["version"] == registered
    assert shown["passed"] is True
    assert shown["log"][0]["outcome"] == "done"

    followed = _run("follow", "champion", str(tmp_path / "followed"), "--once")
    assert "serves version 1" in followed.output
    assert load_bundle(tmp_path / "followed").version == registered


def test_failed_gates_are_printed_and_the_override_is_shown_in_the_list(mlflow_uri: str, tmp_path: Path) -> None:
    ModelStore(mlflow_uri).register_bundle(build_tiny_bundle(tmp_path / "bad", changes=BAD))

    refused = _run("promote", "1")
    assert isinstance(refused.exception, GateError)
    assert "outside the limit" in refused.output

    overridden = _run("promote", "1", "--override", "first [reference] model")
    assert "by override: first [reference] model" in overridden.output
    table = _run("list").output
    assert "override" in table
    assert "first [reference] model" in table


def test_rollback_says_which_version_is_champion_again(registered: str, mlflow_uri: str, tmp_path: Path) -> None:
    ModelStore(mlflow_uri).register_bundle(build_tiny_bundle(tmp_path / "second", card="# 2\n"))
    _run("promote", "1")
    _run("promote", "2")

    assert "version 1 is champion again" in _run("rollback").output


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("show", "7"), RegistryError),
        (("show", "champion"), RegistryError),
        (("promote", "seven"), RegistryError),
        (("rollback",), RegistryError),
        (("follow", "staging", "somewhere"), ConfigurationError),
    ],
)
def test_what_does_not_exist_is_named(registered: str, words: tuple[str, ...], error: type[Exception]) -> None:
    result = _run(*words)

    assert isinstance(result.exception, error)
    assert "\n" not in str(result.exception)


def test_an_unreachable_mlflow_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")

    result = _run("list")

    assert str(result.exception) == (
        "MLflow at http://127.0.0.1:9 cannot be used: it does not answer; start it, or set MLFLOW_TRACKING_URI"
    )
