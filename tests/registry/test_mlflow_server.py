"""Through a real `mlflow server`: artifacts by its proxy, commands killed at each step, two at once, TLS, passwords."""

import base64
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.bundle.directory import Bundle, load_bundle
from registry.follow import follow_once
from registry.history import History
from registry.promotion import promote, read_history, rollback
from registry.registration import register_release
from registry.store.facts import CHAMPION
from registry.store.model_store import ModelStore
from registry.version_gates import judge_version
from spect.errors import PermissionDeniedError, RegistryError
from tests.support.mlflow_server import ADMIN_PASSWORD, running_mlflow_server
from tests.support.tiny_bundle import build_tiny_bundle
from tests.support.watched_proxy import Rule, WatchedProxy, watched_proxy, write_certificate

pytestmark = pytest.mark.e2e

SET_TAG, ALIAS = "registered-models/set-tag", "registered-models/alias"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_mlflow_server(tmp_path_factory.mktemp("mlflow-server")) as url:
        yield url


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A model of this test's own on the shared server."""
    return "".join(c if c.isalnum() else "-" for c in request.node.name)[-60:]


def _three_versions(store: ModelStore, directory: Path) -> None:
    """Register versions 1 to 3, and promote the first."""
    for number in range(1, 4):
        bundle = build_tiny_bundle(directory / f"b{number}", card=f"# {number}\n")
        store.register_bundle(bundle)
    promote(store, "1", report=judge_version(store, "1"), who="ada")


def _start(url: str, *words: str) -> subprocess.Popen[str]:
    """Start the real command."""
    environment = {**os.environ, "MLFLOW_TRACKING_URI": url, "MLFLOW_DISABLE_TELEMETRY": "true"}
    return subprocess.Popen(
        [sys.executable, "-c", "from synspect.cli import main; main()", "registry", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _champion(history: History) -> tuple[str, str]:
    note = history.describe_champion()
    assert note is not None
    return note.version, note.promotion


def test_a_release_goes_through_the_server_and_comes_back_byte_for_byte(
    server: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.chdir(tmp_path)
    store = ModelStore(server, name=name)
    bundle = build_tiny_bundle(tmp_path_factory.mktemp("released") / "bundle")

    version = register_release(store, bundle, report_html="<html>report</html>")
    promote(store, version, report=judge_version(store, version), who="ada")
    followed = follow_once(store, CHAMPION, tmp_path / "followed")

    assert followed.bundle.manifest_sha256 == bundle.manifest_sha256
    served = load_bundle(tmp_path / "followed")
    assert served.promotion is not None
    assert (served.version, served.promotion.promotion) == (version, "gates")
    assert {path.name for path in tmp_path.iterdir()} == {"followed"}  # nothing local but what was asked for


STEPS = {
    "after the intent": (Rule(path=SET_TAG, body="/intent", when="after", act=print), "1"),
    "after the alias": (Rule(path=ALIAS, when="after", act=print), "2"),
    "before the outcome": (Rule(path=SET_TAG, body="/outcome", when="instead", act=print), "2"),
    "after the outcome": (Rule(path=SET_TAG, body="/outcome", when="after", act=print), "2"),
}


def _kill_at(proxy: WatchedProxy, rule: Rule, *words: str) -> None:
    """Start a command and kill it at a request."""
    holder: list[subprocess.Popen[str]] = []

    def kill() -> None:
        holder[0].kill()
        holder[0].wait()

    proxy.rules.append(Rule(path=rule.path, body=rule.body, when=rule.when, act=kill))
    holder.append(_start(proxy.url, *words))
    output, errors = holder[0].communicate(timeout=120)
    assert holder[0].returncode == -signal.SIGKILL, output + errors
    assert proxy.rules == []


@pytest.mark.parametrize("step", STEPS)
def test_a_promotion_killed_at_any_step_leaves_one_champion_and_can_be_repeated(
    server: str, name: str, tmp_path: Path, step: str
) -> None:
    store = ModelStore(server, name=name)
    _three_versions(store, tmp_path)
    rule, champion = STEPS[step]

    with watched_proxy(server) as proxy:
        _kill_at(proxy, rule, "promote", "2", "--name", name)

    assert _champion(read_history(store)) == (champion, "gates")
    promote(store, "2", report=judge_version(store, "2"))
    history = read_history(store)
    assert _champion(history) == ("2", "gates")
    assert history.find_cut_off() is None
    assert [reign.version for reign in history.reigns()] == ["1", "2"]
    assert rollback(store).version == "1"


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_a_rollback_killed_at_any_step_leaves_one_champion_and_goes_back_one_step(
    server: str, name: str, tmp_path: Path, step: str
) -> None:
    store = ModelStore(server, name=name)
    _three_versions(store, tmp_path)
    for version in ("2", "3"):
        promote(store, version, report=judge_version(store, version))
    rule, before = STEPS[step]

    with watched_proxy(server) as proxy:
        _kill_at(proxy, rule, "rollback", "--name", name)

    assert _champion(read_history(store)) == ("3" if before == "1" else "2", "gates")
    if step != "after the outcome":
        rollback(store)
    assert _champion(read_history(store)) == ("2", "gates")
    assert rollback(store).version == "1"


def test_two_commands_that_promote_at_once_leave_one_champion_and_a_log_that_tells_what_happened(
    server: str, name: str, tmp_path: Path
) -> None:
    store = ModelStore(server, name=name)
    _three_versions(store, tmp_path)
    both = threading.Barrier(2, timeout=120)

    with watched_proxy(server) as proxy:
        # Neither sets the alias before the other is about to.
        proxy.rules += [Rule(path=ALIAS, when="before", act=both.wait) for _ in range(2)]
        commands = {version: _start(proxy.url, "promote", version, "--name", name) for version in ("2", "3")}
        said = {version: command.communicate(timeout=120) for version, command in commands.items()}

    history = read_history(store)
    champion, how = _champion(history)
    entries = {entry.version: entry for entry in history.entries}
    assert (champion in commands, how, entries[champion].is_done) == (True, "gates", True)
    for version, command in commands.items():
        if command.returncode == 0:
            assert version == champion, said
            assert entries[version].is_done
        else:
            assert "somebody else moved it at the same time" in " ".join(said[version][1].split())
    assert history.find_cut_off() is None


def test_a_server_that_goes_away_half_way_is_one_line_and_the_command_can_be_repeated(
    server: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ModelStore(server, name=name)
    _three_versions(store, tmp_path)

    with watched_proxy(server) as proxy:
        through = ModelStore(proxy.url, name=name)
        report = judge_version(through, "2")

        def go_away() -> None:
            proxy.is_away = True

        proxy.rules.append(Rule(path=SET_TAG, body="/intent", when="after", act=go_away))
        with pytest.raises(RegistryError, match=r"cannot be used: .*; the promote of version 2 was cut off") as caught:
            promote(through, "2", report=report)
        assert "\n" not in str(caught.value)
        assert _champion(read_history(store)) == ("1", "gates")

        proxy.is_away = False
        promote(through, "2", report=judge_version(through, "2"))
    assert _champion(read_history(store)) == ("2", "gates")


def test_user_password_and_certificate_are_mlflows_own_settings(
    server: str, name: str, tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = write_certificate(tmp_path)
    with watched_proxy(server, certificate=certificate) as proxy:
        proxy.authorization = "Basic " + base64.b64encode(b"grace:s3cret").decode()

        with pytest.raises(RegistryError, match="certificate is not trusted; set MLFLOW_TRACKING_SERVER_CERT_PATH"):
            ModelStore(proxy.url, name=name).versions()
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(certificate[0]))
        with pytest.raises(RegistryError, match=r"it wants a user and a password; set MLFLOW_TRACKING_USERNAME"):
            ModelStore(proxy.url, name=name).versions()
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "grace")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wr0ng")
        with pytest.raises(RegistryError, match=r"does not know the user 'grace' by this password; mend") as caught:
            ModelStore(proxy.url, name=name).versions()
        assert "wr0ng" not in str(caught.value)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cret")

        store = ModelStore(proxy.url, name=name)
        version = store.register_bundle(tiny_bundle)
        note = promote(store, version, report=judge_version(store, version))

    assert note.who == "grace"
    assert "s3cret" not in json.dumps([dict(fact.tags) for fact in ModelStore(server, name=name).versions()])


@pytest.mark.slow
def test_mlflows_own_users_promote_under_their_names(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("flask_wtf", reason="mlflow[auth] is not installed")
    with running_mlflow_server(tmp_path, app="basic-auth") as url:
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
        with pytest.raises(RegistryError, match="it does not know the user 'admin' by this password"):
            ModelStore(url).versions()
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", ADMIN_PASSWORD)
        store = ModelStore(url)
        version = store.register_bundle(tiny_bundle)

        assert promote(store, version, report=judge_version(store, version)).who == "admin"


def test_a_rollback_by_who_may_only_read_is_refused_and_not_to_be_repeated(
    server: str, name: str, tmp_path: Path
) -> None:
    store = ModelStore(server, name=name)
    _three_versions(store, tmp_path)
    promote(store, "2", report=judge_version(store, "2"))
    with watched_proxy(server) as proxy:
        through = ModelStore(proxy.url, name=name)

        def forbid() -> None:
            proxy.host = "mlflow:5050"  # which MLflow answers by 403, as it does a user who may not write

        proxy.rules.append(Rule(path=SET_TAG, body="/intent", when="before", act=forbid))
        with pytest.raises(PermissionDeniedError, match=r"it refuses \(403\); ask for the permission") as caught:
            rollback(through)

    assert "repeat" not in str(caught.value)
    assert _champion(read_history(store)) == ("2", "gates")


def test_an_address_the_server_does_not_allow_says_what_to_do(server: str, name: str) -> None:
    with watched_proxy(server) as proxy:
        proxy.host = "mlflow:5050"
        with pytest.raises(RegistryError, match="--allowed-hosts") as caught:
            ModelStore(proxy.url, name=name).versions()
    assert "\n" not in str(caught.value)
