"""Feeding one tracker from a run's event stream, with a place in it that outlives the process.

python -m trainwright.watch.trackers ASSIGNMENT      (started by process.py; standard input is open while the run goes on)
"""

import fcntl
import importlib
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from trainwright.core.durable import write_file
from trainwright.core.errors import PackageMissing
from trainwright.core.records import Frozen, parse_record
from trainwright.watch.events import Event
from trainwright.watch.follow import Cursor, Follower
from trainwright.watch.trackers.points import build_points
from trainwright.watch.trackers.protocol import Subject, Tracker, TrackerSettings

TrackerName = Literal["tensorboard", "wandb", "mlflow"]

POLL_S = 0.5
"""How long a tracker that has everything waits before it looks again."""

Status = Literal["following", "complete", "behind", "failed"]


class Assignment(Frozen):
    """One tracker, one run."""

    tracker: TrackerName
    run_dir: str
    settings: TrackerSettings

    @property
    def folder(self) -> Path:
        """Where what belongs to trackers lies in the run folder."""
        return Path(self.run_dir) / "trackers"

    @property
    def state_path(self) -> Path:
        """What the tracker has taken so far."""
        return self.folder / f"{self.tracker}.json"

    @property
    def log_path(self) -> Path:
        """What the tracker's own library said while it was last at work."""
        return self.folder / f"{self.tracker}.log"

    @property
    def events_path(self) -> Path:
        """What there is to be taken."""
        return Path(self.run_dir) / "events.jsonl"


class FeedState(Frozen):
    """How far a tracker has come (`trackers/NAME.json`).

    `num_events` were handed to it, and `num_safe` of them are safe there. `cursor` is a place in the file from which the
    next process goes on; `mark` is the tracker's own note to it. `settings` are those that it was written with: others
    mean another place, where it begins anew.
    """

    status: Status = "following"
    why: str = ""
    where: str = ""
    num_events: int = 0
    num_safe: int = 0
    step: int = 0
    completed: bool = False
    cursor: Cursor = Cursor()
    mark: dict[str, Any] | None = None
    settings: TrackerSettings = Field(default_factory=TrackerSettings)


def read_state(assignment: Assignment) -> FeedState | None:
    """What an earlier process left; None where there was none, it wrote elsewhere, or its note cannot be read."""
    try:
        state = FeedState.model_validate_json(assignment.state_path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    return state if state.settings == assignment.settings else None


def write_state(assignment: Assignment, state: FeedState) -> None:
    """Keep how far the tracker has come. Raises DiskFull, NotWritable."""
    write_file(assignment.state_path, state.model_dump_json(indent=2).encode() + b"\n")


def feed(assignment: Assignment, over: threading.Event) -> FeedState:
    """Hand the run's events to the tracker until `over` is set and everything was taken. Returns how far it came.

    Raises PackageMissing, EventsDamaged, DiskFull, NotWritable, and whatever the tracker's library raises.
    """
    with _only_one(assignment):
        before = read_state(assignment)
        tracker = _open_tracker(assignment, None if before is None else before.mark)
        state = _begin(assignment, tracker, before)
        write_state(assignment, state)
        follower = Follower(assignment.events_path, state.cursor)
        while True:
            was_over = over.is_set()  # asked before reading, so that what was written before the end is read
            events = follower.read_new().events
            # After a resume the same events come again: they are the same apart from their times.
            if new := [event for event in events if event["seq"] >= state.num_events]:
                tracker.write(build_points(new))
                state = _advance(state, new, follower.cursor, tracker.mark())
                write_state(assignment, state)
            if not events:
                if was_over:
                    break
                over.wait(POLL_S)
        state = state.model_copy(
            update={
                "status": "complete",
                "mark": tracker.close(completed=state.completed),
                "cursor": follower.cursor.model_dump(),
                "num_safe": state.num_events,
            }
        )
        write_state(assignment, state)
    return state


def _begin(assignment: Assignment, tracker: Tracker, before: FeedState | None) -> FeedState:
    if before is None or before.mark is None or tracker.is_new:
        return FeedState(where=tracker.where, settings=assignment.settings)
    # What was handed over but was not safe comes again.
    return before.model_copy(
        update={"status": "following", "why": "", "where": tracker.where, "num_events": before.num_safe}
    )


def _advance(state: FeedState, new: list[Event], cursor: Cursor, mark: dict[str, Any] | None) -> FeedState:
    ends = [event["status"] == "completed" for event in new if event["kind"] == "run-finished"]
    changes: dict[str, Any] = {
        "num_events": new[-1]["seq"] + 1,
        "step": max([state.step, *(event["step"] for event in new if "step" in event)]),
        "completed": ends[-1] if ends else state.completed,
    }
    if mark is not None:
        changes |= {"mark": mark, "cursor": cursor.model_dump(), "num_safe": changes["num_events"]}
    return state.model_copy(update=changes)


def _open_tracker(assignment: Assignment, mark: dict[str, Any] | None) -> Tracker:
    name = assignment.tracker
    try:
        module = importlib.import_module(f"trainwright.watch.trackers.{name}")
    except ModuleNotFoundError as error:
        raise PackageMissing(
            f"The tracker {name} is not installed.",
            why=f"There is no package {error.name}.",
            next_step=f"pip install 'trainwright[{name}]'",
        ) from error
    tracker: Tracker = module.open_tracker(_read_subject(assignment), assignment.settings, mark)
    return tracker


def _read_subject(assignment: Assignment) -> Subject:
    run, plan = (json.loads((Path(assignment.run_dir) / name).read_bytes()) for name in ("run.json", "plan.json"))
    return Subject(parse_record(run).id, run["name"], run["started_at"], plan, assignment.folder)


@contextmanager
def _only_one(assignment: Assignment) -> Iterator[None]:
    """Be the only process that feeds this tracker with this run; wait for one that is just ending."""
    assignment.folder.mkdir(exist_ok=True)
    descriptor = os.open(assignment.folder / f"{assignment.tracker}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
