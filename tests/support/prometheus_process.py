"""The real Prometheus and Alertmanager on loopback, with the files of monitoring/; without them the test skips."""

import contextlib
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from synspect.server_process import find_free_port
from tests.support.waiting import PATIENCE, wait_for

MONITORING = Path(__file__).parents[2] / "monitoring"


def require_program(*names: str) -> str:
    """Return the path of a program under the first of its names that is installed; skip the test without one."""
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip(f"{names[0]} is not installed: apt-get install prometheus prometheus-alertmanager")
    return found


def run_tool(name: str, *arguments: str, given: bytes | None = None) -> str:
    """Run promtool or amtool, return what it says; fail with that where it finds something wrong."""
    command = [require_program(name), *arguments]
    run = subprocess.run(command, input=given, capture_output=True, timeout=280, check=False)
    said = (run.stdout + run.stderr).decode()
    assert run.returncode == 0, said
    return said


def load_yaml(name: str) -> Any:
    """Read a file of monitoring/."""
    return yaml.safe_load((MONITORING / name).read_text())


class Webhook:
    """A receiver that keeps the alerts it is told."""

    def __init__(self) -> None:
        self.alerts: list[dict[str, Any]] = []
        keep = self.alerts.extend

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                keep(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["alerts"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/alerts"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def firing(self, name: str) -> list[dict[str, Any]]:
        """Alerts of one name that were told as firing."""
        return [one for one in self.alerts if one["status"] == "firing" and one["labels"]["alertname"] == name]


class Prometheus:
    """A running Prometheus."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path: str, **parameters: str) -> Any:
        """Ask its API; an answer that is no success fails."""
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=60).json()
        assert answer["status"] == "success", (path, parameters, answer)
        return answer["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Evaluate an expression now."""
        found: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return found

    def value(self, expression: str) -> float | None:
        """Evaluate an expression with one result; None where there is none."""
        found = self.query(expression)
        return float(found[0]["value"][1]) if found else None


@contextlib.contextmanager
def running_prometheus(directory: Path, *, targets: Mapping[str, str], alertmanager_port: int) -> Iterator[Prometheus]:
    """Start Prometheus with monitoring/prometheus.yml: other addresses, two seconds for fifteen, the same rules."""
    settings = load_yaml("prometheus.yml")
    settings["global"] = {"scrape_interval": "2s", "evaluation_interval": "2s"}
    settings["rule_files"] = [str(MONITORING / name) for name in settings["rule_files"]]
    settings["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{alertmanager_port}"]
    for job in settings["scrape_configs"]:
        job["static_configs"][0]["targets"] = [targets[job["job_name"]]]
    file = directory / "prometheus.yml"
    file.write_text(yaml.safe_dump(settings))
    port = find_free_port(preferred=0)
    arguments = [f"--config.file={file}", f"--storage.tsdb.path={directory / 'tsdb'}"]
    command = [require_program("prometheus"), *arguments, f"--web.listen-address=127.0.0.1:{port}"]
    with _running(command, directory / "prometheus.log", f"http://127.0.0.1:{port}/-/ready"):
        yield Prometheus(port)


@contextlib.contextmanager
def running_alertmanager(directory: Path, *, port: int, webhook_url: str) -> Iterator[None]:
    """Start Alertmanager with monitoring/alertmanager.yml: another receiver's address, and it tells at once."""
    settings = load_yaml("alertmanager.yml")
    for route in (settings["route"], *settings["route"]["routes"]):
        route["group_wait"] = "0s"
    settings["receivers"][0]["webhook_configs"][0]["url"] = webhook_url
    file = directory / "alertmanager.yml"
    file.write_text(yaml.safe_dump(settings))
    arguments = [f"--config.file={file}", f"--storage.path={directory / 'alertmanager'}", "--cluster.listen-address="]
    command = [require_program("prometheus-alertmanager", "alertmanager"), *arguments]
    command.append(f"--web.listen-address=127.0.0.1:{port}")
    with _running(command, directory / "alertmanager.log", f"http://127.0.0.1:{port}/-/ready"):
        yield


@contextlib.contextmanager
def _running(command: Sequence[str], log_path: Path, ready_url: str) -> Iterator[None]:
    with log_path.open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            wait_for(f"{ready_url} ready", lambda: httpx.get(ready_url, timeout=PATIENCE).is_success)
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
