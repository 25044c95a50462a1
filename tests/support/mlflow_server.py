"""A real `mlflow server` on loopback, with its database and its artifacts behind it; it takes some 20 s to boot."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from synspect.server_process import find_free_port

_BOOT_SECONDS = 280.0
ADMIN_PASSWORD = "of-this-test-1234"  # noqa: S105 — of the user admin, where the server asks for users


@contextmanager
def running_mlflow_server(
    directory: Path, *, database: str | None = None, app: str | None = None, port: int = 5000
) -> Iterator[str]:
    """Yield the address of a server that keeps its artifacts in `directory` and hands them out itself."""
    port = find_free_port(preferred=port)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", database or f"sqlite:///{directory / 'server.db'}"]
    command += ["--artifacts-destination", str(directory / "artifacts")]
    if app is not None:
        command += ["--app-name", app]
    environment = {
        **os.environ,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "of this test",
    }
    environment["MLFLOW_AUTH_ADMIN_PASSWORD"] = ADMIN_PASSWORD
    environment.pop("MLFLOW_TRACKING_URI", None)
    with (directory / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=directory, env=environment, stdout=log, stderr=log)
        try:
            _wait(f"http://127.0.0.1:{port}", process, directory / "server.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=30)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _BOOT_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):  # noqa: S310 — the address above
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"mlflow server did not boot: {log.read_text()[-2000:]}")
