"""Alerts of a workspace: what is looked at, what is raised, and who delivers it. Nothing here holds up a run.

A run whose manifest says `watch.alerts` has a thread of its own that watches it; `trainwright alerts watch` is a process that
watches everything in the workspace. Both read what is on disk, and both may be there: what is raised is raised once.
"""

import contextlib
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import psutil

from trainwright.core.durable import write_file
from trainwright.core.errors import (
    BudgetReached,
    ChannelFailed,
    EventsDamaged,
    Interrupted,
    InvalidValue,
    RunDamaged,
    TrainwrightError,
    TrainwrightTooOld,
    UnknownRef,
)
from trainwright.core.records import Decision, Evaluation, Outcome, Record
from trainwright.pipeline.inspect import outcome_of
from trainwright.pipeline.track import read_watch
from trainwright.store.run_folder import RunFolder
from trainwright.store.workspace import Workspace
from trainwright.watch.alert_book import CHANNEL_DEAD, Alert, AlertBook, Subject, build_test_alert, is_within_cooldown
from trainwright.watch.alert_rules import DEFAULT, AlertSettings, File, Severity, is_at_least, open_alert_settings
from trainwright.watch.alerts import Finding, Signal, Watcher
from trainwright.watch.channels import deliver, say_on_stderr, send
from trainwright.watch.follow import Follower
from trainwright.watch.usage import read_now

POLL_S = 1.0
PATIENCE_S = 5.0
"""What the end of a run waits for what is still to be delivered; the rest stays in the outbox."""
ALERTS_FILE = "alerts.yaml"
MACHINE = Subject("machine", "this machine")
PAGE = 200

Say = Callable[[str], None]


def open_book(workspace: Workspace) -> AlertBook:
    """The alerts of a workspace."""
    return AlertBook(workspace.root / "alerts")


def find_settings(given: str | None, workspace: Workspace) -> AlertSettings:
    """The rules and channels in a file that was given, else in the workspace's `alerts.yaml`, else those that come along.

    Raises ManifestNotFound, ManifestUnreadable, UnknownKey, InvalidValue.
    """
    own = workspace.root / ALERTS_FILE
    settings = open_alert_settings(given or (str(own) if own.is_file() else DEFAULT))
    channels = {
        name: channel.model_copy(update={"path": str(Path(channel.path).absolute())})
        if isinstance(channel, File)
        else channel
        for name, channel in settings.channels.items()
    }
    return settings.model_copy(update={"channels": channels})


def page_alerts(
    workspace: Workspace,
    limit: int,
    after: str | None = None,
    *,
    only_open: bool = False,
    at_least: Severity = "low",
) -> tuple[list[Alert], str | None]:
    """A page of alerts, newest first, and the id to ask for the next page with (None on the last one).

    Raises UnknownRef where there is no alert `after`.
    """
    alerts = [
        alert
        for alert in open_book(workspace).list_alerts()
        if is_at_least(alert.severity, at_least) and not (only_open and alert.acknowledged_at is not None)
    ]
    if after is not None:
        ids = [alert.id for alert in alerts]
        if after not in ids:
            raise UnknownRef(f"There is no alert {after} to go on after.", next_step="Begin with the first page.")
        alerts = alerts[ids.index(after) + 1 :]
    page = alerts[:limit]
    return page, page[-1].id if len(alerts) > limit else None


def read_watched_at(workspace: Workspace) -> str | None:
    """When `alerts watch` last looked at everything; None where it never did, or nothing is known about it."""
    try:
        return str(json.loads(_locate_watched(workspace).read_bytes())["at"])
    except (FileNotFoundError, ValueError, LookupError):
        return None


def try_channel(name: str, given: str | None, workspace: Workspace) -> Alert:
    """Send a test through a channel, once, past the outbox. Raises InvalidValue for an unknown one, ChannelFailed."""
    settings = find_settings(given, workspace)
    channel = settings.channels.get(name)
    if channel is None:
        known = ", ".join(sorted(settings.channels)) or "none"
        raise InvalidValue(
            f"There is no channel {name}.", why=f"There are: {known}.", next_step="Check the alert file."
        )
    alert = build_test_alert(read_now())
    try:
        send(channel, alert, say_on_stderr)
    except ChannelFailed as error:
        error.next_step = error.next_step or "Mend what is named, and test it again."
        raise
    return alert


# ── one run ───────────────────────────────────────────────────────────────────────────────────────────────────────────
class RunWatch:
    """Watches one run: reads what is new, and raises what the rules find in what happened since `since`."""

    def __init__(self, folder: RunFolder, settings: AlertSettings, book: AlertBook, since: str = "") -> None:
        run = folder.read_run()
        self.folder, self._settings, self._book, self._since = folder, settings, book, since
        self._last_found: dict[tuple[str, str], str] = {}
        self._subject = Subject(run.id, run.name)
        self._follower = Follower(folder.events_path)
        self._watcher, self._num_lines = Watcher(settings.rules), 0
        self._last_at = run.started_at

    def look(self, status: str, error: str | None = None) -> bool:
        """Take what is new; `status` is how the run stands. Whether there was anything. Raises EventsDamaged, RunDamaged."""
        reading = self._follower.read_new()
        if reading.restarted:
            self._watcher, self._num_lines = Watcher(self._settings.rules), 0
        for event in reading.events:
            self._last_at = event["timing"]["at"]
            self._take(event, self._last_at)
        lines = self.folder.read_attempts()
        for line in lines[self._num_lines :]:
            self._last_at = max(self._last_at, line["at"])
            if "budget" in line:
                self._take({"kind": "budget", **line}, line["at"])
        is_new = bool(reading.events) or len(lines) > self._num_lines
        self._num_lines = len(lines)
        now = read_now()
        silent_s = (datetime.fromisoformat(now) - datetime.fromisoformat(self._last_at)).total_seconds()
        self._take({"kind": "run-state", "status": status, "silent_s": silent_s, "error": error}, now)
        return is_new

    def _take(self, signal: Signal, at: str) -> None:
        for finding in self._watcher.take(signal):
            found = (finding.rule, finding.key)
            # The book would say the same, but it is read anew each time, and a loss may be NaN at every step.
            is_cooling = is_within_cooldown(self._last_found.get(found), at, finding.rule, self._settings)
            if at >= self._since and not is_cooling:
                self._last_found[found] = at
                self._book.raise_alert(finding, self._subject, at, self._settings)


@contextlib.contextmanager
def follow_alerts(folder: RunFolder, workspace: Workspace, say: Say) -> Iterator[None]:
    """Have a thread watch a run while the block lasts, where its manifest asked for that.

    What goes wrong with the watching is said once; the run never fails for it. Raises what is wrong with the alert file.
    """
    asked = read_watch(folder).alerts
    if asked is None:
        yield
        return
    settings = find_settings(asked, workspace)
    book = open_book(workspace)
    over = threading.Event()
    ending: list[str] = []

    def watch() -> None:
        try:
            run, machine = RunWatch(folder, settings, book), Watcher(settings.rules)
            while True:
                was_over = over.is_set()  # asked before looking, so that what came last is seen
                while run.look("failed" if ending else "running", ending[0] if ending else None):
                    pass
                _look_at_machine(machine, workspace, settings, book)
                _deliver(book, settings, say)
                if was_over:
                    return
                over.wait(POLL_S)
        except (TrainwrightError, OSError) as error:
            say(f"alerts: {error}; the run goes on, and nobody watches it")

    thread = threading.Thread(target=watch, name="alerts", daemon=True)
    thread.start()
    try:
        yield
    except (Interrupted, BudgetReached):
        raise
    except TrainwrightError as error:
        ending.append(f"{error.name}: {error.message}")
        raise
    finally:
        over.set()
        thread.join(PATIENCE_S)


# ── everything ────────────────────────────────────────────────────────────────────────────────────────────────────────
class WorkspaceWatch:
    """Watches all that happens in a workspace from now on, and what happened since somebody watched it last."""

    def __init__(self, workspace: Workspace, settings: AlertSettings, say: Say) -> None:
        self._workspace, self._settings, self._say = workspace, settings, say
        self._book = open_book(workspace)
        self._machine = Watcher(settings.rules)
        self._models = Watcher(settings.rules)
        self._runs: dict[Path, RunWatch | None] = {}
        self._failed_jobs: set[str] = set()
        self._since = read_watched_at(workspace) or read_now()  # never watched: from now on

    def look(self) -> None:
        """One look at everything. Raises DiskFull, NotWritable, LedgerUnavailable, RunDamaged (of the alerts' own files)."""
        begun = read_now()
        for folder in self._workspace.iter_run_folders():
            self._look_at_run(folder)
        self._look_at_records()
        self._look_at_jobs()
        _look_at_machine(self._machine, self._workspace, self._settings, self._book)
        _deliver(self._book, self._settings, self._say)
        self._since = begun
        write_file(_locate_watched(self._workspace), json.dumps({"at": begun}).encode() + b"\n")

    def watch(self, pause: Callable[[float], None] = time.sleep) -> None:
        """Look again and again, until interrupted. Where a look takes long, less often: a tenth of the time is for it."""
        while True:
            begun = time.perf_counter()
            self.look()
            pause(max(POLL_S, 9 * (time.perf_counter() - begun)))

    def _look_at_run(self, folder: RunFolder) -> None:
        is_running = folder.is_locked()
        watch = self._runs.get(folder.path)
        if not is_running and not _changed_since(folder, self._since):
            return
        try:
            if watch is None:
                watch = self._runs[folder.path] = RunWatch(folder, self._settings, self._book, self._since)
            outcome = outcome_of(folder.read_run(), self._workspace)
            while watch.look(_name_status(is_running, outcome), None if outcome is None else outcome.error):
                pass
        except (EventsDamaged, RunDamaged, TrainwrightTooOld) as error:
            finding = Finding("failed-job", "high", f"its files cannot be read: {error.message}", key=error.message)
            self._book.raise_alert(finding, Subject(folder.path.name, folder.path.name), read_now(), self._settings)

    def _look_at_records(self) -> None:
        for kind in ("decision", "evaluation"):
            for stored in self._workspace.ledger.find(kind, PAGE):
                if stored.added_at < self._since:
                    break
                signal, subject = _describe_record(stored.record)
                for finding in self._models.take(signal):
                    self._book.raise_alert(finding, subject, stored.added_at, self._settings)

    def _look_at_jobs(self) -> None:
        if not (self._workspace.root / "jobs.sqlite").exists() and self._workspace.jobs_url is None:
            return  # nobody ever asked for one: the queue is not made for that
        rule = self._settings.rules.failed_job
        for job in self._workspace.jobs.find(PAGE, states=("failed",)):
            if rule.enabled and job.id not in self._failed_jobs and (job.ended_at or "") >= self._since:
                self._failed_jobs.add(job.id)
                said = (job.error or {}).get("message") or "no reason is on record"
                finding = Finding(
                    "failed-job", rule.severity, f"the job failed: {said}", key=f"{job.id} {job.ended_at}"
                )
                self._book.raise_alert(finding, Subject(job.id, job.name), str(job.ended_at), self._settings)


def _locate_watched(workspace: Workspace) -> Path:
    return open_book(workspace).folder / "watched.json"


def _deliver(book: AlertBook, settings: AlertSettings, say: Say) -> None:
    """What waits goes out; a channel that is found dead is an alert to the others."""
    book.escalate(read_now(), settings)
    for name in deliver(book, say):
        state = next(state for state in book.list_channels() if state.name == name)
        message = f"the channel {name} has not taken anything for {state.num_failures} tries: {state.error}"
        finding = Finding(CHANNEL_DEAD, "high", message, key=str(state.last_delivered_at))
        book.raise_alert(finding, Subject(name, name), read_now(), settings)


def _look_at_machine(watcher: Watcher, workspace: Workspace, settings: AlertSettings, book: AlertBook) -> None:
    memory = psutil.virtual_memory()
    signal = {
        "kind": "machine",
        "disk_free_bytes": shutil.disk_usage(workspace.root).free,
        "memory_available_share": memory.available / memory.total,
    }
    for finding in watcher.take(signal):
        book.raise_alert(finding, MACHINE, read_now(), settings)


def _describe_record(record: Record) -> tuple[Signal, Subject]:
    if isinstance(record, Decision):
        unmet = [f"{one.gate.suite}/{one.gate.metric}: {one.why}" for one in record.gates if one.outcome != "pass"]
        unmet += [f"{one.name}: {one.why}" for one in record.conditions if one.outcome != "pass"]
        facts = {"name": record.name, "stage": record.stage, "outcome": record.outcome, "why": "; ".join(unmet)}
        return {"kind": "decision", "id": record.id, **facts}, Subject(record.name, record.name)
    if not isinstance(record, Evaluation):
        raise TypeError(f"nothing is watched for in a {record.kind}")
    metrics = {f"{record.evalset}/{name}": measure.value for name, measure in record.aggregates.items()}
    subject = record.checkpoint or record.imported_model or record.id
    return {"kind": "evaluation", "id": record.id, "metrics": metrics}, Subject(subject, f"model {subject[:12]}")


def _name_status(is_running: bool, outcome: Outcome | None) -> str:
    if outcome is not None:
        return outcome.status
    return "running" if is_running else "stopped"


def _changed_since(folder: RunFolder, since: str) -> bool:
    """Whether anything was said about the run since then."""
    bound = datetime.fromisoformat(since).timestamp()
    for path in (folder.events_path, folder.attempts_path):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime >= bound:
                return True
    return False
