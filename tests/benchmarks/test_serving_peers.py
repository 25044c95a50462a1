"""The parts of the comparison with peers that need no peer: rows, reasons, requests in their words, pins."""

import base64
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from peers.dialects import DIALECTS
from peers.environments import read_requirements
from peers.process import Running, start_peer
from peers.roster import OURS, PEERS, Peer
from peers.rounds import check_served, check_slices_equal
from peers.rows import COLUMNS, draw, to_row, to_table
from peers.servers.released import RUN_SLICES
from serving_load import Outcome

from registry.bundle.directory import load_bundle
from registry.bundle.generator import ReleasedGenerator
from serving.settings import ServiceSettings
from spect.conditions import Condition, Level, Pattern
from spect.errors import ServiceError
from spect.formats import npz
from spect.formats.heading import write_whole
from synspect.source import find_reference_bundle

ORDER = {"level": "COR", "pattern": "normal", "count": 2, "seed": 7, "start": 0}
ROOT = Path(__file__).parents[2]
# Answers everything, and starts a process in a session of its own, as Ray does.
SERVER = """
import http.server, pathlib, subprocess, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

child = subprocess.Popen(["sleep", "60"], start_new_session=True)
pathlib.Path({child!r}).write_text(str(child.pid))
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def _told(*, answers: dict[str, int], seconds: list[float], slices: int) -> dict[str, object]:
    """What the load prints: each answer finishes as long after the start as it took."""
    outcome = Outcome(seconds=seconds, finished=[(taken, slices) for taken in seconds])
    outcome.statuses.update(answers)
    return json.loads(json.dumps(outcome.summary(within=2.0, slices=slices)))


def _round(*, one_slice_seconds: float = 0.1) -> dict[str, object]:
    return {
        "start": 3.0,
        "64 slices": _told(answers={"200": 3}, seconds=[0.5, 1.0, 2.0], slices=64),
        "1 slice, 32 clients": _told(answers={"200": 2}, seconds=[one_slice_seconds] * 2, slices=1),
        "peak": _told(answers={"200": 1}, seconds=[1.0], slices=16),
        "overload": _told(answers={"200": 6, "503": 1, "TimeoutError": 1}, seconds=[1.0] * 6, slices=16),
        "memory": 300.0,
    }


def test_a_load_becomes_a_row_of_what_was_answered_until_the_last_answer() -> None:
    row = to_row("ray", [_round()])

    assert row.values["slices/s, 64 a request"] == 96.0, "three answers of 64 slices, the last after two seconds"
    assert row.values["slices/s, 1 a request"] == 20.0
    assert math.isclose(row.values["p99, ms"], 100.0)
    assert row.values["errors at twice the load"] == 0.25, "refused and never answered alike"
    assert row.values["memory, MiB"] == 300.0
    assert set(row.values) == {column.name for column in COLUMNS}


def test_a_row_is_the_median_of_its_rounds() -> None:
    row = to_row("ray", [_round(one_slice_seconds=seconds) for seconds in (0.9, 0.1, 0.2)])

    assert math.isclose(row.values["p50, ms"], 200.0)


def test_a_server_that_was_not_measured_says_why_in_its_row(tmp_path: Path) -> None:
    rows = [to_row(OURS, [_round()]), to_row("ray", [_round()], "ended with exit code 1:\n no port | no node")]

    head, rule, ours, ray = to_table(rows).splitlines()

    assert ray.startswith("| ray | not measured: ended with exit code 1: no port \\| no node |")
    assert ours.startswith(f"| {OURS} | 96.0 | 20.0 | 100 | 100 | 25.0% | 1.0 | 300 | 3.0 |")
    assert {line.replace("\\|", "").count("|") for line in (head, rule, ours, ray)} == {len(COLUMNS) + 2}
    draw(rows, tmp_path / "peers.png")
    assert (tmp_path / "peers.png").stat().st_size > 5000


def test_no_server_is_left_out_in_silence() -> None:
    with pytest.raises(ValueError, match="ray has neither a round nor a reason"):
        to_row("ray", [])


def test_a_load_that_was_not_served_whole_is_no_figure() -> None:
    told = _told(answers={"200": 1, "504": 2}, seconds=[1.0], slices=64)

    with pytest.raises(ServiceError, match=r"requests of 64 slices were .*'504': 2"):
        check_served(told)


class Answering:
    """Answers orders from the bundle, of another seed where it is told to err."""

    def __init__(self, generator: ReleasedGenerator, *, errs_by: int) -> None:
        self.generator, self.errs_by = generator, errs_by

    def fetch(self, order: Mapping[str, object]) -> bytes:
        condition = Condition(Level(order["level"]), Pattern(order["pattern"]))
        seed = order["seed"] + self.errs_by
        batch = self.generator.generate(condition, seed=seed, start=order["start"], count=order["count"])
        return write_whole(npz.write, batch)


def test_a_server_of_other_slices_is_found_out_before_anything_is_timed() -> None:
    generator = ReleasedGenerator(load_bundle(find_reference_bundle()), threads=1)

    check_slices_equal(Answering(generator, errs_by=0), generator)
    with pytest.raises(ServiceError, match=r"its 1 slices of COR/unilateral are not those of the bundle"):
        check_slices_equal(Answering(generator, errs_by=1), generator)


def test_peers_run_the_graph_on_as_many_slices_as_the_service() -> None:
    assert ServiceSettings.model_fields["batch_slices"].default == RUN_SLICES


def test_every_peer_is_asked_for_the_same_slices_in_its_own_words() -> None:
    sent = b"PK\x03\x04 and so on \x00\x00"
    answers = {
        "slices": ({}, sent),
        "mlflow": ({}, json.dumps({"predictions": [base64.b64encode(sent).decode()]}).encode()),
        "triton": ({"Inference-Header-Content-Length": "2"}, b"{}" + len(sent).to_bytes(4, "little") + sent),
    }

    assert {peer.dialect for peer in PEERS} == set(DIALECTS) == set(answers)
    assert {name: DIALECTS[name].unwrap(*answer) for name, answer in answers.items()} == dict.fromkeys(answers, sent)
    assert DIALECTS["mlflow"].wrap(ORDER) == {"inputs": [ORDER]}
    tensors = DIALECTS["triton"].wrap(ORDER)["inputs"]
    assert {tensor["name"]: tensor["data"][0] for tensor in tensors} == ORDER
    assert {tensor["datatype"] for tensor in tensors} == {"BYTES", "INT64"}


def test_peers_are_pinned_and_what_the_product_has_too_is_the_same() -> None:
    ours = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    others = {peer.requirements for peer in PEERS if peer.name != OURS}
    pins = {name: dict(line.split("==") for line in read_requirements(name)) for name in others}

    different = {(name, package) for name in pins for package in pins[name] if pins[name][package] != ours.get(package)}
    shared = {(name, package) for name, package in different if package in ours}

    assert shared == {("requirements-triton.txt", "numpy")}, "PyTriton garbles its inputs with NumPy 2"
    assert {package for _, package in different - shared} == {
        "litserve",
        "nvidia-pytriton",
        "ray[serve]",
        "tritonclient",
    }
    product = (ROOT / "pyproject.toml").read_text()
    assert not [name for name in ("litserve", "ray[serve]", "pytriton") if name in product]


@contextmanager
def _started(directory: Path, *, requirements: str = "", program: str = "") -> Iterator[Running]:
    """Start a program as if it were a peer, in an environment of its own."""
    (directory / "requirements.txt").write_text(requirements)
    (directory / "program.py").write_text(program)
    names = {"script": str(directory / "program.py"), "requirements": str(directory / "requirements.txt")}
    peer = Peer(name="another", setting="", **names)
    where = {"bundle": directory, "log": directory / "log", "venv": directory / "venv"}
    with start_peer(peer, cores=set(os.sched_getaffinity(0)), **where) as running:
        yield running


@pytest.mark.parametrize(
    ("requirements", "program", "words"),
    [
        ("--no-index\nlitserve==0.0.0\n", "", "its environment cannot be made: ERROR: No matching distribution"),
        ("", "raise SystemExit('no port is free')", "ended with exit code 1 before it was ready: no port is free"),
    ],
)
def test_a_peer_that_does_not_start_gives_one_line_of_reason(
    tmp_path: Path, requirements: str, program: str, words: str
) -> None:
    with (
        pytest.raises(ServiceError, match=words) as caught,
        _started(tmp_path, requirements=requirements, program=program),
    ):
        pass

    assert "\n" not in str(caught.value)


def test_a_peer_is_weighed_with_what_it_started_and_ended_with_it(tmp_path: Path) -> None:
    child = tmp_path / "child"

    with _started(tmp_path, program=SERVER.format(child=str(child))) as running:
        pids = (running.pid, int(child.read_text()))
        assert all(map(psutil.pid_exists, pids))
        assert running.weigh() > 10
        assert running.seconds_to_ready > 0

    assert not any(map(psutil.pid_exists, pids))
