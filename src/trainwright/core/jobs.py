"""A job: a manifest that somebody wants run, and how far that has come. What it makes are runs; a job itself is no record.

queued ─claim→ running ─┬→ completed, failed
   ↑                    ├→ cancelled (it was to stop), interrupted (it was stopped by somebody else), budget-reached
   └────────────────────┴─ its worker died, or was asked to end: it goes on from its last checkpoint
"""

from typing import Any, Literal, get_args

from pydantic import Field

from trainwright.core.records import Frozen

JobState = Literal["queued", "running", "completed", "failed", "cancelled", "interrupted", "budget-reached"]
JOB_STATES: tuple[JobState, ...] = get_args(JobState)
RESUMABLE: frozenset[JobState] = frozenset({"failed", "cancelled", "interrupted", "budget-reached"})
"""Whoever asks for such a job again gets what is left of it done."""

MAX_PRIORITY = 1000
CPU, ANY_DEVICE = "cpu", "any"


class Job(Frozen):
    """What was asked for, and how it stands. Times are ISO 8601, UTC."""

    id: str = Field(pattern=r"^[0-9a-f]{32}$")
    name: str
    state: JobState = "queued"
    priority: int = Field(default=0, ge=-MAX_PRIORITY, le=MAX_PRIORITY)
    """The highest is worked off first; of equals, the one that was asked for first."""
    manifest: dict[str, Any]
    """What a person would write into a manifest's file."""
    overrides: tuple[str, ...] = ()
    """Dotted settings on top of it, as on a command line."""
    folder: str
    """Where the manifest's relative paths begin."""
    framework: str = "auto"
    memory_bytes: int = Field(default=0, ge=0)
    """What it may take, by its manifest's own budget; 0 where that sets none."""
    device: str = ANY_DEVICE
    """What it is to compute on, by its manifest: `cpu`, `any` (an accelerator, where there is one), or one by name."""
    device_held: str | None = None
    """What it was given of the devices that its host hands out, one job at a time."""
    submitted_by: str
    submitted_at: str
    started_at: str | None = None
    ended_at: str | None = None
    working_s: float = 0.0
    """Seconds in which a worker had it, over all attempts that ended."""
    attempts: int = 0
    crashes: int = 0
    """Attempts in a row that ended without a word: killed, or out of memory."""
    worker: str | None = None
    stop_asked_by: str | None = None
    runs: tuple[str, ...] = ()
    """The ids of the runs it worked on, in order; the last is the one that it is for."""
    exit_code: int | None = None
    error: dict[str, Any] | None = None
    """In the one shape of errors, where it failed."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens to it by itself."""
        return self.state not in ("queued", "running")

    def as_document(self) -> dict[str, Any]:
        """The job as commands and routes show it."""
        document = self.model_dump(mode="json")
        return {"job_id": document.pop("id"), **document}
