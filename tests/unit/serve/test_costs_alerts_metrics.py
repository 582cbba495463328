"""Costs, alerts and metrics over HTTP."""

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the service is an extra: pip install 'trainwright[serve]'")
pytest.importorskip("prometheus_client", reason="the service is an extra: pip install 'trainwright[serve]'")

import yaml
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from trainwright.core.manifest import LimitsSection
from trainwright.pipeline.accounts import write_project_limits
from trainwright.pipeline.alerts import open_book
from trainwright.serve.app import create_app
from trainwright.serve.settings import Settings
from trainwright.store.workspace import Workspace
from trainwright.watch.alert_book import Subject
from trainwright.watch.alert_rules import AlertSettings
from trainwright.watch.alerts import Finding

OPS = Path(__file__).parents[3] / "ops"


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    return TestClient(create_app(tmp_path / "ws", Settings()), base_url="http://127.0.0.1")


@pytest.fixture
def workspace(client: TestClient) -> Workspace:
    workspace: Workspace = client.app.state.workspace  # type: ignore[attr-defined]
    return workspace


def raise_alerts(workspace: Workspace, count: int) -> None:
    for number in range(count):
        finding = Finding("disk", "high", "<script>", step=number)
        at = f"2026-01-01T12:{number:02}:00.000+00:00"
        open_book(workspace).raise_alert(
            finding, Subject("x", "x"), at, AlertSettings.model_validate({"delivery": {"cooldown_s": 0}})
        )


def read_samples(client: TestClient) -> dict[str, dict[tuple[str, ...], float]]:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    samples: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            samples.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return samples


def test_alerts_come_by_pages_and_are_acknowledged(client: TestClient, workspace: Workspace) -> None:
    raise_alerts(workspace, 3)
    first = client.get("/api/alerts", params={"limit": 2}).json()
    assert [item["step"] for item in first["items"]] == [2, 1]
    second = client.get("/api/alerts", params={"after": first["next"]}).json()
    assert ([item["step"] for item in second["items"]], second["next"]) == ([0], None)
    known = second["items"][0]["id"]
    assert client.post(f"/api/alerts/{known}/acknowledge").json()["acknowledged_by"]
    other = first["items"][0]["id"]
    answer = client.post(f"/api/alerts/{other}/acknowledge", json={"why": "a full disk"}).json()
    assert (answer["acknowledged_why"], answer["id"]) == ("a full disk", other)
    assert len(client.get("/api/alerts", params={"open": True}).json()["items"]) == 1
    assert client.post("/api/alerts/none/acknowledge").status_code == 404
    assert client.get("/api/alerts", params={"after": "none"}).status_code == 404
    assert client.get("/api/alerts/channels").json() == {"items": [], "num_waiting": 0}


def test_costs_and_budgets_of_an_empty_workspace_are_empty(client: TestClient, workspace: Workspace) -> None:
    assert client.get("/api/costs").json() == {"items": [], "next": None}
    assert client.get("/api/costs/by", params={"by": "user"}).json() == {"by": "user", "items": []}
    assert client.get("/api/costs/by", params={"by": "moon"}).status_code == 422
    assert client.get("/api/costs/none").status_code == 404
    write_project_limits("stories", LimitsSection(hours=2), workspace)
    (budget,) = client.get("/api/budgets").json()["items"]
    assert (budget["target"], budget["what"], budget["share"]) == ("stories", "hours", 0.0)


def test_metrics_say_how_the_workspace_stands_and_what_was_asked(client: TestClient, workspace: Workspace) -> None:
    raise_alerts(workspace, 2)
    write_project_limits("stories", LimitsSection(money=2), workspace)  # what is spent of it is not known: no prices
    client.get("/api/costs/none")
    client.get("/nowhere/at/all")
    samples = read_samples(client)
    assert samples["trainwright_runs"][("running",)] == 0
    assert samples["trainwright_jobs"][("queued",)] == 0
    assert samples["trainwright_alerts_open"][("high",)] == 2
    assert samples["trainwright_http_requests_total"][("GET", "/api/costs/{run}", "404")] == 1
    assert samples["trainwright_http_requests_total"][("none", "none", "404")] == 1
    assert "trainwright_run_loss" not in samples


def test_rules_and_dashboard_ask_for_metrics_that_there_are(client: TestClient) -> None:
    families = set(re.findall(r"^# TYPE (\w+)", client.get("/metrics").text, re.MULTILINE))
    rules = yaml.safe_load((OPS / "prometheus" / "trainwright.rules.yml").read_text())
    dashboard = json.loads((OPS / "grafana" / "trainwright.json").read_text())
    asked = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    asked += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    names = {
        name.removesuffix("_bucket") for expression in asked for name in re.findall(r"trainwright_\w+", expression)
    }
    assert names
    assert names <= families
    assert yaml.safe_load((OPS / "prometheus" / "prometheus.yml").read_text())["rule_files"] == [
        "trainwright.rules.yml"
    ]
