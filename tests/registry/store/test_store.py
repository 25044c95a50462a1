"""A real MLflow on SQLite: what is registered comes back byte for byte, and failures are one line."""

import re
import time
from pathlib import Path

import numpy as np
import pytest

from registry.bundle.directory import Bundle
from registry.store.connection import open_client, public_uri, translated_errors
from registry.store.experiments import find_experiment
from registry.store.facts import CANDIDATE, CHAMPION
from registry.store.model_store import ModelStore
from spect.errors import AddressError, BundleError, RegistryError
from tests.support.scripted_server import answer_of, scripted_server
from tests.support.tiny_bundle import build_tiny_bundle


def test_a_registered_bundle_comes_back_byte_for_byte(store: ModelStore, tiny_bundle: Bundle, tmp_path: Path) -> None:
    version = store.register_bundle(tiny_bundle)

    downloaded = store.download(version, tmp_path / "downloaded")

    assert downloaded.manifest_sha256 == tiny_bundle.manifest_sha256
    for name in ("manifest.json", *tiny_bundle.manifest.files):
        assert (downloaded.path / name).read_bytes() == (tiny_bundle.path / name).read_bytes()


def test_a_new_version_is_the_candidate_and_says_where_it_comes_from(store: ModelStore, tiny_bundle: Bundle) -> None:
    version = store.register_bundle(tiny_bundle, gates="all passed")

    (facts,) = store.versions()
    assert facts.version == version == store.alias_version(CANDIDATE)
    assert facts.aliases == (CANDIDATE,)
    assert facts.tags["run"] == "tiny"
    assert facts.tags["gates"] == "all passed"
    assert store.alias_version(CHAMPION) is None


def test_a_version_is_found_again_by_its_manifest(store: ModelStore, tiny_bundle: Bundle, tmp_path: Path) -> None:
    other = build_tiny_bundle(tmp_path / "other", card="# Another\n")
    first, second = store.register_bundle(tiny_bundle), store.register_bundle(other)

    assert store.find_by_manifest(tiny_bundle.manifest_sha256) == first
    assert store.find_by_manifest(other.manifest_sha256) == second
    assert store.find_by_manifest("0" * 64) is None


def test_mlflow_itself_can_load_the_version_and_draws_the_same(store: ModelStore, tiny_bundle: Bundle) -> None:
    import mlflow
    import onnx

    from registry.bundle.generator import ReleasedGenerator
    from registry.bundle.runtime import onnxruntime
    from spect.conditions import CONDITIONS

    version = store.register_bundle(tiny_bundle)
    mlflow.set_tracking_uri(store.uri)
    model = mlflow.onnx.load_model(f"models:/synspect/{version}")
    generator = ReleasedGenerator(tiny_bundle, threads=1)
    inputs = generator.draw_inputs(CONDITIONS[0], seed=1, count=2)

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {"latents": inputs.latents, "condition": inputs.condition, "quantities": inputs.quantities}
    (model_images,) = session.run(None, feeds)

    onnx.checker.check_model(model)
    np.testing.assert_allclose(tiny_bundle.manifest.intensity_scale().to_counts(model_images), generator.run(inputs))


def test_artifacts_lie_beside_the_database_wherever_the_command_was_started(
    store: ModelStore, tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)

    store.register_bundle(tiny_bundle)

    assert list(elsewhere.iterdir()) == []
    assert list((tmp_path / "mlartifacts").rglob("bundle/manifest.json"))


def test_an_artifact_changed_inside_mlflow_is_refused(store: ModelStore, tiny_bundle: Bundle, tmp_path: Path) -> None:
    version = store.register_bundle(tiny_bundle)
    (card,) = (tmp_path / "mlartifacts").rglob("bundle/card.md")
    card.write_text("better")

    with pytest.raises(BundleError, match=r"card\.md has sha256"):
        store.download(version, tmp_path / "downloaded")


def test_another_whole_bundle_in_its_place_is_refused(store: ModelStore, tiny_bundle: Bundle, tmp_path: Path) -> None:
    version = store.register_bundle(tiny_bundle)
    store.tag_version(version, "manifest_sha256", "0" * 64)

    with pytest.raises(BundleError, match="is not the bundle that was registered"):
        store.download(version, tmp_path / "downloaded")


def test_an_unknown_version_names_those_that_exist(store: ModelStore, tiny_bundle: Bundle) -> None:
    with pytest.raises(RegistryError, match="there is none: release a run first"):
        store.find_version("1")
    store.register_bundle(tiny_bundle)
    with pytest.raises(RegistryError, match=r"has no version 'seven' .* there is 1") as caught:
        store.find_version("seven")
    assert caught.value.exit_code == 2  # the user's to mend, while a follower takes it as any failure of the registry


def test_only_two_aliases_exist(store: ModelStore, tiny_bundle: Bundle) -> None:
    version = store.register_bundle(tiny_bundle)

    with pytest.raises(RegistryError, match="'staging' is no alias"):
        store.set_alias("staging", version)


@pytest.mark.parametrize(
    "uri",
    [
        "http://user:secret@127.0.0.1:9",
        "postgresql+psycopg2://user:secret@127.0.0.1:1/mlflow",
        "sqlite:////dev/null/mlflow.db",
    ],
)
def test_an_mlflow_that_cannot_be_used_is_one_line_and_quick(uri: str) -> None:
    started = time.monotonic()
    with pytest.raises(RegistryError, match=r"^MLflow at .* cannot be used: .*; start it, or set") as caught:
        ModelStore(uri).versions()

    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert time.monotonic() - started < 60  # MLflow's own patience lasts minutes


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("foo://u:secret@bar/x", "'foo://bar/x' is no address of a registry; set MLFLOW_TRACKING_URI to http"),
        ("postgres://x/y", "or postgresql+psycopg2://USER@HOST/DATABASE"),
        ("file:///tmp/mlruns-of-nobody", "is no address of a registry"),
        ("./mlruns", "is no address of a registry"),
        ("databricks", "is no address of a registry"),
        ("sqlite:mlflow.db", "sqlite:////PATH/mlflow.db"),
        ("sqlite:///{there}", "{there} is a directory; set MLFLOW_TRACKING_URI to sqlite:///{there}/mlflow.db"),
        ("sqlite:///{there}/text", "{there}/text is a file, and no SQLite database; set MLFLOW_TRACKING_URI to one"),
    ],
)
def test_an_address_that_no_registry_could_have_is_the_users_to_mend(tmp_path: Path, uri: str, words: str) -> None:
    (tmp_path / "text").write_text("this is no database " * 10)
    started = time.monotonic()

    with pytest.raises(AddressError) as caught:
        ModelStore(uri.format(there=tmp_path))

    assert words.format(there=tmp_path) in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.exit_code == 2
    assert time.monotonic() - started < 10  # MLflow asks a directory for minutes


def test_an_empty_file_becomes_a_registry(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()

    assert ModelStore(f"sqlite:///{tmp_path / 'mlflow.db'}").versions() == []


def test_mlflows_long_reasons_end_with_a_word_and_say_that_there_is_more() -> None:
    with (
        pytest.raises(RegistryError) as caught,
        translated_errors("http://here", advice="start it"),
    ):
        raise ValueError("reason " * 100)

    assert str(caught.value).endswith("reason reason ...; start it")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("mysql+nosuchdriver://x/y", r"no driver has the name behind the \+; write postgresql\+psycopg2://"),
        ("postgresql+asyncpg://x/y", r"the driver asyncpg is missing; install it, or write one that is installed"),
    ],
)
def test_a_driver_that_is_missing_is_named(uri: str, words: str) -> None:
    with pytest.raises(RegistryError, match=words):
        ModelStore(uri).versions()


def test_nothing_is_sent_to_a_service_that_is_not_mlflow(tiny_bundle: Bundle) -> None:
    with scripted_server(*[answer_of(b"{}")] * 9) as server:
        with pytest.raises(
            RegistryError, match="is not MLflow: asked for the model 'synspect', got one without a name"
        ):
            ModelStore(server.url).register_bundle(tiny_bundle)
        client = open_client(server.url)
        with pytest.raises(RegistryError, match="is not MLflow: asked for the experiment 'mine'"):
            find_experiment(client, server.url, "mine")

    assert [request.split()[0] for request in server.requests] == [b"GET", b"GET"]


def test_an_answer_that_is_no_json_is_not_mlflows(tmp_path: Path) -> None:
    with (
        scripted_server(answer_of(b"hello")) as server,
        pytest.raises(RegistryError, match="not MLflow, for it answers no JSON object; set MLFLOW_TRACKING_URI to"),
    ):
        ModelStore(server.url).versions()


def test_a_database_cut_off_while_it_is_made_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    def stop(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    uri = f"sqlite:///{tmp_path / 'home' / 'mlflow.db'}"
    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "search_registered_models", stop)
        with pytest.raises(KeyboardInterrupt):
            ModelStore(uri)
    assert list((tmp_path / "home").iterdir()) == []
    assert ModelStore(uri).versions() == []


@pytest.mark.parametrize(
    "uri",
    [
        "http://bob:hun/ter2@127.0.0.1:1",
        "http://bob:hun@ter2@127.0.0.1:1",
        "postgresql+psycopg2://bob:hunter2@h/x",
        "bob:hunter2@127.0.0.1:5000",
        "mysql+pymysql://h/x?user=b&password=hunter2",
        "cannot reach http://bob:hunter2@h/x (tried twice)",
        'could not translate host name "ter2@127.0.0.1" to address',  # a driver, of bob:hun@ter2@127.0.0.1
    ],
)
def test_no_password_is_repeated_however_it_is_written(uri: str) -> None:
    shown = public_uri(uri)
    assert not {"ter2", "hun", "hunter2"} & set(re.split(r"[^a-z0-9]", shown))
    assert "127.0.0.1" in shown or "h/x" in shown


def test_a_path_with_an_at_sign_is_shown() -> None:
    assert public_uri("sqlite:////home/a@b/mlflow.db") == "sqlite:////home/a@b/mlflow.db"
