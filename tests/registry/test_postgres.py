"""The registry on a real PostgreSQL: lengths and transactions that SQLite does not mind, and the team's set-up."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.follow import follow_once
from registry.promotion import promote, read_history, rollback
from registry.registration import register_release
from registry.seeding import seed_registry
from registry.store.facts import CHAMPION
from registry.store.model_store import ModelStore
from registry.version_gates import judge_version
from spect.errors import GateError
from synspect.source import find_reference_bundle
from tests.support.mlflow_server import running_mlflow_server
from tests.support.tiny_bundle import build_tiny_bundle

pytestmark = [pytest.mark.postgres, pytest.mark.e2e]

BAD = {("c2st_auc_inside_outline", "normal"): {"value": 0.99, "low": 0.98, "high": 1.0}}
LONGEST_REASON = "ü" * 500


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """An empty database: SYNSPECT_TEST_POSTGRES, or a cluster of this test's own where PostgreSQL is installed."""
    pytest.importorskip("psycopg2", reason="psycopg2-binary is not installed")
    given = os.environ.get("SYNSPECT_TEST_POSTGRES")
    if given:
        yield given
        return
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = str(binaries[-1]) if binaries else shutil.which("initdb")
    if found is None:
        pytest.skip("no PostgreSQL: set SYNSPECT_TEST_POSTGRES to an empty database, or install postgresql")
    with _running_cluster(Path(found).parent) as url:
        yield url


class _running_cluster:  # noqa: N801 — used as a function
    """A cluster in a temporary directory, reached through its socket alone."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        # PostgreSQL refuses to run as root.
        self._user = "postgres" if os.getuid() == 0 else None

    def __enter__(self) -> str:
        self._directory = tempfile.mkdtemp(prefix="synspect-postgres-")
        if self._user:
            shutil.chown(self._directory, self._user)
        self._run("initdb", "--pgdata", f"{self._directory}/data", "--username", "synspect", "--auth", "trust")
        options = f"-c listen_addresses='' -k {self._directory}"
        self._run("pg_ctl", "start", "--wait", "-D", f"{self._directory}/data", "-o", options, "-l", "/dev/null")
        self._run("createdb", "--host", self._directory, "--username", "synspect", "synspect")
        return f"postgresql+psycopg2://synspect@/synspect?host={self._directory}"

    def __exit__(self, *_: object) -> None:
        self._run("pg_ctl", "stop", "--mode", "fast", "-D", f"{self._directory}/data")
        shutil.rmtree(self._directory)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._binaries / program), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/", user=self._user, timeout=60)


def test_versions_promotions_and_rollbacks_on_postgresql(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNSPECT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    store = ModelStore(postgres, name="direct")
    seed_registry(store, find_reference_bundle(), override="the first")
    bad = register_release(store, build_tiny_bundle(tmp_path / "bad", changes=BAD))
    better = register_release(store, build_tiny_bundle(tmp_path / "better"))

    with pytest.raises(GateError, match="worse_than_champion"):  # validated on another cohort
        promote(store, bad, report=judge_version(store, bad))
    promote(store, bad, report=judge_version(store, bad), override=LONGEST_REASON, who="ada")
    promote(store, better, report=judge_version(store, better), who="ada")
    followed = follow_once(store, CHAMPION, tmp_path / "followed")
    back = rollback(store, who="bob")

    assert followed.bundle.version == better
    assert (back.version, back.promotion, back.reason) == (bad, "override", LONGEST_REASON)
    assert [reign.version for reign in read_history(store).reigns()] == ["1", "2", "3", "2"]
    assert not (tmp_path / "mlruns").exists()  # artifacts lie in the home, not where the command was started


@pytest.mark.slow
def test_a_team_promotes_through_a_server_on_postgresql(postgres: str, tmp_path: Path) -> None:
    with running_mlflow_server(tmp_path, database=postgres) as url:
        store = ModelStore(url, name="team")
        bad = register_release(store, build_tiny_bundle(tmp_path / "bad", changes=BAD))
        promote(store, bad, report=judge_version(store, bad), override=LONGEST_REASON, who="ada")
        good = register_release(store, build_tiny_bundle(tmp_path / "good"))
        promote(store, good, report=judge_version(store, good), who="bob")

        assert follow_once(store, CHAMPION, tmp_path / "followed").bundle.version == good
        assert rollback(store).reason == LONGEST_REASON
