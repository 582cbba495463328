"""What was raised, and what became of it: a file of lines, and an outbox of what is still to be delivered.

alerts/alerts.jsonl          raised, acknowledged, escalated, delivered; only ever appended to
alerts/outbox/ITEM.json      one message to one channel, until it was delivered
alerts/channels/NAME.json    how a channel is doing
alerts/lock                  held while one of these is changed

A message is taken out of the outbox only after its channel took it, so one whose sender was killed is sent again: at least
once, never lost. Any number of processes may raise and deliver.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from trainwright.core.durable import write_file
from trainwright.core.errors import AmbiguousRef, RunDamaged, UnknownRef, translate_write_errors
from trainwright.core.hashing import canonical_json, digest_json
from trainwright.core.records import Frozen
from trainwright.watch.alert_rules import AlertSettings, AnyChannel, Severity, is_at_least, raise_severity
from trainwright.watch.alerts import Finding

DEAD_AFTER = 3
"""Failures in a row after which a channel is called dead."""

CHANNEL_DEAD = "channel-dead"


class Alert(Frozen):
    """Something that somebody should know. `subject` is a run's id, `machine`, a model's name or a channel's.

    `held_back` says why it was put on record and not sent; it is empty where it was. `num_escalations` counts how often it
    was sent again, each time a degree more serious, because nobody acknowledged it.
    """

    id: str
    rule: str
    severity: Severity
    subject: str
    name: str
    message: str
    key: str
    at: str
    step: int | None = None
    value: float | None = None
    limit: float | None = None
    held_back: str = ""
    num_escalations: int = 0
    last_sent_at: str = ""
    acknowledged_at: str | None = None
    acknowledged_by: str | None = None
    acknowledged_why: str = ""


class Item(Frozen):
    """One message to one channel. `next_at`: not to be tried before."""

    channel_name: str
    channel: AnyChannel
    alert: Alert
    num_tries: int = 0
    next_at: str = ""
    error: str = ""


class ChannelState(Frozen):
    """How a channel is doing."""

    name: str
    kind: str
    status: Literal["well", "failing", "dead"] = "well"
    num_failures: int = Field(default=0, ge=0)
    error: str = ""
    last_delivered_at: str | None = None
    last_failed_at: str | None = None


@dataclass(frozen=True)
class Subject:
    """What an alert is about: an id, and the name that people know it by."""

    id: str
    name: str


class AlertBook:
    """The alerts of a workspace."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "alerts.jsonl"
        self.outbox = folder / "outbox"

    # ── raising ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def raise_alert(self, finding: Finding, subject: Subject, at: str, settings: AlertSettings) -> Alert | None:
        """Put a finding on record and into the outbox; None where it is there already, or its rule is cooling down.

        `at` is when it happened, so that the same stream read again raises nothing twice. Raises DiskFull, NotWritable.
        """
        with self._locked():
            alerts = self._read()
            alert = _build_alert(finding, subject, at)
            if alert.id in alerts or _is_cooling(alert, alerts.values(), settings):
                return None
            if _count_sent(alerts.values(), at) >= settings.delivery.max_per_hour:
                limit = settings.delivery.max_per_hour
                alert = alert.model_copy(update={"held_back": f"more than {limit} alerts within an hour"})
            else:
                self._enqueue(alert, settings)
            self._append({"entry": "raised", "alert": alert.model_dump(mode="json")})
        return alert

    def escalate(self, now: str, settings: AlertSettings) -> list[Alert]:
        """Send again, a degree more serious, what nobody acknowledged for too long."""
        after_s = settings.delivery.escalate_after_s
        if after_s == 0:
            return []
        escalated = []
        with self._locked():
            for alert in self._read().values():
                waits = alert.acknowledged_at is None and not alert.held_back and alert.severity != "critical"
                if waits and _seconds_between(alert.last_sent_at, now) >= after_s:
                    louder = alert.model_copy(
                        update={
                            "severity": raise_severity(alert.severity),
                            "num_escalations": alert.num_escalations + 1,
                            "last_sent_at": now,
                        }
                    )
                    self._enqueue(louder, settings)
                    self._append({"entry": "escalated", "id": alert.id, "severity": louder.severity, "at": now})
                    escalated.append(louder)
        return escalated

    def acknowledge(self, alert_id: str, who: str, at: str, why: str = "") -> Alert:
        """Say that somebody has seen it, and what came of that; it is not escalated any more. An id may be cut short.

        Raises UnknownRef, AmbiguousRef.
        """
        with self._locked():
            alerts = self._read()
            found = [alert for known, alert in alerts.items() if known.startswith(alert_id)]
            if not found:
                raise UnknownRef(f"There is no alert {alert_id}.", next_step="`trainwright alerts list` shows them.")
            if len(found) > 1:
                raise AmbiguousRef(f"{len(found)} alerts begin with {alert_id}.", next_step="Give more of the id.")
            if found[0].acknowledged_at is None:
                self._append({"entry": "acknowledged", "id": found[0].id, "who": who, "at": at, "why": why})
            return self._read()[found[0].id]

    # ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def list_alerts(self) -> list[Alert]:
        """All of them, newest first. Raises RunDamaged."""
        return sorted(self._read().values(), key=lambda alert: alert.at, reverse=True)

    def list_channels(self) -> list[ChannelState]:
        """How each channel that was ever used is doing, by name."""
        paths = sorted((self.folder / "channels").glob("*.json"))
        return [ChannelState.model_validate_json(path.read_bytes()) for path in paths]

    def list_items(self) -> list[tuple[Path, Item]]:
        """What is still to be delivered, the oldest first."""
        items = []
        for path in sorted(self.outbox.glob("*.json")):
            try:
                items.append((path, Item.model_validate_json(path.read_bytes())))
            except FileNotFoundError:  # another process delivered it meanwhile
                continue
            except ValidationError as error:
                raise self._damaged(path, str(error)) from error
        return items

    # ── delivering ────────────────────────────────────────────────────────────────────────────────────────────────────
    def note_delivered(self, path: Path, item: Item, at: str) -> None:
        """A channel took a message."""
        with self._locked():
            self._append({"entry": "delivered", "id": item.alert.id, "channel": item.channel_name, "at": at})
            path.unlink(missing_ok=True)
            self._keep_channel(ChannelState(name=item.channel_name, kind=item.channel.kind, last_delivered_at=at))

    def note_failed(self, path: Path, item: Item, at: str, error: str) -> ChannelState:
        """A channel did not take a message: it is tried again, later and later."""
        pause = timedelta(seconds=min(600, 5 * 2 ** min(item.num_tries, 8)))
        later = (datetime.fromisoformat(at) + pause).isoformat(timespec="milliseconds")
        with self._locked():
            changes = {"num_tries": item.num_tries + 1, "next_at": later, "error": error}
            if path.exists():
                write_file(path, item.model_copy(update=changes).model_dump_json().encode())
            before = {state.name: state for state in self.list_channels()}.get(item.channel_name)
            num_failures = 1 + (before.num_failures if before else 0)
            state = ChannelState(
                name=item.channel_name,
                kind=item.channel.kind,
                status="dead" if num_failures >= DEAD_AFTER else "failing",
                num_failures=num_failures,
                error=error,
                last_delivered_at=before.last_delivered_at if before else None,
                last_failed_at=at,
            )
            self._keep_channel(state)
        return state

    def _keep_channel(self, state: ChannelState) -> None:
        write_file(self.folder / "channels" / f"{state.name}.json", state.model_dump_json(indent=2).encode() + b"\n")

    def _enqueue(self, alert: Alert, settings: AlertSettings) -> None:
        """Into the outbox before it is on record: a process that is killed between the two has it found again, not lost."""
        for name, channel in settings.channels.items():
            its_own_death = alert.rule == CHANNEL_DEAD and alert.subject == name
            if is_at_least(alert.severity, channel.at_least) and not its_own_death:
                item = Item(channel_name=name, channel=channel, alert=alert)
                stem = f"{alert.last_sent_at}-{alert.id[:12]}-{alert.num_escalations}-{name}".replace(":", "")
                write_file(self.outbox / f"{stem}.json", item.model_dump_json().encode())

    # ── the file ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def _read(self) -> dict[str, Alert]:
        alerts: dict[str, Alert] = {}
        try:
            lines = self.path.read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return alerts
        for number, line in enumerate(lines, start=1):
            try:
                _apply(json.loads(line), alerts)
            except (ValueError, LookupError, ValidationError) as error:
                raise self._damaged(self.path, f"Line {number}: {error}") from error
        return alerts

    def _append(self, entry: dict[str, Any]) -> None:
        with translate_write_errors(self.path):
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            with os.fdopen(descriptor, "r+b") as file:
                file.seek(file.read().rfind(b"\n") + 1)  # what a killed process did not finish goes
                file.truncate()
                file.write(canonical_json(entry) + b"\n")
                file.flush()
                os.fsync(file.fileno())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with translate_write_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _damaged(self, path: Path, why: str) -> RunDamaged:
        return RunDamaged(
            f"{path} is damaged.",
            why=" ".join(why.split())[:300],
            next_step="Restore the file from a copy, or move it away: what is raised from then on begins a new one.",
        )


def build_test_alert(at: str) -> Alert:
    """What `alerts test` sends."""
    finding = Finding("test", "low", "this is a test of the channel")
    return _build_alert(finding, Subject("machine", "test"), at)


def _build_alert(finding: Finding, subject: Subject, at: str) -> Alert:
    """Its id is what was found about what, and where in the run; else, for what has no place there, when."""
    place = at if finding.step is None and not finding.key else finding.step
    return Alert(
        id=digest_json({"rule": finding.rule, "subject": subject.id, "key": finding.key, "place": place}),
        rule=finding.rule,
        severity=finding.severity,
        subject=subject.id,
        name=subject.name,
        message=finding.message,
        key=finding.key,
        at=at,
        step=finding.step,
        value=finding.value,
        limit=finding.limit,
        last_sent_at=at,
    )


def _apply(entry: dict[str, Any], alerts: dict[str, Alert]) -> None:
    if entry["entry"] == "raised":
        alert = Alert.model_validate(entry["alert"])
        alerts[alert.id] = alert
        return
    before = alerts[entry["id"]]
    if entry["entry"] == "acknowledged":
        seen = {
            "acknowledged_at": entry["at"],
            "acknowledged_by": entry["who"],
            "acknowledged_why": entry.get("why", ""),
        }
        alerts[before.id] = before.model_copy(update=seen)
    elif entry["entry"] == "escalated":
        changes = {"severity": entry["severity"], "last_sent_at": entry["at"]}
        alerts[before.id] = before.model_copy(update=changes | {"num_escalations": before.num_escalations + 1})


def is_within_cooldown(earlier: str | None, at: str, rule_name: str, settings: AlertSettings) -> bool:
    """Whether what a rule found at `earlier` (None: nothing) keeps it from saying the same again at `at`."""
    rule = getattr(settings.rules, rule_name.replace("-", "_"), None)
    cooldown_s = settings.delivery.cooldown_s if rule is None or rule.cooldown_s is None else rule.cooldown_s
    return earlier is not None and 0 <= _seconds_between(earlier, at) < cooldown_s


def _is_cooling(alert: Alert, alerts: Iterable[Alert], settings: AlertSettings) -> bool:
    same = [one for one in alerts if (one.rule, one.subject, one.key) == (alert.rule, alert.subject, alert.key)]
    return any(is_within_cooldown(one.at, alert.at, alert.rule, settings) for one in same)


def _count_sent(alerts: Iterable[Alert], at: str) -> int:
    return sum(not alert.held_back and 0 <= _seconds_between(alert.at, at) < 3600 for alert in alerts)


def _seconds_between(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()
