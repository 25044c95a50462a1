"""`synspect registry ...` as a user types it: tables, JSON, and one clear line where something is wrong."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from registry.bundle.directory import Bundle, load_bundle
from registry.registration import register_release
from registry.store.facts import CHAMPION
from registry.store.model_store import ModelStore
from tests.support.command_line import Ended, run_synspect
from tests.support.scripted_server import answer_of, scripted_server
from tests.support.tiny_bundle import build_tiny_bundle, tiny_panel

BAD = {("c2st_auc_inside_outline", "normal"): {"value": 0.99, "low": 0.98, "high": 1.0}}


def _run(*words: str) -> Ended:
    return run_synspect("registry", *words)


def _json(*words: str) -> dict[str, Any]:
    result = _run(*words, "--json")
    assert result.exit_code == 0, result.error
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
    assert refused.exit_code == 1
    assert "outside the limit" in refused.output
    assert refused.sentence.startswith("version 1 stays where it is: 1 of 20 gates failed: c2st_auc_inside_outline")
    assert refused.sentence.endswith("--override REASON promotes it anyway")

    overridden = _run("promote", "1", "--override", "first [reference] model")
    assert "by override: first [reference] model" in overridden.output
    table = _run("list").output
    assert "override" in table
    assert "first [reference] model" in table


def test_rollback_says_which_version_is_champion_again(registered: str, mlflow_uri: str, tmp_path: Path) -> None:
    ModelStore(mlflow_uri).register_bundle(build_tiny_bundle(tmp_path / "second", card="# 2\n"))
    _run("promote", "1")
    _run("promote", "2")

    assert "version 1 is champion again, by its gates" in _run("rollback").output


def test_rollback_to_an_overridden_version_says_so_and_why(registered: str, mlflow_uri: str, tmp_path: Path) -> None:
    register_release(ModelStore(mlflow_uri), build_tiny_bundle(tmp_path / "second", changes=BAD))
    _run("promote", "2", "--override", "to look at it")
    _run("promote", "1")

    assert "version 2 is champion again, by override: to look at it" in _run("rollback").output


def test_rollback_to_a_version_set_by_hand_says_so(registered: str, mlflow_uri: str, tmp_path: Path) -> None:
    store = ModelStore(mlflow_uri)
    store.register_bundle(build_tiny_bundle(tmp_path / "second", card="# 2\n"))
    store.set_alias("champion", "2")
    _run("promote", "1")

    assert "version 2 is champion again, outside the gates: the alias was moved" in _run("rollback").output


def test_an_alias_that_is_none_is_refused_in_our_words(tmp_path: Path) -> None:
    ended = _run("follow", "staging", str(tmp_path / "d"))

    assert ended.exit_code == 2
    assert "Invalid value for 'alias': 'staging' is not one of" in " ".join(ended.error.split())


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
    shown = run_synspect("registry", "show", "2", columns=80).output
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

    assert result.exit_code == 2
    assert "card.md has sha256" in result.sentence
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

    assert refused.exit_code == 1
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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON (Expecting value: line 1 column 1 (char 0))"),
        ("[]", "it must be an object, got []"),
        ('{"panel": {}}', "onnx_sha256 is missing"),
        ('{"panel": 3}', "it must be an object, got 3"),
    ],
)
def test_a_file_that_is_no_panel_is_one_sentence_before_the_registry_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, words: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # would be said first, were it asked
    path = tmp_path / "panel.json"
    path.write_text(text)

    result = _run("promote", "1", "--champion-panel", str(path))

    assert result.exit_code == 2
    assert result.sentence == f"{path} is no panel: {words}; write one with `synspect validate BUNDLE DIR --json`"


def test_a_panel_that_would_be_held_against_nothing_is_refused(registered: str, tmp_path: Path) -> None:
    panel = tmp_path / "panel.json"
    panel.write_text(tiny_panel("8" * 64).model_dump_json())

    first = _run("promote", "1", "--champion-panel", str(panel))
    _run("promote", "1")
    again = _run("promote", "1", "--champion-panel", str(panel))

    assert (first.exit_code, again.exit_code) == (2, 2)
    assert first.sentence == "there is no champion that a panel could be of; leave --champion-panel out"
    assert "version 1 is the champion, and is compared with no other" in again.sentence


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        (("follow", "champion", "d", "--once", "--interval", "5"), "--interval would be ignored: --once looks once"),
        (("follow", "champion", "d", "--once", "--metrics-port", "9464"), "--metrics-port would be ignored"),
        (("follow", "champion", "d", "--metrics-host", "::1"), "--metrics-host would be ignored: nothing listens"),
    ],
)
def test_an_option_that_nothing_would_heed_is_refused(words: tuple[str, ...], refused: str) -> None:
    result = _run(*words)

    assert result.exit_code == 2
    assert result.sentence.startswith(refused)


def test_the_name_of_a_model_is_refused_where_a_bundle_on_disk_is_built(tmp_path: Path) -> None:
    result = run_synspect("build", "--bundle", tmp_path, "--name", "synspect")

    assert result.exit_code == 2
    assert result.sentence.startswith("--name would be ignored: --bundle DIR is built")


def test_an_override_that_was_not_needed_says_so(registered: str) -> None:
    promoted = _run("promote", "1", "--override", "to be sure")

    assert promoted.exit_code == 0
    assert "champion by its gates; the override was not needed, and its reason is not kept" in promoted.output


@pytest.mark.parametrize("name", ["", "a/b", "a b", "it's", "x" * 101, "ä", "a:b", "."])
def test_a_name_that_mlflow_could_not_hold_everywhere_is_refused(mlflow_uri: str, name: str) -> None:
    result = _run("list", "--name", name)

    assert result.exit_code == 2
    assert "letters, digits, hyphens and underscores" in result.sentence


@pytest.mark.parametrize(
    ("words", "exit_code", "sentence"),
    [
        (("show", "7"), 2, "model synspect has no version '7' at"),
        (("promote", "7"), 2, "model synspect has no version '7' at"),
        (("promote", "seven"), 2, "model synspect has no version 'seven' at"),
        (("show", "champion"), 2, "alias 'champion' of model synspect is not set"),
        (("promote", "1", "--override", " "), 2, "an override needs a reason of 1 to 500 characters, got 0"),
        (("rollback",), 2, "model synspect has no earlier champion to return to"),
    ],
)
def test_what_does_not_exist_is_named_and_is_the_users_to_mend(
    registered: str, words: tuple[str, ...], exit_code: int, sentence: str
) -> None:
    result = _run(*words)

    assert result.exit_code == exit_code
    assert result.sentence.startswith(sentence)


@pytest.mark.parametrize(
    ("host", "words"),
    [("nosuch.invalid", "choose another --metrics-host"), ("192.0.2.1", "choose another --metrics-host")],
)
def test_metrics_that_cannot_be_served_name_the_option_to_change(
    mlflow_uri: str, tmp_path: Path, host: str, words: str
) -> None:
    ended = _run("follow", "champion", str(tmp_path / "d"), "--metrics-port", "9464", "--metrics-host", host)

    assert ended.exit_code == 2
    assert ended.sentence.startswith(f"metrics cannot be served on {host} port 9464 (")
    assert ended.sentence.endswith(words)


def test_metrics_on_a_port_that_is_taken_name_the_port(mlflow_uri: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = _run("follow", "champion", str(tmp_path / "d"), "--metrics-port", str(port))

    assert ended.exit_code == 2
    assert ended.sentence.endswith("; choose another --metrics-port")


def test_a_follower_of_an_address_that_no_registry_could_have_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "foo://x")

    ended = _run("follow", "champion", str(tmp_path / "d"))

    assert ended.exit_code == 2
    assert ended.sentence.startswith("'foo://x' is no address of a registry; set MLFLOW_TRACKING_URI to")


@pytest.mark.parametrize("words", [("registry", "follow", "staging", "somewhere"), ("serve", "--follow", "staging")])
def test_both_commands_that_follow_know_the_same_aliases(words: tuple[str, ...]) -> None:
    ended = run_synspect(*words)

    assert ended.exit_code == 2
    assert "'staging' is not one of 'candidate', 'champion'" in ended.error


def test_following_an_alias_that_is_not_set_leaves_nothing_behind(registered: str, tmp_path: Path) -> None:
    ended = _run("follow", "champion", str(tmp_path / "followed" / "here"), "--once")

    assert ended.exit_code == 2
    assert ended.sentence == "alias 'champion' of model synspect is not set; promote a version first"
    assert not (tmp_path / "followed").exists()


@pytest.mark.parametrize("once", [(), ("--once",)])
@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_file_is_no_place_to_follow_into_whatever_mlflow_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, once: tuple[str, ...], below: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    (tmp_path / "file").write_text("something")

    ended = _run("follow", "champion", str(tmp_path / "file" / below), *once)

    assert ended.exit_code == 2
    assert ended.sentence == (
        f"{tmp_path / 'file'} is a file, and what is followed needs a directory; name another place"
    )


def test_an_unreachable_mlflow_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")

    result = _run("list")

    assert result.exit_code == 1
    assert result.sentence == (
        "MLflow at http://127.0.0.1:9 cannot be used: it does not answer; start it, or set MLFLOW_TRACKING_URI"
    )


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("list",), b"{}"),
        (("list", "--json"), b'{"registered_model": {"name": "other"}}'),
        (("promote", "1"), b'{"ok": true, "items": [1]}'),
        (("rollback",), b"{}"),
    ],
)
def test_another_service_that_answers_json_is_no_empty_registry(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], answer: bytes
) -> None:
    with scripted_server(*[answer_of(answer)] * 3) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        result = _run(*words)

    assert result.exit_code == 1
    assert result.sentence.startswith(
        f"what answers at {server.url} is not MLflow: asked for the model 'synspect', got "
    )
    assert result.sentence.endswith("; set MLFLOW_TRACKING_URI to the address of an MLflow server")
