"""The files an operator is given are valid, every alert is tested both ways and has a page, every name exists."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest

from registry.follow_metrics import FollowMetrics
from serving.drift.gauges import DriftGauges
from serving.metrics import ServiceMetrics
from tests.support.prometheus_process import MONITORING, load_yaml, run_tool

RUNBOOKS = MONITORING.parent / "docs" / "runbooks"
RULES = sorted(map(str, (MONITORING / "rules").glob("*.yml")))
TESTS = sorted(map(str, (MONITORING / "tests").glob("*.yml")))
FIRING = 'count by (alertname, severity) (ALERTS{alertstate="firing"})'
DASHBOARD = MONITORING / "grafana" / "synspect.json"


def rules(kind: str) -> list[dict[str, Any]]:
    files = [yaml.safe_load(Path(name).read_text()) for name in RULES]
    return [rule for file in files for group in file["groups"] for rule in group["rules"] if kind in rule]


def dashboard_expressions() -> list[str]:
    board = json.loads(DASHBOARD.read_text())
    return [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]


def test_prometheus_takes_its_settings_and_every_rule() -> None:
    assert "SUCCESS" in run_tool("promtool", "check", "config", str(MONITORING / "prometheus.yml"))
    run_tool("promtool", "check", "rules", *RULES)


def test_alertmanager_takes_its_settings() -> None:
    run_tool("amtool", "check-config", str(MONITORING / "alertmanager.yml"))


@pytest.mark.parametrize("file", TESTS, ids=lambda name: Path(name).stem)
def test_every_rule_fires_and_stays_silent_as_its_tests_say(file: str) -> None:
    assert "SUCCESS" in run_tool("promtool", "test", "rules", file)


def test_every_alert_is_seen_firing_and_silent_in_those_tests() -> None:
    seen: set[str] = set()
    for file in TESTS:
        firing = [fired_in(test) for test in yaml.safe_load(Path(file).read_text())["tests"]]
        for alert in set.union(*firing):
            assert any(alert not in fired for fired in firing), f"{file} never shows {alert} silent"
        seen |= set.union(*firing)
    assert seen == {rule["alert"] for rule in rules("alert")}


def fired_in(test: dict[str, Any]) -> set[str]:
    """The alerts that a test expects; its question names all that fire, so that the others are expected silent."""
    assert {one["expr"] for one in test["promql_expr_test"]} == {FIRING}
    return {
        re.findall(r'alertname="(\w+)"', sample["labels"])[0]
        for one in test["promql_expr_test"]
        for sample in one["exp_samples"]
    }


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    alerts = {rule["alert"]: rule for rule in rules("alert")}
    assert set(alerts) == {page.stem for page in RUNBOOKS.glob("*.md")}
    for name, rule in alerts.items():
        assert rule["annotations"]["runbook"] == f"docs/runbooks/{name}.md"
        assert rule["labels"]["severity"] in {"page", "ticket", "info"}
        page = (RUNBOOKS / f"{name}.md").read_text()
        assert page.startswith(f"# {name}\n")
        assert "## Look\n*" in page
        assert "## Do\n*" in page
        for link in re.findall(r"\]\(([^)]+)\)", page):
            assert (RUNBOOKS / link).exists(), (name, link)


def test_rules_and_dashboard_ask_for_series_that_exist() -> None:
    service = ServiceMetrics()
    service.attach(DriftGauges(dict))
    text = service.render().decode() + generate_latest(FollowMetrics().registry).decode()
    types = dict(re.findall(r"^# TYPE (\w+) (\w+)", text, re.MULTILINE))
    exist = set(re.findall(r"^(synspect_\w+)", text, re.MULTILINE)) | {
        n for n, kind in types.items() if kind == "gauge"
    }
    recorded = {rule["record"] for rule in rules("record")}
    asked = dashboard_expressions() + [rule["expr"] for rule in rules("expr")]
    for expression in asked:
        for name in re.findall(r"[a-z]+:synspect_\w+:\w+", expression):
            assert name in recorded, expression
        for name in re.findall(r"(?<![:\w])synspect_\w+", expression):
            assert name in exist, expression


def test_the_dashboard_asks_the_data_source_that_is_chosen_on_it() -> None:
    board = json.loads(DASHBOARD.read_text())
    assert board["schemaVersion"] >= 39
    assert (
        board["templating"]["list"][0] | {"type": "datasource", "query": "prometheus"} == board["templating"]["list"][0]
    )
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    for panel in board["panels"]:
        if panel["type"] != "row":
            assert panel["datasource"] == chosen
            assert all(target["datasource"] == chosen for target in panel["targets"])
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
    assert len(set(places)) == len(places)


def test_what_the_settings_say_of_ports_is_what_the_documents_say() -> None:
    targets = {
        job["job_name"]: job["static_configs"][0]["targets"] for job in load_yaml("prometheus.yml")["scrape_configs"]
    }
    assert targets == {"synspect": ["127.0.0.1:3000"], "synspect-follow": ["127.0.0.1:9464"]}
