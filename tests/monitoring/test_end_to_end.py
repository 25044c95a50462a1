"""A two-worker server under the real Prometheus and Alertmanager: what is asked adds up, drift reaches a receiver."""

import concurrent.futures
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from registry.bundle.directory import load_bundle
from registry.bundle.promotion_note import PROMOTION_NAME, PromotionNote, save_promotion_note
from registry.follow_metrics import FollowMetrics
from synspect.server_process import ServerOptions, ServerProcess, find_free_port, start_server
from synspect.source import find_reference_bundle
from tests.support.followed_directory import switch
from tests.support.prometheus_process import (
    MONITORING,
    Prometheus,
    Webhook,
    require_program,
    run_tool,
    running_alertmanager,
    running_prometheus,
)
from tests.support.rereleased import rerelease, scaled
from tests.support.waiting import PATIENCE, read_versions, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

CONDITION = {"level": "COR", "pattern": "normal"}
WINDOW = 32


@dataclass(frozen=True)
class Watched:
    """The whole set-up: a server, what watches it, and who is told."""

    server: ServerProcess
    prometheus: Prometheus
    webhook: Webhook
    followed: Path

    def ask(self, seeds: range, *, count: int) -> Counter[int]:
        """Ask for slices, each on a connection of its own so that any worker may answer; return the statuses."""

        def one(seed: int) -> int:
            body = {**CONDITION, "seed": seed, "count": count}
            return httpx.post(f"{self.server.url}/v1/slices", json=body, timeout=PATIENCE).status_code

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            return Counter(pool.map(one, seeds))

    def samples(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """What the server tells now."""
        text = httpx.get(f"{self.server.url}/metrics", timeout=PATIENCE).text
        return {
            (sample.name.removeprefix("synspect_"), frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


def pair_of(directory: Path, name: str) -> Path:
    """A followed pair of the reference model, as it is or with its output scaled."""
    pair = directory / "pairs" / name
    reference = find_reference_bundle()
    if name == "sound":
        shutil.copytree(reference, pair / "bundle")
    else:
        rerelease(load_bundle(reference), pair / "bundle", scaled(0.8))
    save_promotion_note(PromotionNote(version=name, promotion="gates", reason="why"), pair / PROMOTION_NAME)
    return pair


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    require_program("prometheus")
    require_program("prometheus-alertmanager", "alertmanager")
    directory = tmp_path_factory.mktemp("watched")
    followed = directory / "followed"
    switch(followed, pair_of(followed, "sound"))
    follower, follower_port = FollowMetrics(), find_free_port(preferred=0)
    follower.set_version("champion", PromotionNote(version="sound", promotion="gates", reason="why"))
    follower.note_success()
    follower.serve("127.0.0.1", follower_port)
    environment = {
        "SYNSPECT_POLL_SECONDS": "0.2",
        "SYNSPECT_DRIFT_SAMPLE_EVERY": "1",
        "SYNSPECT_DRIFT_WINDOW_SLICES": str(WINDOW),
        "SYNSPECT_DRIFT_CPU_SHARE": "1",
    }
    options = ServerOptions(bundle_dir=followed, port=find_free_port(preferred=0), workers=2, environment=environment)
    alertmanager_port = find_free_port(preferred=0)
    targets = {"synspect": f"127.0.0.1:{options.port}", "synspect-follow": f"127.0.0.1:{follower_port}"}
    webhook = Webhook()
    with (
        start_server(options, log_path=directory / "server.log") as server,
        running_alertmanager(directory, port=alertmanager_port, webhook_url=webhook.url),
        running_prometheus(directory, targets=targets, alertmanager_port=alertmanager_port) as prometheus,
    ):
        wait_for("both workers ready", lambda: count_workers(server) == 2)
        yield Watched(server=server, prometheus=prometheus, webhook=webhook, followed=followed)
    webhook.close()


def count_workers(server: ServerProcess) -> int:
    """Workers that have loaded their model have written their gauges."""
    entries = Path(f"/proc/{server.pid}/environ").read_bytes().decode().split("\0")
    home = next(entry.removeprefix("BENTOML_HOME=") for entry in entries if entry.startswith("BENTOML_HOME="))
    return len(list((Path(home) / "prometheus_multiproc_dir").glob("gauge_livemax_*.db")))


def test_what_two_workers_tell_is_exactly_what_was_asked(watched: Watched) -> None:
    assert watched.ask(range(20), count=2) == {200: 20}
    for _ in range(3):
        assert (
            httpx.post(f"{watched.server.url}/v1/slices", json={**CONDITION, "count": 0}, timeout=PATIENCE).status_code
            == 422
        )
    for number in range(4):
        assert httpx.get(f"{watched.server.url}/v1/invented/{number}", timeout=PATIENCE).status_code == 404
    assert httpx.get(f"{watched.server.url}/v1/slices", timeout=PATIENCE).status_code == 405
    route = "/v1/slices"
    expected = {
        ("slices_generated_total", *CONDITION.items()): 40,
        ("request_duration_seconds_count", ("route", route), ("status", "200")): 20,
        ("request_duration_seconds_count", ("route", route), ("status", "422")): 3,
        ("request_duration_seconds_count", ("route", route), ("status", "405")): 1,
        ("request_duration_seconds_count", ("route", "other"), ("status", "404")): 4,
        ("queue_wait_seconds_count",): 20,
        ("inference_batch_slices_sum",): 40,
        ("rejected_requests_total", ("reason", "request")): 3,
        ("rejected_requests_total", ("reason", "not_found")): 4,
        ("rejected_requests_total", ("reason", "method_not_allowed")): 1,
        ("queue_slices",): 0,
        ("drift_slices_total", ("outcome", "offered")): 40,
        ("drift_slices_total", ("outcome", "measured")): 40,
        ("drift_slices_total", ("outcome", "lost")): 0,
        ("mean_counts_count", *CONDITION.items()): 40,
        ("left_right_ratio_count", *CONDITION.items()): 40,
        ("drift_verdicts_total", ("test", "shift"), ("verdict", "ok")): 1,
        ("drift_verdicts_total", ("test", "distance"), ("verdict", "ok")): 1,
        ("drift_verdicts_total", ("test", "shift"), ("verdict", "drift")): 0,
    }

    def told() -> dict[tuple[object, ...], float]:
        samples = watched.samples()
        return {key: samples[str(key[0]), frozenset(key[1:])] for key in expected}  # type: ignore[arg-type]

    wait_for("every slice measured", lambda: told() == expected)
    for _ in range(4):  # whichever worker is asked
        assert told() == expected
    sent = "sum(synspect_slices_generated_total)"
    wait_for("Prometheus to have scraped it", lambda: watched.prometheus.value(sent) == 40)
    assert watched.prometheus.value('sum(synspect_request_duration_seconds_count{route="/v1/slices"})') == 24


def test_promtool_finds_nothing_to_say_of_the_metrics(watched: Watched) -> None:
    text = httpx.get(f"{watched.server.url}/metrics", timeout=PATIENCE).content
    assert run_tool("promtool", "check", "metrics", given=text).strip() == ""


def test_series_are_bounded_and_there_from_the_start(watched: Watched) -> None:
    before = set(watched.samples())
    for number in range(5):
        httpx.get(f"{watched.server.url}/v1/invented/again/{number}", timeout=PATIENCE)
        httpx.post(
            f"{watched.server.url}/v1/slices", json={**CONDITION, "level": f"L{number}", "count": 1}, timeout=PATIENCE
        )
    assert set(watched.samples()) == before
    assert len(before) < 4000


def test_drift_of_what_is_served_reaches_the_receiver_and_every_panel_shows_something(watched: Watched) -> None:
    wait_for("a rule evaluated", lambda: watched.prometheus.query("instance:synspect_drift_score:in_thresholds"))
    assert watched.webhook.alerts == []
    switch(watched.followed, pair_of(watched.followed, "scaled"))
    wait_for("every worker to serve the scaled bundle", lambda: read_versions(watched.server.url) == {"scaled"})

    assert watched.ask(range(1000, 1000 + WINDOW), count=1) == {200: WINDOW}

    (alert, *_) = wait_for("the alert", lambda: of_mean_counts(watched.webhook.firing("SynspectDriftShift")))
    assert {name: alert["labels"][name] for name in CONDITION} == CONDITION
    assert alert["labels"]["severity"] == "page"
    assert "COR/normal" in alert["annotations"]["summary"]
    assert "mean_counts" in alert["annotations"]["summary"]
    assert (MONITORING.parent / alert["annotations"]["runbook"]).exists()
    board = httpx.get(f"{watched.server.url}/v1/drift", timeout=PATIENCE).json()
    assert board["verdict"] == "drift"
    assert {one["labels"]["alertname"] for one in watched.webhook.alerts} <= {
        "SynspectDriftShift",
        "SynspectDriftDistance",
    }
    check_rules(watched.prometheus)
    check_dashboard(watched.prometheus)


def of_mean_counts(alerts: list[dict]) -> list[dict]:
    return [alert for alert in alerts if alert["labels"]["feature"] == "mean_counts"]


def check_rules(prometheus: Prometheus) -> None:
    """Every rule was evaluated without an error."""
    found = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert len(found) > 30
    assert {(rule["name"], rule["health"]) for rule in found} == {(rule["name"], "ok") for rule in found}


def check_dashboard(prometheus: Prometheus) -> None:
    """Every query of every panel, and of its variables, has a result from what was scraped."""
    board = json.loads((MONITORING / "grafana" / "synspect.json").read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    assert len(queries) > 25
    for query in queries:
        asked = query.replace("$job", ".*").replace("$instance", ".*").replace("$__rate_interval", "1m")
        assert "$" not in asked
        assert wait_for(f"a result of {asked}", lambda asked=asked: prometheus.query(asked))
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            series, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["definition"]).groups()  # type: ignore[union-attr]
            assert prometheus.get(f"label/{label}/values", **{"match[]": series.replace("$job", ".*")})
