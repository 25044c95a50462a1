"""The Bento holds the champion and what serves it, and nothing that trains or talks to a registry."""

import importlib.metadata
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement

from registry.bento import BENTOFILE_NAME, build_bento
from registry.promotion import judge_version, promote
from registry.store import ModelStore
from spect.errors import RegistryError
from tests.support.drift_samples import make_profile
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
    with pytest.raises(RegistryError, match="has no champion to build from"):
        build_bento()


def _wait_until_ready(url: str, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(120):
        if server.poll() is not None:
            pytest.fail(f"the server ended with {server.returncode}")
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=2):  # noqa: S310 — loopback
                return
        except OSError:
            time.sleep(0.5)
    pytest.fail("the server was not ready within a minute")


@pytest.mark.e2e
def test_a_bento_of_the_champion_serves_its_slices(
    mlflow_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    store = ModelStore(mlflow_uri)
    bundle = build_tiny_bundle(tmp_path / "bundle", profile=make_profile().to_json())
    version = store.register_bundle(bundle)
    promote(store, version, report=judge_version(store, version), who="ada")

    built = build_bento()

    source = tmp_path / "bentoml" / "bentos" / built.tag.replace(":", "/") / "src"
    assert built.version == version
    assert not (source / "registry" / "store.py").exists()
    assert not (source / "training").exists()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SYNSPECT_", "MLFLOW_"))}
    environment |= {"BENTOML_DO_NOT_TRACK": "true"}
    command = [sys.executable, "-m", "bentoml", "serve", built.tag, "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, cwd=tmp_path, env=environment)
    try:
        _wait_until_ready(url, server)
        asked = {"level": "COR", "pattern": "unilateral", "count": 2, "seed": 7, "format": "json"}
        request = urllib.request.Request(  # noqa: S310 — loopback
            f"{url}/v1/slices", json.dumps(asked).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 — loopback
            fields = json.load(answer)
            assert answer.headers["X-Synspect-Model-Version"] == version
            assert answer.headers["X-Synspect-Model-Sha256"] == bundle.sha256
    finally:
        server.terminate()
        server.wait(timeout=30)
    assert np.asarray(fields["counts"]).shape == (2, 64, 64)
