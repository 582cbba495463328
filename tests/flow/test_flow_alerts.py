"""Alerts about real runs: found in what they wrote, delivered beside them, and never in their way."""

import http.server
import json
import threading

import pytest
import yaml

RULES = {"rules": {"overfitting": {"gap": 0.0001}, "disk": {"enabled": False}, "memory": {"enabled": False}}}


@pytest.fixture
def hook():
    """A server that takes what is posted; `hangs` makes it hold each one until it is over."""
    posts, over = [], threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            if self.path == "/hangs":
                over.wait(60)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    server.posts, server.url = posts, f"http://127.0.0.1:{server.server_address[1]}"
    yield server
    over.set()
    server.shutdown()
    server.server_close()


def write_alerts(command, channels, **rules):
    document = {"rules": RULES["rules"] | rules, "channels": channels}
    (command.folder / "alerts.yaml").write_text(yaml.safe_dump(document))


def test_a_run_that_is_stopped_by_its_budget_says_so_through_its_channels(command, corpus, hook):
    write_alerts(command, {"ops": {"kind": "webhook", "url": hook.url, "secret_env": "HOOK_SECRET"}})
    labels = ("watch.alerts=alerts.yaml", "costs.limits.tokens=500")
    command.run(corpus, *labels, expect=7, environment={"HOOK_SECRET": "s"})
    document = command("alerts", "list", "--json").document
    assert document["num_waiting"] == 0
    assert {alert["rule"] for alert in document["items"]} >= {"budget"}
    told = [post["alert"]["message"] for post in hook.posts if post["alert"]["rule"] == "budget"]
    assert any("the run was stopped" in message for message in told)
    assert document["channels"][0]["status"] == "well"

    one = document["items"][0]["id"]
    acknowledged = command("alerts", "acknowledge", one[:10], "--why", "as it should be", "--json").document
    assert acknowledged["acknowledged_by"]
    assert acknowledged["acknowledged_why"] == "as it should be"
    left = command("alerts", "list", "--open", "--json").document["items"]
    assert one not in [alert["id"] for alert in left]


@pytest.mark.slow  # many processes, one after the other
def test_a_webhook_that_hangs_holds_up_no_run_and_what_it_did_not_take_waits(command, finished, corpus, hook):
    url = f"{hook.url}/hangs"
    write_alerts(command, {"ops": {"kind": "webhook", "url": url, "secret_env": "HOOK_SECRET"}})
    ended = command.run(
        corpus, "watch.alerts=alerts.yaml", "costs.limits.tokens=1700", environment={"HOOK_SECRET": "s"}
    )
    assert ended.document["weights_digest"] == finished.document["weights_digest"]
    assert command.events() == finished.command.events()
    waiting = command("alerts", "list", "--json").document
    assert waiting["num_waiting"] == len(waiting["items"]) > 0


def test_who_watches_the_workspace_finds_what_happened_since(command, corpus, hook):
    write_alerts(command, {"log": {"kind": "file", "path": "log.jsonl"}})
    watch = ("alerts", "watch", "--once", "--alerts", "alerts.yaml")
    command(*watch)
    command.run(corpus, "costs.limits.tokens=500", expect=7)
    command(*watch)
    command(*watch)
    lines = [json.loads(line) for line in (command.folder / "log.jsonl").read_text().splitlines()]
    assert "budget" in {line["rule"] for line in lines}
    assert len({line["id"] for line in lines}) == len(lines)


def test_a_channel_can_be_tried_and_an_unknown_one_is_refused(command, hook):
    write_alerts(command, {"ops": {"kind": "webhook", "url": hook.url, "secret_env": "HOOK_SECRET"}})
    given = ("--alerts", "alerts.yaml", "--json")
    tried = command("alerts", "test", "ops", *given, environment={"HOOK_SECRET": "s"})
    assert tried.document["channel"] == "ops"
    assert len(hook.posts) == 1
    assert command("alerts", "test", "ops", *given, expect=1).error["name"] == "channel-failed"
    assert command("alerts", "test", "nobody", *given, expect=64).error["name"] == "invalid-value"
