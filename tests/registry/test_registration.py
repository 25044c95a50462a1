"""MLflow's own pages of a version: what it is, its gates, its report, and links that work there."""

import re
from pathlib import Path

import pytest
from mlflow import MlflowClient

from registry.bundle.directory import Bundle, load_bundle
from registry.gates import judge_bundle
from registry.policy import load_policy
from registry.registration import describe_bundle, register_release
from registry.seeding import seed_registry
from registry.store.model_store import ModelStore
from spect.errors import RegistryError
from synspect.source import find_reference_bundle
from tests.support.tiny_bundle import build_tiny_bundle

BAD = {("c2st_auc_inside_outline", "normal"): {"value": 0.99, "low": 0.98, "high": 1.0}}


@pytest.fixture
def client(mlflow_uri: str) -> MlflowClient:
    return MlflowClient(mlflow_uri, mlflow_uri)


def test_a_version_describes_itself_where_mlflow_shows_it(
    mlflow_uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    bundle = build_tiny_bundle(tmp_path / "bad", changes=BAD)

    version = register_release(ModelStore(mlflow_uri), bundle, report_html="<html>report</html>")

    shown = client.get_model_version("synspect", version)
    assert "Research use only" in shown.description
    assert "1 of 20 gates failed: c2st_auc_inside_outline (normal)" in shown.description
    assert "| c2st auc inside outline | **0.99 fail** | 0.7 | 0.7 |  | <= 0.85 |" in shown.description
    assert "`1111111111111111`, validated on simulated cohort `2222222222222222`" in shown.description
    model_id = shown.source.removeprefix("models:/")
    assert f"/models/{model_id}/artifacts)" in shown.description
    names = {artifact.path for artifact in client.list_logged_model_artifacts(model_id)}
    assert {"bundle", "gates", "report.html", "MLmodel"} <= names
    assert "moved by hand" in client.get_registered_model("synspect").description.lower()


def test_the_reference_models_description_fits_every_database(mlflow_uri: str, client: MlflowClient) -> None:
    seed_registry(ModelStore(mlflow_uri), find_reference_bundle(), override="first reference model")

    version = client.get_model_version("synspect", "1")
    assert 500 < len(version.description) < 5000
    assert re.match(r"all 20 gates passed|\d+ of 20 gates failed", version.tags["gates"])


def test_a_bundle_without_a_panel_is_described_as_validated_on_nothing(tiny_bundle: Bundle) -> None:
    import dataclasses

    bare = dataclasses.replace(load_bundle(tiny_bundle.path), panel=None)

    text = describe_bundle(bare, judge_bundle(load_policy(), bare))

    assert "validated on no cohort" in text
    assert "20 of 20 gates failed" in text


def test_what_somebody_writes_into_a_description_stays(
    mlflow_uri: str, client: MlflowClient, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    store = ModelStore(mlflow_uri)
    register_release(store, tiny_bundle)
    client.update_registered_model("synspect", "ours")
    client.update_model_version("synspect", "1", "mine")

    register_release(store, build_tiny_bundle(tmp_path / "second"))

    assert client.get_registered_model("synspect").description == "ours"
    assert client.get_model_version("synspect", "1").description == "mine"


def test_an_experiment_deleted_in_mlflow_says_how_to_bring_it_back(
    mlflow_uri: str, client: MlflowClient, tiny_bundle: Bundle
) -> None:
    store = ModelStore(mlflow_uri)
    register_release(store, tiny_bundle)
    experiment = client.get_experiment_by_name("synspect-releases").experiment_id
    client.delete_experiment(experiment)

    with pytest.raises(RegistryError, match=f"mlflow experiments restore --experiment-id {experiment}"):
        register_release(store, tiny_bundle)
