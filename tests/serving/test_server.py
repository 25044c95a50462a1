"""A real BentoML server with two workers on loopback: seeds, metrics, hot swap under load, and how it is started."""

import concurrent.futures
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from registry.bundle.directory import Bundle
from spect.formats import npz
from synspect.server_process import ServerOptions, ServerProcess, find_free_port, start_server
from tests.support.followed_directory import make_pair, switch
from tests.support.waiting import PATIENCE, read_versions, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

WORKERS = 2
ASKED = {"level": "COR", "pattern": "unilateral", "count": 1, "seed": 7}
START = "from synspect.cli import main; main()"


@pytest.fixture(scope="module")
def server(followed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    options = ServerOptions(
        bundle_dir=followed,
        port=find_free_port(preferred=0),
        workers=WORKERS,
        environment={"SYNSPECT_POLL_SECONDS": "0.2", "SYNSPECT_DRIFT_SAMPLE_EVERY": "1"},
    )
    with start_server(options, log_path=tmp_path_factory.mktemp("log") / "server.log") as running:
        wait_for_both_workers(running)
        yield running


def wait_for_both_workers(server: ServerProcess) -> None:
    """A worker that has loaded its model has written its gauge files."""
    shared = Path(environment_of(server)["BENTOML_HOME"]) / "prometheus_multiproc_dir"
    wait_for("both workers", lambda: len(list(shared.glob("gauge_livemax_*.db"))) == WORKERS)


def environment_of(server: ServerProcess) -> dict[str, str]:
    entries = Path(f"/proc/{server.pid}/environ").read_bytes().decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def post(server: ServerProcess, *, timeout: httpx.Timeout | float = PATIENCE, **body: object) -> httpx.Response:
    """Ask on a connection of its own, so that any worker may answer."""
    return httpx.post(f"{server.url}/v1/slices", json={**ASKED, **body}, timeout=timeout)


def totals(server: ServerProcess) -> dict[str, float]:
    text = httpx.get(f"{server.url}/metrics", timeout=PATIENCE).text
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0) + sample.value
    return found


def test_slices_are_bit_equal_whatever_the_worker_the_order_and_the_batch(server: ServerProcess) -> None:
    together = npz.load_batch(post(server, count=64).content).counts
    order = np.random.default_rng(0).permutation(64)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda start: post(server, start=int(start)), order)
        for start, answer in zip(order, answers, strict=True):
            np.testing.assert_array_equal(npz.load_batch(answer.content).counts[0], together[start])


def test_metrics_add_up_over_both_workers(server: ServerProcess) -> None:
    before = totals(server)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda seed: post(server, seed=seed, count=3).status_code, range(40)))
    assert statuses == [200] * 40
    for _ in range(6):  # whichever worker is asked, it tells of both
        after = totals(server)
        assert after["synspect_slices_generated_total"] - before["synspect_slices_generated_total"] == 120
        assert after["synspect_inference_batch_slices_sum"] - before["synspect_inference_batch_slices_sum"] == 120
        assert after["synspect_model_info"] == 1
        assert after["synspect_queue_slices"] == 0
    shared = Path(environment_of(server)["BENTOML_HOME"]) / "prometheus_multiproc_dir"
    assert len(list(shared.glob("counter_*.db"))) == WORKERS


def test_no_series_is_named_by_what_a_client_asks_for(server: ServerProcess) -> None:
    httpx.get(f"{server.url}/invented/path", timeout=PATIENCE)
    text = httpx.get(f"{server.url}/metrics", timeout=PATIENCE).text
    assert "invented" not in text
    assert 'route="other",status="404"' in text


def test_drift_is_measured_beside_the_path_and_shared_by_the_workers(server: ServerProcess) -> None:
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda seed: post(server, level="BG", pattern="normal", seed=seed, count=4), range(10)))

    def gathered() -> list[int]:
        answers = [httpx.get(f"{server.url}/v1/drift", timeout=PATIENCE).json() for _ in range(4)]
        return [
            next(c["gathered"] for c in a["conditions"] if (c["level"], c["pattern"]) == ("BG", "normal"))
            for a in answers
        ]

    wait_for("a window of 40 slices, whoever is asked", lambda: gathered() == [40] * 4)


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "/v1/slices", {}, 405),
        ("GET", "/v1/nothing", {}, 404),
        ("POST", "/readyz", {}, 405),
        ("POST", "/metrics", {}, 405),
        ("POST", "/v1/slices", {"content": b"{", "headers": {"Content-Type": "application/json"}}, 400),
        ("POST", "/v1/slices", {"content": b"{}"}, 415),
        ("POST", "/v1/slices", {"json": {**ASKED, "pattern": "bilateral", "level": "CER"}}, 422),
        ("POST", "/v1/slices", {"content": b" " * 100_000, "headers": {"Content-Type": "application/json"}}, 413),
    ],
)
def test_every_refusal_of_the_real_server_is_a_problem(
    server: ServerProcess, method: str, path: str, options: dict, status: int
) -> None:
    response = httpx.request(method, f"{server.url}{path}", timeout=PATIENCE, **options)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["detail"]


def test_a_client_that_goes_away_frees_its_place(server: ServerProcess) -> None:
    before = totals(server)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{server.url}/v1/slices",
            json={**ASKED, "count": 512, "mean_counts": 50},
            timeout=httpx.Timeout(PATIENCE, read=0.2),
        )
    rejected = "synspect_rejected_requests_total"
    wait_for("the client counted", lambda: totals(server)[rejected] == before[rejected] + 1)
    wait_for("an empty queue", lambda: totals(server)["synspect_queue_slices"] == 0)


def test_a_new_champion_is_taken_up_without_a_failed_request(server: ServerProcess, followed: Path) -> None:
    seen: list[tuple[int, str, str]] = []
    stopping = threading.Event()

    def ask(client_number: int) -> None:
        count = 0
        while not stopping.is_set():
            count += 1
            answer = post(server, seed=client_number, count=1 + count % 5)
            version = answer.headers.get("x-synspect-model-version", "")
            seen.append((answer.status_code, version, npz.load_batch(answer.content).model_version))

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(ask, number) for number in range(4)]
        wait_for("answers of the first", lambda: len(seen) > 8)
        switch(followed, make_pair(followed, "b", version="2", output_gain=0.9, promotion="override"))
        wait_for("the second in every worker", lambda: read_versions(server.url) == {"2"})
        broken = make_pair(followed, "c", version="3")
        with (broken / "bundle" / "card.md").open("ab") as card:
            card.write(b"!")
        switch(followed, broken)
        wait_for("both workers to refuse the third", lambda: count_reloads(server, "refused") == WORKERS)
        stopping.set()
        for client in clients:
            client.result(120)
    assert {status for status, _, _ in seen} == {200}
    assert {version for _, version, _ in seen} == {"1", "2"}
    assert all(told == held for _, told, held in seen)
    assert httpx.get(f"{server.url}/v1/model", timeout=PATIENCE).json()["promotion"] == "override"
    assert count_reloads(server, "swapped") == WORKERS
    assert read_versions(server.url) == {"2"}


def count_reloads(server: ServerProcess, result: str) -> float:
    text = httpx.get(f"{server.url}/metrics", timeout=PATIENCE).text
    (line,) = [line for line in text.splitlines() if f'synspect_model_reloads_total{{result="{result}"}}' in line]
    return float(line.rpartition(" ")[2])


def run_serve(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", START, "serve", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env={**os.environ, **environment}
    )


def one_error(run: subprocess.CompletedProcess[str]) -> str:
    lines = run.stderr.strip().splitlines()
    assert len(lines) == 1, run.stderr
    assert lines[0].startswith("error: ")
    assert run.returncode != 0
    return lines[0]


def test_a_busy_port_ends_in_one_line(served_bundle: Bundle) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        run = run_serve("--bundle", str(served_bundle.path), "--port", str(port))
    assert f"port {port} of 127.0.0.1 is in use; choose another with --port" in one_error(run)


def test_a_changed_bundle_ends_in_one_line_before_the_server_starts(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, "a", version="1")
    with (pair / "bundle" / "generator.onnx").open("ab") as file:
        file.write(b"x")
    run = run_serve("--bundle", str(pair), "--port", str(find_free_port(preferred=0)))
    assert "sha256" in one_error(run)
    assert run.returncode == 2


@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="this machine has a GPU")
def test_a_required_gpu_that_is_missing_ends_in_one_line(served_bundle: Bundle) -> None:
    run = run_serve("--bundle", str(served_bundle.path), "--port", str(find_free_port(preferred=0)), "--require-gpu")
    assert "GPU was required" in one_error(run)
    assert run.returncode == 1


def test_serve_says_its_address_and_stops_when_asked(served_bundle: Bundle) -> None:
    port = find_free_port(preferred=0)
    command = [sys.executable, "-u", "-c", START, "serve", "--bundle", str(served_bundle.path), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            lines = iter(process.stdout.readline, "")
            assert any(f"http://127.0.0.1:{port}" in line and line.startswith("serving") for line in lines)
            assert httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=PATIENCE).status_code == 200
        finally:
            process.terminate()
        assert process.wait(120) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/livez", timeout=2)
