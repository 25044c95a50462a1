"""What could not be served is not registered, promoted, returned to or built; a champion that cannot be is replaced."""

from pathlib import Path

import pytest

from registry.bundle.directory import Bundle
from registry.promotion import rollback
from registry.registration import register_release
from registry.store.facts import CHAMPION
from registry.store.model_store import ModelStore
from spect.errors import BundleError, VersionError
from tests.support.command_line import run_synspect
from tests.support.registered import describe_champion, make_champion, promote_version
from tests.support.tiny_bundle import build_tiny_bundle, mixing_graph, unbounded_graph

LOUD = "the generator made 1 of 1 slices out of range, so the bundle cannot be served; release another run"
MIXED = "the generator makes other slices in a batch than alone, by "
NO_PROFILE = "the reference profile cannot be used: "


@pytest.fixture(params=["range", "batch", "profile"])
def unservable(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Bundle, str]:
    """A bundle whose every byte is as its manifest says, and what is wrong with it all the same."""
    if request.param == "range":
        return build_tiny_bundle(tmp_path / "loud", graph=unbounded_graph()), LOUD
    if request.param == "batch":
        return build_tiny_bundle(tmp_path / "mixing", graph=mixing_graph()), MIXED
    return build_tiny_bundle(tmp_path / "blind", profile=b"{}"), NO_PROFILE


def test_it_is_not_registered(store: ModelStore, unservable: tuple[Bundle, str]) -> None:
    bundle, words = unservable

    with pytest.raises(BundleError, match=words):
        register_release(store, bundle)

    assert store.versions() == []


def test_it_is_not_promoted_by_override_either(
    store: ModelStore, unservable: tuple[Bundle, str], tmp_path: Path
) -> None:
    bundle, words = unservable
    make_champion(store, tmp_path, 1)
    bad = store.register_bundle(bundle)

    ended = run_synspect("registry", "promote", bad, "--override", "in haste")

    assert ended.exit_code == 2
    assert ended.sentence.startswith(words)
    assert describe_champion(store) == ("1", "gates")


def test_show_says_what_is_wrong_with_it(store: ModelStore, unservable: tuple[Bundle, str]) -> None:
    bundle, words = unservable
    version = store.register_bundle(bundle)

    ended = run_synspect("registry", "show", version)

    assert ended.exit_code == 2
    assert ended.sentence.startswith(words)
    assert "Never promoted." in ended.output


def test_a_champion_that_cannot_be_served_is_replaced_and_not_returned_to(
    store: ModelStore, unservable: tuple[Bundle, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bundle, words = unservable
    store.set_alias(CHAMPION, store.register_bundle(bundle))
    good = store.register_bundle(build_tiny_bundle(tmp_path / "good"))
    promote_version(store, good)

    with pytest.raises(VersionError, match="no earlier champion that could be served"):
        rollback(store)
    assert f"a rollback passes over version 1: {words}" in caplog.text

    assert describe_champion(store) == (good, "gates")


def test_it_is_not_built(
    store: ModelStore, unservable: tuple[Bundle, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, words = unservable
    store.set_alias(CHAMPION, store.register_bundle(bundle))
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))

    for source in ((), ("--bundle", bundle.path)):
        ended = run_synspect("build", *source)
        assert ended.exit_code == 2
        assert ended.sentence.startswith(words)
    assert not (tmp_path / "bentoml").exists()
