"""`synspect registry ...` as a user types it: tables, JSON, and one clear line where something is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from registry.bundle.directory import Bundle, load_bundle
from registry.registration import register_release
from registry.store.facts import CHAMPION
from registry.store.model_store import ModelStore
from spect.errors import BundleError, ConfigurationError, GateError, RegistryError
from synspect.commands.registry import app
from tests.support.tiny_bundle import build_tiny_bundle, tiny_panel

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
    assert shown["log"][0]["outcome"]["result"] == "done"

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


def test_show_tells_the_whole_story_of_a_version(registered: str, mlflow_uri: str, tmp_path: Path) -> None:
    register_release(ModelStore(mlflow_uri), build_tiny_bundle(tmp_path / "second", changes=BAD))
    _run("promote", "1")
    _run("promote", "2", "--override", "to look at it")
    _run("rollback")

    story = _json("show", "2")

    assert story["origin"]["training_fingerprint"] == "1" * 64
    assert story["origin"]["test_fingerprint"] == "2" * 64
    assert (story["origin"]["run"], story["origin"]["git_commit"]) == ("tiny", "0" * 40)
    assert [(e["action"], e["version"], e["previous"]) for e in story["log"]] == [
        ("promote", "2", "1"),
        ("rollback", "1", "2"),
    ]
    assert story["log"][0]["gates"].startswith("2 of 20 gates failed: c2st_auc_inside_outline (normal)")
    (reign,) = story["served"]
    assert reign["until"] == story["log"][1]["when"]
    assert reign["ended"].startswith("rollback of version 1 by ")
    shown = CliRunner(env={"COLUMNS": "80"}).invoke(app, ["show", "2"]).output
    assert max(len(line.rstrip()) for line in shown.splitlines() if "gates failed" not in line) <= 80
    for words in ("override: to look at it", "1111111111111111", "promote 1 -> 2", "rollback of version 1"):
        assert words in shown


def test_show_of_a_version_that_no_longer_verifies_tells_what_is_known_and_fails(
    registered: str, tmp_path: Path
) -> None:
    _run("promote", "1")
    (card,) = (tmp_path / "mlartifacts").rglob("bundle/card.md")
    card.write_text("better")

    result = _run("show", "1")

    assert isinstance(result.exception, BundleError)
    assert "promote none -> 1" in result.output
    fields = json.loads(_run("show", "1", "--json").output)
    assert "card.md has sha256" in fields["problem"]
    assert fields["passed"] is None


def test_a_champion_moved_by_hand_is_outside_in_every_list(registered: str, mlflow_uri: str) -> None:
    ModelStore(mlflow_uri).set_alias(CHAMPION, "1")

    assert "outside: the alias was moved in MLflow by hand" in _run("list").output
    assert _json("list")["champion"]["promotion"] == "outside"
    shown = _run("show", "champion").output
    assert "Never promoted." in shown
    assert "outside" in shown


def test_the_list_names_who_promoted_and_what_was_champion_before(
    registered: str, mlflow_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    register_release(ModelStore(mlflow_uri), build_tiny_bundle(tmp_path / "second", changes=BAD))
    _run("promote", "1")
    _run("promote", "2", "--override", "to look at it")

    table = _run("list").output

    first, second = (next(line for line in table.splitlines() if line.startswith(f" {n} ")) for n in (1, 2))
    assert "gates (ada, 20" in first
    assert "override: to look at it (ada, 20" in second
    assert [v["last_promotion"]["who"] for v in _json("list")["versions"]] == ["ada", "ada"]


def test_the_list_says_what_was_cut_off(registered: str, mlflow_uri: str) -> None:
    store = ModelStore(mlflow_uri)
    intent = {"action": "promote", "version": "1", "previous": None, "promotion": "gates", "reason": "", "who": "ada"}
    store.append_log("promotion/x/intent", json.dumps({**intent, "when": "2026-01-01T00:00:00+00:00", "number": 1}))

    assert "The promote of version 1 by ada at 2026-01-01 00:00 has no outcome" in " ".join(_run("list").output.split())


def test_a_promotion_in_json_is_one_object_whether_it_is_refused_or_not(mlflow_uri: str, tmp_path: Path) -> None:
    ModelStore(mlflow_uri).register_bundle(build_tiny_bundle(tmp_path / "bad", changes=BAD))

    refused = _run("promote", "1", "--json")
    promoted = _json("promote", "1", "--override", "why")

    assert isinstance(refused.exception, GateError)
    fields = json.loads(refused.output)
    assert (fields["passed"], fields["promotion"]) == (False, None)
    assert (promoted["promotion"]["promotion"], promoted["promotion"]["reason"]) == ("override", "why")


def test_the_champions_own_panel_on_this_cohort_makes_the_two_comparable(
    registered: str, mlflow_uri: str, tmp_path: Path
) -> None:
    champion = build_tiny_bundle(tmp_path / "champion", cohort_fingerprint="8" * 64)
    ModelStore(mlflow_uri).register_bundle(champion)
    _run("promote", "2")
    panel = tmp_path / "champion.json"
    panel.write_text(json.dumps({"panel": json.loads(tiny_panel(champion.sha256).model_dump_json()), "gates": {}}))

    assert "give the panel as --champion-panel" in " ".join(_run("promote", "1").output.split())
    assert "version 1 is champion by its gates" in _run("promote", "1", "--champion-panel", str(panel)).output


@pytest.mark.parametrize("text", ["", "[]", '{"panel": {}}', '{"panel": 3}'])
def test_a_file_that_is_no_panel_is_one_line(registered: str, tmp_path: Path, text: str) -> None:
    (tmp_path / "panel.json").write_text(text)

    result = _run("promote", "1", "--champion-panel", str(tmp_path / "panel.json"))

    assert isinstance(result.exception, ConfigurationError)
    assert "holds no panel" in str(result.exception)
    assert "\n" not in str(result.exception)


@pytest.mark.parametrize("name", ["", "a/b", "a b", "it's", "x" * 101, "ä", "a:b", "."])
def test_a_name_that_mlflow_could_not_hold_everywhere_is_refused(mlflow_uri: str, name: str) -> None:
    result = _run("list", "--name", name)

    assert isinstance(result.exception, ConfigurationError)
    assert "letters, digits, hyphens and underscores" in str(result.exception)


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
