"""Raised once, delivered at least once: against real servers on loopback."""

import http.server
import json
import socketserver
import threading
from contextlib import contextmanager

import pytest

from trainwright.core.errors import AmbiguousRef, ChannelFailed, RunDamaged, UnknownRef
from trainwright.watch.alert_book import CHANNEL_DEAD, AlertBook, Subject
from trainwright.watch.alert_rules import AlertSettings
from trainwright.watch.alerts import Finding
from trainwright.watch.channels import deliver, send, sign

RUN = Subject("a" * 64, "tiny\x1b[2J")
NOON = "2026-01-01T12:00:00.000+00:00"


def at(minutes, seconds=0):
    return f"2026-01-01T12:{minutes:02}:{seconds:02}.000+00:00"


def finding(**changes):
    return Finding(**{"rule": "disk", "severity": "high", "message": "it is full <now> & here"} | changes)


def settings(channels=None, **delivery):
    return AlertSettings.model_validate({"channels": channels or {}, "delivery": delivery})


@pytest.fixture
def book(tmp_path):
    return AlertBook(tmp_path / "alerts")


@contextmanager
def serving(server):
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Hook(http.server.ThreadingHTTPServer):
    """Keeps what is posted; answers with the statuses that it was told, then with 200."""

    def __init__(self, *statuses):
        super().__init__(("127.0.0.1", 0), _HookHandler)
        self.statuses, self.posts = list(statuses), []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/hook"


class _HookHandler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.append((dict(self.headers), body))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        self.end_headers()

    def log_message(self, *_):
        pass


class Mailbox(socketserver.ThreadingTCPServer):
    """A mail server of the few words that a client says; it keeps envelopes and messages."""

    allow_reuse_address = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _MailHandler)
        self.messages = []


class _MailHandler(socketserver.StreamRequestHandler):
    def handle(self):
        self.say("220 here")
        to = []
        while line := self.rfile.readline().decode().strip():
            word = line.split()[0].upper()
            if word == "DATA":
                self.say("354 go on")
                lines = []
                while (part := self.rfile.readline()) != b".\r\n":
                    lines.append(part.decode())
                self.server.messages.append((to, "".join(lines)))
            elif word == "RCPT":
                to.append(line)
            self.say("221 bye" if word == "QUIT" else "250 ok")
            if word == "QUIT":
                return

    def say(self, text):
        self.wfile.write(f"{text}\r\n".encode())


# ── raising ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_same_finding_is_raised_once_and_again_after_its_cooldown(book):
    given = settings(cooldown_s=600)
    assert book.raise_alert(finding(), RUN, at(0), given)
    assert book.raise_alert(finding(), RUN, at(5), given) is None
    assert book.raise_alert(finding(), Subject("b" * 64, "other"), at(5), given)
    assert book.raise_alert(finding(), RUN, at(10), given)
    assert len(book.list_alerts()) == 3


def test_a_stream_that_is_read_again_raises_nothing_again(book):
    given = settings(cooldown_s=0)
    for _ in range(2):
        for number in (5, 6):
            book.raise_alert(finding(step=number), RUN, at(number), given)
    assert [alert.step for alert in book.list_alerts()] == [6, 5]


def test_more_than_the_cap_are_on_record_and_not_sent(book):
    given = settings({"log": {"kind": "console"}}, cooldown_s=0, max_per_hour=2)
    for number in range(4):
        book.raise_alert(finding(step=number), RUN, at(number), given)
    assert len(book.list_items()) == 2
    assert [bool(alert.held_back) for alert in book.list_alerts()] == [True, True, False, False]


def test_what_nobody_acknowledges_comes_again_more_serious_until_somebody_does(book):
    given = settings({"log": {"kind": "console", "at_least": "high"}}, escalate_after_s=60)
    alert = book.raise_alert(finding(severity="medium"), RUN, at(0), given)
    assert book.list_items() == []
    assert book.escalate(at(0, 59), given) == []
    (louder,) = book.escalate(at(1), given)
    assert (louder.severity, louder.num_escalations) == ("high", 1)
    assert len(book.list_items()) == 1
    acknowledged = book.acknowledge(alert.id[:8], "ada", at(2))
    assert (acknowledged.acknowledged_by, acknowledged.severity) == ("ada", "high")
    assert book.escalate(at(59), given) == []


def test_an_alert_is_found_by_the_beginning_of_its_id(book):
    for number in range(20):
        book.raise_alert(finding(step=number), Subject(str(number), "x"), NOON, settings())
    with pytest.raises(UnknownRef):
        book.acknowledge("zzz", "ada", NOON)
    with pytest.raises(AmbiguousRef):
        book.acknowledge("", "ada", NOON)


def test_half_a_line_of_a_killed_process_is_no_damage_and_a_wrong_one_is(book):
    book.raise_alert(finding(step=1), RUN, at(0), settings())
    with book.path.open("ab") as file:
        file.write(b'{"entry":"rai')
    assert len(book.list_alerts()) == 1
    book.raise_alert(finding(step=2), RUN, at(30), settings())
    assert len(book.list_alerts()) == 2
    book.path.write_bytes(b"nonsense\n")
    with pytest.raises(RunDamaged, match="damaged"):
        book.list_alerts()


# ── delivering ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_webhook_is_signed_and_names_its_delivery(book, monkeypatch):
    monkeypatch.setenv("HOOK_SECRET", "s3cret")
    with serving(Hook()) as hook:
        given = settings({"ops": {"kind": "webhook", "url": hook.url, "secret_env": "HOOK_SECRET"}})
        alert = book.raise_alert(finding(value=1.0, limit=2.0), RUN, NOON, given)
        assert deliver(book, print, NOON) == []
    ((headers, body),) = hook.posts
    assert headers["X-Trainwright-Signature"] == sign("s3cret", headers["X-Trainwright-Timestamp"], body)
    assert sign("other", headers["X-Trainwright-Timestamp"], body) != headers["X-Trainwright-Signature"]
    assert headers["X-Trainwright-Delivery"] == f"{alert.id}-0"
    assert json.loads(body)["alert"]["message"] == alert.message
    assert book.list_items() == []


def test_a_server_that_fails_is_tried_again_later_and_gets_it_in_the_end(book, monkeypatch):
    monkeypatch.setenv("HOOK_SECRET", "s3cret")
    with serving(Hook(500)) as hook:
        given = settings({"ops": {"kind": "webhook", "url": hook.url, "secret_env": "HOOK_SECRET"}})
        book.raise_alert(finding(), RUN, NOON, given)
        deliver(book, print, at(0))
        deliver(book, print, at(0, 1))  # too early
        assert len(hook.posts) == 1
        assert book.list_channels()[0].status == "failing"
        deliver(book, print, at(1))
    assert len(hook.posts) == 2
    assert book.list_channels()[0].status == "well"
    assert book.list_items() == []


def test_killed_between_sending_and_noting_it_is_sent_again(book, monkeypatch):
    monkeypatch.setenv("HOOK_SECRET", "s3cret")
    with serving(Hook()) as hook:
        given = settings({"ops": {"kind": "webhook", "url": hook.url, "secret_env": "HOOK_SECRET"}})
        book.raise_alert(finding(), RUN, NOON, given)

        def die(*_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(book, "note_delivered", die)
            with pytest.raises(KeyboardInterrupt):
                deliver(book, print, NOON)
        deliver(AlertBook(book.folder), print, NOON)
    assert len(hook.posts) == 2
    assert len({headers["X-Trainwright-Delivery"] for headers, _ in hook.posts}) == 1


def test_a_dead_channel_is_shown_and_holds_up_no_other(book, tmp_path, monkeypatch):
    monkeypatch.setenv("HOOK_SECRET", "s3cret")
    with serving(Hook()) as gone:
        url = gone.url
    log = tmp_path / "log.jsonl"
    given = settings(
        {
            "ops": {"kind": "webhook", "url": url, "secret_env": "HOOK_SECRET"},
            "zlog": {"kind": "file", "path": str(log)},
        }
    )
    book.raise_alert(finding(), RUN, NOON, given)
    dead = [deliver(book, print, at(minutes)) for minutes in (0, 10, 20, 30)]
    assert dead == [[], [], ["ops"], ["ops"]]
    assert len(log.read_text().splitlines()) == 1
    ops, zlog = book.list_channels()
    assert (ops.status, ops.num_failures, zlog.status) == ("dead", 4, "well")
    # Its own death is not put into the box of what is dead.
    book.raise_alert(Finding(CHANNEL_DEAD, "high", "gone", key="k"), Subject("ops", "ops"), at(31), given)
    assert [item.channel_name for _, item in book.list_items()] == ["ops", "zlog"]


def test_slack_gets_text_that_is_escaped(book):
    with serving(Hook()) as hook:
        given = settings({"team": {"kind": "slack", "url": hook.url}})
        book.raise_alert(finding(), RUN, NOON, given)
        deliver(book, print, NOON)
    ((_, body),) = hook.posts
    text = json.loads(body)["text"]
    assert "&lt;now&gt; &amp; here" in text
    assert "\x1b" not in text


def test_an_email_goes_to_everyone_through_a_real_server(book):
    with serving(Mailbox()) as box:
        channel = {"kind": "email", "host": "127.0.0.1", "port": box.server_address[1], "tls": False}
        given = settings({"mail": channel | {"sender": "tw@example.org", "to": ["a@example.org", "b@example.org"]}})
        alert = book.raise_alert(finding(), RUN, NOON, given)
        deliver(book, print, NOON)
    ((to, message),) = box.messages
    assert [word.partition("<")[2].partition(">")[0] for word in to] == ["a@example.org", "b@example.org"]
    assert "Subject: [high] disk: " in message
    assert f"<{alert.id}-0@example.org>" in message.replace("\r\n ", "")


def test_a_console_shows_no_control_characters(book):
    said = []
    alert = book.raise_alert(finding(), RUN, NOON, settings({"here": {"kind": "console"}}))
    deliver(book, said.append, NOON)
    assert said[0].startswith("[high] disk: ")
    assert "\x1b" not in said[0]
    assert alert.id[:12] in said[0]


def test_a_secret_that_is_not_there_is_a_failure_that_names_it(book, monkeypatch):
    monkeypatch.delenv("HOOK_SECRET", raising=False)
    given = settings({"ops": {"kind": "webhook", "url": "http://127.0.0.1:1/", "secret_env": "HOOK_SECRET"}})
    alert = book.raise_alert(finding(), RUN, NOON, given)
    with pytest.raises(ChannelFailed) as caught:
        send(given.channels["ops"], alert, print)
    assert "HOOK_SECRET" in caught.value.why
