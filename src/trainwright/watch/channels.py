"""Sending one alert through one channel. Each function returns once the other side has taken it, or raises ChannelFailed."""

import hashlib
import hmac
import json
import os
import smtplib
import ssl
import sys
import time
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from trainwright.core.errors import ChannelFailed
from trainwright.core.hashing import canonical_json
from trainwright.watch.alert_book import Alert, AlertBook
from trainwright.watch.alert_rules import Console, Email, File, Slack, Webhook
from trainwright.watch.progress import strip_controls
from trainwright.watch.usage import read_now

TIMEOUT_S = 10.0
"""What is waited for a server, at each step of the exchange."""


def send(channel: Any, alert: Alert, say: Callable[[str], None]) -> None:
    """Send an alert; `say` is where a console's lines go. Raises ChannelFailed."""
    if isinstance(channel, Console):
        say(render_alert(alert))
    elif isinstance(channel, File):
        _send_file(channel, alert)
    elif isinstance(channel, Webhook):
        _send_webhook(channel, alert)
    elif isinstance(channel, Slack):
        _send_slack(channel, alert)
    else:
        _send_email(channel, alert)


def deliver(book: AlertBook, say: Callable[[str], None], now: str | None = None) -> list[str]:
    """Try everything in the outbox whose time has come; returns the names of the channels that are found dead by that.

    After a failure the rest of that channel's messages wait, so that one that hangs holds up the others once, for seconds.
    """
    failed: set[str] = set()
    dead: list[str] = []
    for path, item in book.list_items():
        at = now or read_now()
        if item.channel_name in failed or item.next_at > at:
            continue
        try:
            send(item.channel, item.alert, say)
        except ChannelFailed as error:
            failed.add(item.channel_name)
            state = book.note_failed(path, item, at, f"{error.message} {error.why}".strip())
            if state.status == "dead":
                dead.append(item.channel_name)
        else:
            book.note_delivered(path, item, at)
    return dead


def render_alert(alert: Alert) -> str:
    """One line for a person. What a run's name or an error holds cannot steer a terminal."""
    again = f", sent {alert.num_escalations + 1} times" if alert.num_escalations else ""
    return strip_controls(f"[{alert.severity}] {alert.rule}: {alert.name}: {alert.message} ({alert.id[:12]}{again})")


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """The signature that a webhook carries: HMAC-SHA256 over the timestamp, a dot, and the body."""
    return "sha256=" + hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()


def _send_file(channel: File, alert: Alert) -> None:
    line = canonical_json(alert.model_dump(mode="json")) + b"\n"
    path = Path(channel.path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ChannelFailed(f"{path} cannot be written.", why=f"{error.strerror}.") from error


def _send_webhook(channel: Webhook, alert: Alert) -> None:
    timestamp = str(int(time.time()))
    body = canonical_json({"alert": alert.model_dump(mode="json")})
    headers = {
        "Content-Type": "application/json",
        "X-Trainwright-Delivery": f"{alert.id}-{alert.num_escalations}",
        "X-Trainwright-Timestamp": timestamp,
        "X-Trainwright-Signature": sign(_read_variable(channel.secret_env), timestamp, body),
    }
    _post(channel.url, body, headers)


def _send_slack(channel: Slack, alert: Alert) -> None:
    url = channel.url or (None if channel.url_env is None else _read_variable(channel.url_env))
    if url is None:
        raise ChannelFailed("The channel has no address.", why="Neither url nor url_env is set.")
    text = render_alert(alert).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    _post(url, json.dumps({"text": text}).encode(), {"Content-Type": "application/json"})


def _send_email(channel: Email, alert: Alert) -> None:
    message = EmailMessage()
    message["From"], message["To"] = channel.sender, ", ".join(channel.to)
    message["Subject"] = " ".join(f"[{alert.severity}] {alert.rule}: {alert.name}".split())
    message["Message-ID"] = f"<{alert.id}-{alert.num_escalations}@{channel.sender.partition('@')[2]}>"
    message.set_content(f"{render_alert(alert)}\n\n{json.dumps(alert.model_dump(mode='json'), indent=2)}\n")
    password = "" if channel.password_env is None else _read_variable(channel.password_env)
    try:
        with smtplib.SMTP(channel.host, channel.port, timeout=TIMEOUT_S) as server:
            if channel.tls:
                server.starttls(context=ssl.create_default_context())
            if channel.user is not None:
                server.login(channel.user, password)
            server.send_message(message)
    except (OSError, smtplib.SMTPException) as error:
        raise ChannelFailed(f"The server {channel.host}:{channel.port} did not take it.", why=f"{error}.") from error


def _post(url: str, body: bytes, headers: dict[str, str]) -> None:
    import httpx  # slow to import, and most runs send nothing

    # The address may be a secret, so it is not named in what goes wrong.
    try:
        answer = httpx.post(url, content=body, headers=headers, timeout=TIMEOUT_S, follow_redirects=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ChannelFailed("The server did not take it.", why=f"{type(error).__name__}.") from error
    if not answer.is_success:
        raise ChannelFailed("The server did not take it.", why=f"It answered {answer.status_code}.")


def _read_variable(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise ChannelFailed(
            "A secret is missing.", why=f"The environment variable {name or '(none named)'} is not set."
        )
    return value


def say_on_stderr(line: str) -> None:
    """Where a console's lines go by default."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
