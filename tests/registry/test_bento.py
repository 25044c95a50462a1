"""The Bento holds the champion and what serves it, and nothing that trains or talks to a registry."""

import contextlib
import importlib.metadata
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import venv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from packaging.requirements import Requirement

from registry.bento import BENTOFILE_NAME, BuiltBento, build_bento, name_version
from registry.bundle.directory import Bundle, load_bundle
from registry.bundle.generator import ReleasedGenerator
from registry.bundle.manifest import PARITY_LIMIT
from registry.bundle.promotion_note import PROMOTION_NAME, PromotionNote, save_promotion_note
from registry.follow import follow_once
from registry.policy import SHIPPED_POLICY
from registry.promotion import promote
from registry.store.facts import CHAMPION
from registry.store.model_store import ModelStore
from registry.version_gates import judge_version
from spect.conditions import parse_condition
from spect.errors import AdmissionError
from tests.support.command_line import run_synspect
from tests.support.tiny_bundle import build_tiny_bundle

ROOT = Path(__file__).parents[2]
PACKED = (*ROOT.glob("spect/**/*.py"), *ROOT.glob("serving/**/*.py"), *ROOT.glob("registry/bundle/**/*.py"))


def _requirements() -> dict[str, list[str]]:
    wanted = yaml.safe_load((ROOT / BENTOFILE_NAME).read_text())["python"]["packages"]
    by_name: dict[str, list[str]] = {}
    for line in wanted:
        by_name.setdefault(Requirement(line).name, []).append(line)
    return by_name


def test_the_bento_asks_for_what_the_project_asks_for() -> None:
    ours = [Requirement(line) for line in importlib.metadata.requires("synspect") or []]
    specifiers = {(one.name, str(one.specifier)) for one in ours}

    for lines in _requirements().values():
        for line in lines:
            assert (Requirement(line).name, str(Requirement(line).specifier)) in specifiers


def test_the_bento_knows_neither_torch_nor_mlflow() -> None:
    assert not {"torch", "mlflow", "lightning-fabric", "nilearn", "scikit-learn"} & set(_requirements())


def test_everything_the_packed_sources_import_is_asked_for() -> None:
    pattern = re.compile(r"^\s*(?:import|from) (\w+)", re.MULTILINE)
    imported = {name for path in PACKED for name in pattern.findall(path.read_text())}
    distributions = importlib.metadata.packages_distributions()
    third_party = {
        re.sub("[-_.]+", "-", distribution).lower()
        for name in imported - set(sys.stdlib_module_names) - {"spect", "serving", "registry"}
        for distribution in distributions.get(name, [])
    }

    assert third_party - {"pydantic-core"} <= set(_requirements())  # pydantic brings its core


def test_a_build_without_a_champion_is_one_line(mlflow_uri: str) -> None:
    ended = run_synspect("build", "--name", "nosuch")

    assert ended.exit_code == 2
    assert ended.sentence.startswith("model nosuch has no champion to build from; promote a version")


def test_a_champion_set_by_hand_is_not_built_where_the_policy_requires_gates(
    mlflow_uri: str, tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither from the registry nor from what a follower with another policy brought to disk."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(SHIPPED_POLICY.read_text().replace("require_gates: false", "require_gates: true"))
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    store = ModelStore(mlflow_uri)
    store.set_alias(CHAMPION, store.register_bundle(tiny_bundle))
    follow_once(store, CHAMPION, tmp_path / "followed")
    monkeypatch.setenv("SYNSPECT_POLICY", str(policy))

    for source in (None, tmp_path / "followed"):
        with pytest.raises(AdmissionError, match=r"version 1 is champion outside the gates .*; run `synspect registry"):
            build_bento(bundle_directory=source)
    assert not (tmp_path / "bentoml").exists()


@pytest.mark.parametrize("promotion", [None, "none"])
def test_a_bundle_that_nobody_promoted_is_not_built_where_the_policy_requires_gates(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, promotion: Literal["none"] | None
) -> None:
    """Neither a bare bundle, nor the candidate as a follower brought it to disk."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(SHIPPED_POLICY.read_text().replace("require_gates: false", "require_gates: true"))
    monkeypatch.setenv("SYNSPECT_POLICY", str(policy))
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    shutil.copytree(tiny_bundle.path, tmp_path / "pair" / "bundle")
    if promotion is not None:
        note = PromotionNote(version="1", promotion=promotion, reason="followed as candidate")
        save_promotion_note(note, tmp_path / "pair" / PROMOTION_NAME)

    built = run_synspect("build", "--bundle", tmp_path / "pair")

    assert built.exit_code == 1
    assert "holds a bundle that nobody promoted (" in built.sentence
    assert "which the policy refuses (require_gates: true); promote its version" in built.sentence
    assert not (tmp_path / "bentoml").exists()


@pytest.mark.e2e
def test_bentomls_own_build_in_the_source_tree_packs_the_reference_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    subprocess.run([sys.executable, "-m", "bentoml", "build"], cwd=ROOT, capture_output=True, check=True, timeout=120)

    (models,) = tmp_path.glob("bentos/synspect/*/src/models")
    assert {path.name for path in models.iterdir()} == {"reference"}
    assert load_bundle(models / "reference").sha256 == load_bundle(ROOT / "models" / "reference").sha256


def test_a_bentos_version_names_the_model_and_the_commit(tiny_bundle: Bundle) -> None:
    champion = replace(tiny_bundle, promotion=PromotionNote(version="3", promotion="gates"))
    digest = tiny_bundle.manifest_sha256[:8]
    for bundle, commit, version in (
        (champion, "a" * 40, "3-aaaaaaaaaaaa"),
        (champion, f"{'a' * 40}-dirty", "3-aaaaaaaaaaaa-dirty.12345678"),
        (champion, "unknown", "3-unknown-source.12345678"),
        (tiny_bundle, "a" * 40, f"unregistered.{digest}-aaaaaaaaaaaa"),
    ):
        assert name_version(bundle, {"git-commit": commit, "content-sha256": "1234567890"}) == version


@pytest.fixture
def champion(mlflow_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """A champion in a registry, and an empty store of Bentos."""
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    store = ModelStore(mlflow_uri)
    bundle = build_tiny_bundle(tmp_path / "bundle")
    version = store.register_bundle(bundle)
    promote(store, version, report=judge_version(store, version), who="ada")
    return bundle


def _directory(built: BuiltBento) -> Path:
    return Path(os.environ["BENTOML_HOME"]) / "bentos" / built.tag.replace(":", "/")


def _files(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


@contextlib.contextmanager
def _served(python: Path, tag: str, directory: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SYNSPECT_", "MLFLOW_", "PYTHONPATH"))}
    environment |= {"BENTOML_DO_NOT_TRACK": "true"}
    command = [str(python), "-m", "bentoml", "serve", tag, "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, cwd=directory, env=environment)
    try:
        _wait_until_ready(url, server)
        yield url
    finally:
        server.terminate()
        server.wait(timeout=30)


def _wait_until_ready(url: str, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        if server.poll() is not None:
            pytest.fail(f"the server ended with {server.returncode}")
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=2):  # noqa: S310 — loopback
                return
        except OSError:
            time.sleep(0.5)
    pytest.fail("the server was not ready in time")


def _ask(url: str, bundle: Bundle) -> NDArray[np.float32]:
    """Fetch 2 slices of COR/unilateral, seed 7, and check who answered."""
    asked = {"level": "COR", "pattern": "unilateral", "count": 2, "seed": 7, "format": "npy"}
    request = urllib.request.Request(  # noqa: S310 — loopback
        f"{url}/v1/slices", json.dumps(asked).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 — loopback
        assert answer.headers["X-Synspect-Model-Version"] == "1"
        assert answer.headers["X-Synspect-Model-Sha256"] == bundle.sha256
        counts: NDArray[np.float32] = np.load(io.BytesIO(answer.read()))
    return counts


@pytest.mark.e2e
def test_a_bento_of_the_champion_serves_its_slices(champion: Bundle, tmp_path: Path) -> None:
    built = build_bento()

    listed = subprocess.run(
        [sys.executable, "-m", "bentoml", "list", "--output", "json"], capture_output=True, text=True, check=True
    )
    assert [entry["tag"] for entry in json.loads(listed.stdout)] == [built.tag]
    with _served(Path(sys.executable), built.tag, tmp_path) as url:
        counts = _ask(url, champion)
    np.testing.assert_array_equal(
        counts, ReleasedGenerator(champion).generate(parse_condition("COR", "unilateral"), seed=7, count=2).counts
    )


@pytest.mark.e2e
def test_a_bento_holds_what_serves_and_the_same_twice(
    champion: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build_bento()
    files = _files(_directory(first))

    rooms = {Path(name).parts[1] for name in files if name.startswith("src/")}
    assert rooms == {"bentofile.yaml", "models", "registry", "serving", "spect"}
    registry_files = {name for name in files if name.startswith("src/registry/")}
    assert {Path(name).parts[2] for name in registry_files} == {"__init__.py", "bundle"}
    models = {Path(name).relative_to("src/models").as_posix() for name in files if name.startswith("src/models/")}
    bundled = {*champion.manifest.files, "manifest.json"}
    assert models == {"champion/promotion.json", *(f"champion/bundle/{name}" for name in bundled)}
    assert not [name for name in files if name.endswith(".pyc") or "test" in name]
    info = yaml.safe_load(files["bento.yaml"])
    expected = {"model-version": "1", "model-sha256": champion.sha256, "run-id": "tiny", "promotion": "gates"}
    assert expected.items() <= info["labels"].items()
    assert info["labels"]["manifest-sha256"] == champion.manifest_sha256
    assert info["version"] == first.tag.split(":")[1]
    assert info["version"].startswith("1-")

    again = build_bento()
    assert (again.tag, again.was_there, first.was_there) == (first.tag, True, False)

    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "elsewhere"))
    elsewhere = _files(_directory(build_bento()))
    told = (yaml.safe_load(elsewhere.pop("bento.yaml")), yaml.safe_load(files.pop("bento.yaml")))
    assert elsewhere == files
    for description in told:
        del description["creation_time"]  # the one thing that BentoML writes anew each time
    assert told[0] == told[1]


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.timeout(1200)
def test_a_clean_environment_of_the_bentos_own_requirements_serves_the_same_slices(
    champion: Bundle, tmp_path: Path
) -> None:
    """What the image does, without Docker: a fresh environment, the Bento's requirements and nothing else, serve."""
    built = build_bento()
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    requirements = _directory(built) / "env" / "python" / "requirements.txt"
    install = [str(python), "-m", "pip", "install", "--quiet", "--requirement", str(requirements)]
    installed = subprocess.run(install, capture_output=True, text=True, check=False)
    if "No matching distribution" in installed.stderr:
        pytest.skip("the package index is out of reach")
    assert installed.returncode == 0, installed.stderr
    for absent in ("torch", "mlflow", "synspect"):
        found = subprocess.run([str(python), "-m", "pip", "show", absent], capture_output=True, check=False)
        assert found.returncode != 0, absent

    with _served(python, built.tag, tmp_path) as url:
        counts = _ask(url, champion)

    expected = ReleasedGenerator(champion).generate(parse_condition("COR", "unilateral"), seed=7, count=2).counts
    # The package set is another one: equal within the parity limit, which on one machine has been equal to the bit.
    assert np.abs(counts - expected).max() <= PARITY_LIMIT * champion.manifest.max_counts
