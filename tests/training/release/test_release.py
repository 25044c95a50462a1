import json
import re
from dataclasses import replace

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from cohort.store import build_cohort, save_cohort
from registry.bundle.directory import load_bundle
from registry.bundle.generator import ReleasedGenerator
from registry.store.model_store import ModelStore
from spect.conditions import CONDITIONS, Condition, Level, Pattern
from spect.errors import BundleError, CohortError, RegistryError
from spect.profile import ReferenceProfile
from synspect.cli import app
from tests.support.toy_slices import toy_cohort
from training.release.own_output import measure_own_output
from training.release.release import ReleaseNumbers, release
from training.validation.samples import SliceNumbers

FEW = ReleaseNumbers(panel=SliceNumbers(synthetic=16), profile=256)


@pytest.fixture(scope="module")
def test_directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("cohort") / "test"
    save_cohort(toy_cohort(12, seed=31), directory)
    return directory


@pytest.fixture(scope="module")
def released(taught_run, test_directory, tmp_path_factory):
    destination = tmp_path_factory.mktemp("released") / "bundle"
    return release(taught_run, test_directory, destination=destination, numbers=FEW, workers=1)


def test_a_release_is_a_verified_bundle_whose_panel_is_of_its_own_graph(released) -> None:
    bundle = load_bundle(released.bundle.path)
    assert bundle.panel.onnx_sha256 == bundle.sha256
    assert bundle.manifest.validation["values"]["mean_counts_ratio"].keys() == set(Pattern)
    assert released.version is None
    assert ReleasedGenerator(bundle).generate(Condition(Level.CORTEX, Pattern.NORMAL), seed=7, count=2).counts.shape[
        1:
    ] == (
        64,
        64,
    )


def test_its_profile_describes_the_test_cohort_and_the_models_own_output(released) -> None:
    profile = ReferenceProfile.from_json(released.bundle.profile_path.read_bytes())
    assert profile.reference_source == "simulated"
    batch = ReleasedGenerator(load_bundle(released.bundle.path)).generate(CONDITIONS[0], seed=1, count=1)
    assert profile.intensity_unit == batch.intensity_unit == "mL/100g/min"
    assert profile.profile_slices == 256
    assert set(profile.conditions) == set(map(str, CONDITIONS))
    assert all(condition.reference.slices == 12 for condition in profile.conditions.values())


def test_its_card_tells_commands_seeds_fingerprints_and_every_gates_verdict(released, taught_run) -> None:
    card = released.bundle.card
    assert "synspect train TRAIN --preset smoke --dataset A --seed 0 --set width=2" in card
    assert "| trained on | simulated (simulator toy), " in card
    assert "| proven on | simulated (simulator toy), " in card
    assert "never for diagnosis" in card
    assert released.bundle.panel.cohort_fingerprint[:16] in card
    assert taught_run.record().cohort_fingerprint[:16] in card
    assert str(taught_run.path.parent) not in card
    assert "| training | 960 images at 8.0 a second, about 2 min, in 32-true; 2 cores of an abacus |" in card
    assert "MB, ONNX opset 20, " in card
    assert "of the model range, the largest of batches of 1, 3, 8, 64 |" in card
    assert re.search(r"\| time per slice \| [\d.]+ ms in a batch of 1 and [\d.]+ ms in a batch of 32; ", card)
    for row in released.gates.gates:
        assert f"| {row.metric} | {row.cell} |" in card
    for line in card.splitlines():
        if "](" in line:
            assert (released.bundle.path / line.split("](")[1].rstrip(")")).is_file()


def test_nothing_is_left_in_the_run_and_an_existing_bundle_is_not_touched(released, taught_run, test_directory) -> None:
    assert not list(taught_run.path.glob(".release-*"))
    with pytest.raises(BundleError, match="never changed"):
        release(
            taught_run,
            test_directory,
            destination=released.bundle.path,
            numbers=FEW,
            workers=1,
        )


def test_a_cohort_without_a_served_condition_is_refused_before_any_work(taught_run, tmp_path) -> None:
    cohort = toy_cohort(2, seed=32)
    partial = cohort.take((cohort.level != "CER").nonzero()[0])
    save_cohort(build_cohort(partial.arrays(), partial.description), tmp_path / "partial")
    with pytest.raises(CohortError, match="no slice of CER/normal, CER/unilateral"):
        release(taught_run, tmp_path / "partial", destination=tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_cohort_in_another_unit_is_refused_before_any_work(taught_run, tmp_path) -> None:
    cohort = toy_cohort(2, seed=33)
    other = build_cohort(cohort.arrays(), replace(cohort.description, intensity_unit="Bq/ml"))
    save_cohort(other, tmp_path / "other")
    with pytest.raises(CohortError, match="unit is Bq/ml"):
        release(taught_run, tmp_path / "other", destination=tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_an_unreachable_registry_is_said_before_any_work(taught_run, test_directory, tmp_path) -> None:
    with pytest.raises(RegistryError):
        release(
            taught_run,
            test_directory,
            destination=tmp_path / "bundle",
            store=ModelStore("http://127.0.0.1:9"),
        )
    assert not (tmp_path / "bundle").exists()


def test_the_own_output_is_the_same_for_any_number_of_processes(released) -> None:
    bundle = released.bundle
    alone, shared = (
        measure_own_output(bundle.generator_path, bundle.manifest, per_condition=5, workers=workers)
        for workers in (1, 2)
    )
    for condition in CONDITIONS:
        for name, values in alone[condition].items():
            assert (values == shared[condition][name]).all()


@pytest.mark.e2e
def test_the_command_registers_a_candidate_and_replays_the_run(
    taught_run, test_directory, mlflow_uri, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("SYNSPECT_HOME", str(tmp_path))
    answer = CliRunner().invoke(
        app,
        ["release", str(taught_run.path), "--test", str(test_directory), "--profile-slices", "256", "--workers", "1",
         "--json"],
    )  # fmt: skip
    assert answer.exit_code == 0, answer.output
    said = json.loads(answer.stdout)
    store = ModelStore(mlflow_uri)
    assert store.alias_version("candidate") == said["version"] == "1"
    (version,) = store.versions()
    assert version.tags["run"] == "taught"
    client = MlflowClient(mlflow_uri, mlflow_uri)
    trained = client.get_run(version.mlflow_run_id)
    experiment = client.get_experiment(trained.info.experiment_id)
    assert experiment.name == f"synspect-smoke-simulated-{taught_run.record().cohort_fingerprint[:8]}"
    model = client.get_logged_model(version.logged_model_id)
    assert (model.experiment_id, model.source_run_id) == (experiment.experiment_id, version.mlflow_run_id)
    assert "report.html" in {file.path for file in client.list_logged_model_artifacts(version.logged_model_id)}
    shown = client.get_model_version("synspect", "1").description
    assert f"[training run](#/experiments/{experiment.experiment_id}/runs/{version.mlflow_run_id})" in shown
    assert store.download("1", tmp_path / "downloaded").sha256 == said["sha256"]


def test_validate_writes_a_report_beside_and_prints_json(released, test_directory, tmp_path) -> None:
    before = sorted(path.name for path in released.bundle.path.rglob("*"))
    report = tmp_path / "report.html"
    answer = CliRunner().invoke(
        app,
        ["validate", str(released.bundle.path), str(test_directory), "--quick", "--report", str(report), "--json",
         "--workers", "1"],
    )  # fmt: skip
    assert answer.exit_code == 0, answer.output
    said = json.loads(answer.stdout)
    assert said["panel"]["onnx_sha256"] == released.bundle.sha256
    assert report.read_text().startswith("<!doctype html>")
    assert sorted(path.name for path in released.bundle.path.rglob("*")) == before
