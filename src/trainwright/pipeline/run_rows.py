"""Runs as rows of a list: what is known at a glance, read from the end of each stream: thousands of runs cost little."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from trainwright.core.records import Outcome, Plan, Report, Run
from trainwright.pipeline.inspect import Status, iter_runs, outcome_of
from trainwright.store.run_folder import NUM_ID_DIGITS, RunFolder, name_run_folder
from trainwright.store.workspace import Workspace
from trainwright.watch.events import Event, decode_nonfinite

TAIL_BYTES = 1 << 16


@dataclass(frozen=True)
class RunRow:
    """One run at a glance. What was not said yet is None."""

    run: Run
    status: Status
    step: int
    num_steps: int
    loss: float | None
    val_loss: float | None
    bits_per_byte: float | None
    tokens_per_s: float | None
    framework: str

    def as_document(self) -> dict[str, Any]:
        """The row as JSON."""
        row = {key: value for key, value in vars(self).items() if key != "run"}
        return {"run_id": self.run.id, "name": self.run.name, "started_at": self.run.started_at, **row}


@dataclass
class _Folders:
    """The run folders by the digits of their runs; looked through only where one is not where its name says."""

    root: Path

    @cached_property
    def _by_digits(self) -> dict[str, Path]:
        return {path.name.rpartition("-")[2]: path for path in self.root.iterdir() if path.is_dir()}

    def find(self, run: Run) -> RunFolder | None:
        path = self.root / name_run_folder(run)
        if not path.is_dir():
            moved = self._by_digits.get(run.id[:NUM_ID_DIGITS])
            if moved is None:
                return None
            path = moved
        return RunFolder(path)


def list_rows(
    workspace: Workspace, limit: int, after: str | None = None, *, words: str = "", status: str = ""
) -> tuple[list[RunRow], str | None]:
    """A page of runs, newest first, and the id to ask for the next page with (None on the last one).

    `words`: in the name, or how the id begins. A run whose folder was removed is left out: nothing can be said about it.
    Raises UnknownRef for an `after` that is not here.
    """
    found: list[RunRow] = []
    folders = _Folders(workspace.runs)
    for run in iter_runs(workspace, after):
        if words and words.lower() not in run.name.lower() and not run.id.startswith(words.lower()):
            continue
        folder = folders.find(run)
        if folder is None:
            continue
        if len(found) == limit and not status:
            return found, found[-1].run.id
        outcome = outcome_of(run, workspace)
        standing = _find_status(outcome, folder)
        if status and standing != status:
            continue
        if len(found) == limit:
            return found, found[-1].run.id
        found.append(_read_row(run, folder, outcome, standing, workspace))
    return found, None


def _find_status(outcome: Outcome | None, folder: RunFolder) -> Status:
    if outcome is not None:
        return outcome.status
    return "running" if folder.is_locked() else "interrupted"


def _read_row(run: Run, folder: RunFolder, outcome: Outcome | None, status: Status, workspace: Workspace) -> RunRow:
    plan = workspace.ledger.get(run.plan)
    assert isinstance(plan, Plan)
    report = workspace.ledger.get(outcome.report) if outcome is not None and outcome.report else None
    newest = _read_newest(folder.events_path)
    step, validation = newest.get("step", {}), newest.get("validation", {})
    rollback = newest.get("rollback")
    is_undone = rollback is not None and rollback["seq"] > step.get("seq", -1)
    measured = report.metrics["bits_per_byte"].value if isinstance(report, Report) else None
    return RunRow(
        run=run,
        status=status,
        step=rollback["to_step"] if rollback is not None and is_undone else step.get("step", 0),
        num_steps=plan.training.num_steps,
        loss=step.get("loss"),
        val_loss=validation.get("val_loss"),
        bits_per_byte=measured if measured is not None else validation.get("bits_per_byte"),
        tokens_per_s=step.get("timing", {}).get("tokens_per_s"),
        framework=plan.compute.framework,
    )


def _read_newest(path: Path) -> dict[str, Event]:
    """The last event of each kind, from as much of the end of the stream as holds a step."""
    num_bytes = TAIL_BYTES
    while True:
        newest, is_whole = _read_tail(path, num_bytes)
        if is_whole or "step" in newest:
            return newest
        num_bytes *= 8


def _read_tail(path: Path, num_bytes: int) -> tuple[dict[str, Event], bool]:
    try:
        with path.open("rb") as file:
            start = max(0, file.seek(0, 2) - num_bytes)
            file.seek(start)
            lines = file.read(num_bytes).split(b"\n")
    except FileNotFoundError:
        return {}, True
    newest: dict[str, Event] = {}
    for line in lines[1 if start else 0 : -1]:  # the first one may have lost its beginning, the last one its end
        event = _parse(line)
        if event is not None:
            newest[event["kind"]] = event
    return newest, start == 0


def _parse(line: bytes) -> Event | None:
    """The event of a line; None where it is none: the run's own page says so, a list goes on."""
    try:
        document = json.loads(line)
        event = decode_nonfinite(document)
        event["timing"] = decode_nonfinite(event["timing"])
        return event if isinstance(event["kind"], str) else None
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
