"""What is already there: runs and how they stand, and their records."""

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trainwright.core.errors import UnknownRef
from trainwright.core.records import Checkpoint, Outcome, Report, Run, Verdict
from trainwright.pipeline.publish import list_artefacts
from trainwright.pipeline.spending import was_stopped_by_budget
from trainwright.store.checkpoints import list_checkpoints
from trainwright.store.run_folder import NUM_ID_DIGITS, RunFolder
from trainwright.store.workspace import Workspace
from trainwright.watch.events import Event, iter_events, leave_out_undone
from trainwright.watch.follow import Follower
from trainwright.watch.live import Viewer

PAGE = 100
LOOK_EVERY_S = 0.5
Status = Literal["running", "interrupted", "budget-reached", "completed", "failed"]


@dataclass(frozen=True)
class RunState:
    """How a run stands. `step` is the last step on record; `val_loss` and `bits_per_byte` are the last ones measured."""

    run: Run
    status: Status
    folder: RunFolder
    step: int
    num_steps: int
    bits_per_byte: float | None
    outcome: Outcome | None

    def as_document(self) -> dict[str, Any]:
        """One row of `runs list --json`."""
        return {
            "run_id": self.run.id,
            "name": self.run.name,
            "status": self.status,
            "started_at": self.run.started_at,
            "plan_id": self.run.plan,
            "step": self.step,
            "num_steps": self.num_steps,
            "bits_per_byte": self.bits_per_byte,
            "run_dir": str(self.folder.path.resolve()),
        }


def find_runs(workspace: Workspace, plan_id: str | None = None) -> list[Run]:
    """Runs of a plan, or all, newest first."""
    if plan_id is not None:
        ledger = workspace.ledger
        children = [ledger.get(child_id) for role, child_id in ledger.children(plan_id) if role == "plan"]
        return [run for run in reversed(children) if isinstance(run, Run)]  # the order of putting: clocks step back
    return list(iter_runs(workspace))


def iter_runs(workspace: Workspace, after: str | None = None) -> Iterator[Run]:
    """All runs, newest first, or those begun before the one that `after` names; a page at a time is read.

    Raises UnknownRef, AmbiguousRef.
    """
    last = None if after is None else workspace.ledger.resolve(after)
    while page := workspace.ledger.find("run", PAGE, after=last):
        yield from (stored.record for stored in page if isinstance(stored.record, Run))
        last = page[-1].record.id


def outcome_of(run: Run, workspace: Workspace) -> Outcome | None:
    """How the run ended, or None while it has not."""
    for role, child_id in workspace.ledger.children(run.id):
        child = workspace.ledger.get(child_id) if role == "run" else None
        if isinstance(child, Outcome):
            return child
    return None


def find_verdict(run: Run, workspace: Workspace) -> Verdict | None:
    """The newest verdict on a run, or None where it was never verified."""
    records = (workspace.ledger.get(child) for role, child in workspace.ledger.children(run.id) if role == "run")
    return next((record for record in reversed(list(records)) if isinstance(record, Verdict)), None)


def find_unfinished(workspace: Workspace, plan_id: str | None = None) -> list[Run]:
    """Runs that did not end and whose folder is there: the interrupted ones first, then those that are running now."""
    interrupted: list[Run] = []
    running: list[Run] = []
    for run in find_runs(workspace, plan_id):
        if outcome_of(run, workspace) is None:
            with contextlib.suppress(UnknownRef):  # the folder was removed: nothing is left to go on with
                is_running = workspace.find_run_folder(run.id).is_locked()
                (running if is_running else interrupted).append(run)
    return interrupted + running


def read_state(run: Run, workspace: Workspace, events: Iterable[Event] | None = None) -> RunState:
    """How a run stands, from its folder and the ledger. `events`: all that it said, where the caller has read it already."""
    folder = workspace.find_run_folder(run.id)
    outcome = outcome_of(run, workspace)
    step, bits_per_byte = 0, None
    if events is None:
        events = iter_events(folder.events_path) if folder.events_path.exists() else ()
    for event in leave_out_undone(events):
        step = event["to_step"] if event["kind"] == "rollback" else event.get("step", step)
        bits_per_byte = event.get("bits_per_byte", bits_per_byte)
    report = workspace.ledger.get(outcome.report) if outcome is not None and outcome.report else None
    if isinstance(report, Report):
        bits_per_byte = report.metrics["bits_per_byte"].value
    return RunState(
        run, status_of(outcome, folder), folder, step, folder.read_plan().training.num_steps, bits_per_byte, outcome
    )


def list_states(workspace: Workspace, limit: int, after: str | None = None) -> tuple[list[RunState], str | None]:
    """A page of runs, newest first, and the id to ask for the next page with (None on the last one).

    A run whose folder was removed is left out: nothing can be said about it.
    """
    kept = {folder.path.name.rpartition("-")[2] for folder in workspace.iter_run_folders()}
    found: list[Run] = []
    for run in iter_runs(workspace, after):
        if run.id[:NUM_ID_DIGITS] in kept:
            if len(found) == limit:
                return [read_state(run, workspace) for run in found], found[-1].id
            found.append(run)
    return [read_state(run, workspace) for run in found], None


def describe_run(ref: str, workspace: Workspace) -> dict[str, Any]:
    """Everything about a run: what `runs show --json` prints."""
    run = find_run(ref, workspace)
    state = read_state(run, workspace)
    folder = state.folder
    metrics = json.loads(folder.metrics_path.read_bytes()) if folder.metrics_path.exists() else {}
    checkpoints = list_run_checkpoints(folder, workspace)
    outcome = state.outcome
    best = workspace.ledger.get(outcome.checkpoint) if outcome is not None and outcome.checkpoint else None
    report = workspace.ledger.get(outcome.report) if outcome is not None and outcome.report else None
    verdict = find_verdict(run, workspace)
    return {
        **state.as_document(),
        "error": None if outcome is None else outcome.error,
        "weights_digest": best.weights if isinstance(best, Checkpoint) else None,
        "final_metrics": metrics.get("final_metrics"),
        "checks": [check.model_dump() for check in report.checks] if isinstance(report, Report) else [],
        "phases": metrics.get("phases", []),
        "artefacts": list_artefacts(folder, Path(checkpoints[-1]["path"])) if checkpoints else {},
        "plan": folder.read_plan().model_dump(mode="json"),
        "environment": folder.read_environment(),
        "checkpoints": checkpoints,
        "verdict": None if verdict is None else {"verdict_id": verdict.id, **verdict.model_dump(mode="json")},
        "attempts": folder.read_attempts(),
    }


def read_events(ref: str, workspace: Workspace) -> list[Event]:
    """Everything that a run said. Raises UnknownRef, AmbiguousRef, EventsDamaged."""
    folder = workspace.find_run_folder(find_run(ref, workspace).id)
    return list(iter_events(folder.events_path)) if folder.events_path.exists() else []


def follow(run: Run, viewer: Viewer, workspace: Workspace, pause: Callable[[float], None] = time.sleep) -> None:
    """Show a run to `viewer` as it is written, until no process writes it any more. Nothing but reading is done to it.

    Raises EventsDamaged.
    """
    folder = workspace.find_run_folder(run.id)
    follower = Follower(folder.events_path)
    num_idle = 0
    while True:
        is_written = folder.is_locked()  # asked before reading, so that the last events are read
        reading = follower.read_new()
        if reading.restarted:
            viewer.start_over()
        viewer.take(reading.events)
        if reading.events:
            num_idle = 0
            continue
        num_idle += 1
        # Asked twice: a run has its folder an instant before it has its lock.
        if not is_written and num_idle > 1:
            return
        pause(LOOK_EVERY_S)


def find_run(ref: str, workspace: Workspace) -> Run:
    """The run that `ref` names: by its id, or by a ref to one of its checkpoints. Raises UnknownRef, AmbiguousRef."""
    record = workspace.ledger.get(workspace.ledger.resolve(ref))
    if isinstance(record, Checkpoint):
        record = workspace.ledger.get(record.run)
    if not isinstance(record, Run):
        raise UnknownRef(
            f"{ref} does not name a run.",
            why=f"It names a {record.kind}.",
            next_step="`trainwright runs list` shows the runs.",
        )
    return record


def list_run_checkpoints(folder: RunFolder, workspace: Workspace) -> list[dict[str, Any]]:
    """[{step, path, digest}] of what is kept, oldest first. `digest` is that of the weights."""
    run_id = folder.read_run().id
    digests = {
        record.step: record.weights
        for _, child_id in workspace.ledger.children(run_id)
        if isinstance(record := workspace.ledger.get(child_id), Checkpoint)
    }
    return [
        {"step": step, "path": str(path.resolve()), "digest": digests.get(step)}
        for step, path in list_checkpoints(folder.checkpoints_path)
    ]


def status_of(outcome: Outcome | None, folder: RunFolder) -> Status:
    """How a run stands, from how it ended and who works on it."""
    if outcome is not None:
        return outcome.status
    if folder.is_locked():
        return "running"
    return "budget-reached" if was_stopped_by_budget(folder) else "interrupted"
