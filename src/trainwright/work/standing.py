"""How a job stands: what its run has said so far, and what its processes said to people."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainwright.core.errors import RunDamaged, UnknownRef
from trainwright.core.jobs import Job, JobState
from trainwright.store.jobs import JobStore
from trainwright.store.workspace import Workspace
from trainwright.watch.events import Event
from trainwright.watch.follow import Follower
from trainwright.watch.live import RunSoFar
from trainwright.work.job_folder import JobFolder


class RunReader:
    """Reads the events of one run, each once, and remembers what they add up to."""

    def __init__(self, events_path: Path) -> None:
        self._follower = Follower(events_path)
        self.so_far = RunSoFar()

    def read_new(self) -> list[Event]:
        """What came since the last reading. Raises EventsDamaged."""
        reading = self._follower.read_new()
        if reading.restarted:
            self.so_far = RunSoFar()
        for event in reading.events:
            self.so_far.add(event)
        return reading.events

    def as_document(self) -> dict[str, Any]:
        """{step, num_steps, loss, val_loss, eta_s}: None where nothing was said yet."""
        newest = self.so_far.newest("step") or {}
        document = self.so_far.as_document()
        return {
            "step": newest.get("step"),
            "num_steps": self.so_far.num_steps,
            "loss": document["loss"],
            "val_loss": document["val_loss"],
            "eta_s": self.so_far.left_s(),
        }


def list_jobs(
    jobs: JobStore, limit: int, after: str | None = None, states: Sequence[JobState] = ()
) -> tuple[list[Job], str | None]:
    """A page of jobs, the last asked for first, and the id to ask for the next page with (None on the last one)."""
    last = None if after is None else jobs.resolve(after)
    found = jobs.find(limit + 1, last, states)
    return found[:limit], found[limit - 1].id if len(found) > limit else None


def find_events_path(job: Job, workspace: Workspace) -> Path | None:
    """The event stream of the run that a job works on now; None before it has one, or where its folder is gone."""
    if not job.runs:
        return None
    try:
        return workspace.find_run_folder(job.runs[-1]).events_path
    except (UnknownRef, RunDamaged):
        return None


def describe_job(job: Job, workspace: Workspace) -> dict[str, Any]:
    """A job with how far its run is: what `jobs show --json` prints."""
    path = find_events_path(job, workspace)
    reader = None
    if path is not None:
        reader = RunReader(path)
        while reader.read_new():
            pass
    return {**job.as_document(), "progress": None if reader is None else reader.as_document()}


def read_log(job: Job, workspace: Workspace, offset: int = 0, max_bytes: int = 1 << 20) -> tuple[str, int]:
    """(text, where it ended) of a job's log from a byte on; a negative offset counts from the end."""
    path = JobFolder(workspace.job_folders / job.id).log_path
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            start = max(0, size + offset) if offset < 0 else min(offset, size)
            file.seek(start)
            data = file.read(max_bytes)
    except FileNotFoundError:
        return "", 0
    return data.decode("utf-8", "replace"), start + len(data)
