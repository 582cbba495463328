"""Pages of costs and of alerts: what is spent of which budget, what is not measured, and alerts acknowledged with a reason."""

import json
import re

import pytest

pytest.importorskip("fastapi", reason="the service is an extra: pip install 'trainwright[serve]'")

from fastapi.testclient import TestClient

from trainwright.core.manifest import LimitsSection
from trainwright.pipeline.accounts import read_account, write_account, write_project_limits
from trainwright.pipeline.alerts import open_book
from trainwright.serve.app import create_app
from trainwright.serve.pages import CSRF_FIELD
from trainwright.serve.settings import Settings
from trainwright.serve.tokens import add_token
from trainwright.watch.alert_book import DEAD_AFTER, Subject
from trainwright.watch.alert_rules import AlertSettings
from trainwright.watch.alerts import Finding

NOON = "2026-01-01T12:00:00.000+00:00"
FILE = {"channels": {"ops": {"kind": "file", "path": "alerts.log", "at_least": "high"}}}
PRICES = "currency: EUR\nregion: eu-central\ndevices: {cpu: 0.04}\n"


@pytest.fixture
def workspace(client):
    return client.app.state.workspace


def label(run_id, workspace, **changes):
    account = read_account(run_id, workspace)
    write_account(run_id, account.model_copy(update=changes), workspace)


def raise_alert(workspace, message="the loss is NaN", severity="critical", subject=None, step=7, settings=None):
    finding = Finding("non-finite-loss", severity, message, step=step)
    subject = subject or Subject("machine", "this machine")
    return open_book(workspace).raise_alert(finding, subject, NOON, AlertSettings.model_validate(settings or {}))


def kill_channel(workspace, name="ops"):
    """A channel that refuses what waits for it."""
    book = open_book(workspace)
    ((path, item),) = book.list_items()
    for _ in range(DEAD_AFTER):
        book.note_failed(path, item, NOON, "<b>connection refused</b>")


def send(client, address, **fields):
    key = re.search(rf'name="{CSRF_FIELD}" value="([^"]+)"', client.get("/alerts").text)[1]
    return client.post(address, data={CSRF_FIELD: key, **fields}, follow_redirects=False)


# ── costs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_without_prices_nothing_costs_nothing_and_the_reason_is_said_once(client):
    text = client.get("/costs").text
    assert text.count("not priced: there is no price file") == 1
    assert len(re.findall(r'<a href="#why-\d+"', text)) >= 4  # two runs, so far and projected
    assert "0 EUR" not in text
    assert "There is no price file" in text


def test_with_prices_runs_cost_what_they_used(client, workspace):
    (workspace.root / "prices.yaml").write_text(PRICES)
    text = client.get("/costs").text
    assert "Prices in EUR, eu-central" in text
    assert len(re.findall(r'<td class="r">[\d.e-]+ EUR</td>', text)) == 4
    assert "not priced" not in text


@pytest.mark.parametrize(("by", "named"), [("project", "stories"), ("tag", "nightly"), ("user", None)])
def test_costs_are_summed_up_by(client, workspace, world, by, named):
    label(world.runs[0], workspace, project="stories", tags=("nightly",))
    text = client.get("/costs", params={"by": by}).text
    assert re.search(rf'aria-current="true">by {by}<', text)
    if named:
        assert named in text
        assert f"without a {by}" in text
    assert re.search(r'<td class="r">[12]</td>', text)


def test_budgets_are_bars_with_the_mark_that_was_passed(client, workspace, world):
    spent = sum(client.get(f"/api/costs/{run}").json()["so_far"]["tokens"]["value"] for run in world.runs)
    for run in world.runs:
        label(run, workspace, project="stories")
    for factor, mark in (
        (4, "below 50 %"),
        (1.6, "50 % passed"),
        (1.25, "75 % passed"),
        (1.05, "90 % passed"),
        (1, "reached"),
    ):
        write_project_limits("stories", LimitsSection(tokens=int(spent * factor)), workspace)
        text = client.get("/costs").text
        assert f">{mark}</span>" in text, factor
        band = {"below 50 %": "0", "reached": "100"}.get(mark, mark[:2])
        assert f'class="budget band-{band}"' in text
    write_project_limits("stories", LimitsSection(money=5), workspace)
    text = client.get("/costs").text
    assert 'class="budget band' not in text, "what is not known has no bar"
    assert ">not measured</span>" in text


def test_a_run_alone_has_its_processes_and_its_budgets(client, workspace, world):
    label(world.runs[0], workspace, limits=LimitsSection(hours=1), project="<i>p</i>")
    text = client.get(f"/costs/{world.runs[0][:10]}").text
    assert "&lt;i&gt;p&lt;/i&gt;" in text
    assert "not priced: there is no price file" in text
    assert 'class="budget band-0"' in text
    assert "by itself" in text
    assert f'href="/costs/{world.runs[0]}"' in client.get(f"/runs/{world.runs[0]}").text


def test_a_broken_price_file_is_said_and_not_passed_over(client, workspace):
    (workspace.root / "prices.yaml").write_text("currency: euros\ndevices: {cpu: 1}\n")
    answer = client.get("/costs")
    assert answer.status_code >= 400
    assert "currency" in answer.text


# ── alerts ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_an_alert_is_acknowledged_with_a_reason_and_leaves_the_list(client, workspace, world):
    alert = raise_alert(workspace, "<script>document.title='taken'</script>", subject=Subject(world.runs[0], "first"))
    page = client.get("/alerts").text
    assert "&lt;script&gt;document.title" in page
    assert f'href="/runs/{world.runs[0]}"' in page
    answer = send(client, f"/alerts/{alert.id}/acknowledge", reason="the data had\n a hole")
    assert answer.status_code == 303
    after = client.get(answer.headers["location"]).text
    assert "Acknowledged: &lt;script&gt;" in after
    assert "Nothing is open" in after
    assert "the data had a hole" in client.get("/alerts", params={"which": "all"}).text
    (kept,) = open_book(workspace).list_alerts()
    assert (kept.acknowledged_why, bool(kept.acknowledged_by)) == ("the data had a hole", True)
    assert client.get("/api/alerts").json()["items"][0]["acknowledged_why"] == "the data had a hole"


def test_acknowledging_needs_a_reason_and_a_form_of_ours(client, workspace):
    alert = raise_alert(workspace)
    address = f"/alerts/{alert.id}/acknowledge"
    assert send(client, address, reason="  ").status_code == 422
    assert send(client, address, reason="x" * 1001).status_code == 422
    assert client.post(address, data={"reason": "because"}).status_code == 403
    assert send(client, "/alerts/0/acknowledge", reason="because").status_code == 422
    assert send(client, f"/alerts/{'0' * 64}/acknowledge", reason="because").status_code == 404
    assert open_book(workspace).list_alerts()[0].acknowledged_at is None


def test_who_only_looks_is_offered_no_form(world, tmp_path, workspace):
    raise_alert(workspace)
    path = tmp_path / "tokens.json"
    headers = {"Authorization": f"Bearer {add_token(path, 'ann', 'viewer')}"}
    with TestClient(create_app(workspace.root, Settings(tokens_path=path)), base_url="http://127.0.0.1") as asked:
        text = asked.get("/alerts", headers=headers).text
    assert "/acknowledge" not in text
    assert "role operator" in text


def test_alerts_are_chosen_by_severity_and_follow_each_other(client, workspace, monkeypatch):
    for step, severity in enumerate(("low", "medium", "high", "critical")):
        raise_alert(workspace, f"a {severity} one", severity, step=step, settings={"delivery": {"cooldown_s": 0}})
    listed = re.findall(r"<strong>a (\w+) one</strong>", client.get("/alerts", params={"severity": "high"}).text)
    assert sorted(listed) == ["critical", "high"]
    monkeypatch.setattr("trainwright.serve.pages_alerts.PAGE_SIZE", 3)
    first = client.get("/alerts").text
    older = re.search(r'rel="next" href="([^"]+)"', first)[1].replace("&amp;", "&")
    seen = re.findall(r"<strong>a (\w+) one</strong>", first + client.get(older).text)
    assert sorted(seen) == ["critical", "high", "low", "medium"]


def test_a_dead_channel_is_shown_with_what_waits_for_it(client, workspace):
    (workspace.root / "alerts.yaml").write_text(json.dumps(FILE))
    assert ">not used yet</span>" in client.get("/alerts").text
    raise_alert(workspace, settings=FILE)
    kill_channel(workspace)
    text = client.get("/alerts").text
    assert "The channel ops is dead." in text
    assert "1 message waits for it" in text
    assert "&lt;b&gt;connection refused&lt;/b&gt;" in text
    (workspace.root / "alerts.yaml").unlink()
    assert "no longer in the file" in client.get("/alerts").text


def test_all_rules_are_shown_as_they_are_set(client, workspace):
    for name in AlertSettings().rules.model_dump(by_alias=True):
        assert f">{name}</th>" in client.get("/alerts").text
    (workspace.root / "alerts.yaml").write_text(
        json.dumps({"rules": {"plateau": {"enabled": False}, "disk": {"free_bytes": 7}}})
    )
    text = client.get("/alerts").text
    assert re.search(r">plateau</th>.*?>off</span>", text)
    assert "free_bytes 7" in text
    assert "As alerts.yaml of the workspace sets them" in text


def test_a_broken_alert_file_is_said_and_the_alerts_are_shown(client, workspace):
    raise_alert(workspace)
    (workspace.root / "alerts.yaml").write_text("rules: {plato: {}}\n")
    answer = client.get("/alerts")
    assert answer.status_code == 200
    assert "plato" in answer.text
    assert "the loss is NaN" in answer.text
