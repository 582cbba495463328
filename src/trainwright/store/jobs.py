"""The queue of jobs, and who works on which: the contract that `tests/contract/test_jobs_contract.py` holds a store to.

Who takes a job holds a lease on it, named by a word that nobody else knows, and renews it while it works. A lease that
was not renewed in time is anybody's: the job goes to whoever claims it next, and everything that the former holder says
about it from then on is refused. Time is the store's own clock, so that workers on several hosts need not agree on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from trainwright.core.errors import IdempotencyMismatch, JobEnded, JobNotResumable, UnknownRef
from trainwright.core.jobs import ANY_DEVICE, CPU, Job, JobState

LEASE_S = 10.0
"""How long a lease holds. With RENEW_EVERY_S and the pause between two claims: a dead worker is noticed within 15 s."""
RENEW_EVERY_S = 2.0


@dataclass(frozen=True)
class Limits:
    """What one host may do at once. `memory_bytes` None: no limit.

    Each of `devices` goes to one job at a time; without any, none is handed out, and a job takes what it finds.
    """

    num_jobs: int = 1
    memory_bytes: int | None = None
    devices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Claim:
    """A job and the lease on it."""

    job: Job
    lease: str


def find_misfit(job: Job, limits: Limits) -> str:
    """Why a host with these limits never takes that job, however idle it is; nothing where it does."""
    if limits.memory_bytes is not None and job.memory_bytes > limits.memory_bytes:
        return (
            f"it may take {job.memory_bytes / 1e6:,.0f} MB, and jobs here {limits.memory_bytes / 1e6:,.0f} MB together"
        )
    if limits.devices and job.device not in (CPU, ANY_DEVICE, *limits.devices):
        return f"it asks for {job.device}, and jobs here have {', '.join(limits.devices)}"
    return ""


class JobStore(Protocol):
    """Where jobs stand in line. Several threads and processes use one store at once."""

    def add(self, job: Job, key: str | None = None) -> tuple[Job, bool]:
        """Put a job in line; whether it is new. With a key that was used before, the job of then.

        Raises IdempotencyMismatch where the job of then was another.
        """

    def get(self, job_id: str) -> Job:
        """The job of that full id. Raises UnknownRef."""

    def resolve(self, text: str) -> str:
        """The full id that `text` is, or is the beginning of. Raises UnknownRef, AmbiguousRef."""

    def find(self, limit: int = 100, after: str | None = None, states: Sequence[JobState] = ()) -> list[Job]:
        """Jobs in these states (or in all), the last put in line first. Raises UnknownRef for an unknown `after`."""

    def count(self) -> dict[JobState, int]:
        """How many there are in each state; all states are there."""

    def measure(self) -> dict[str, Any]:
        """{frameworks: {name: jobs}, mean_working_s: of those that completed, None without any}."""

    def claim(self, worker: str, host: str, limits: Limits) -> Claim | None:
        """Take the next job that this host has room for, or None. A job whose lease ran out comes like one in line."""

    def renew(self, job_id: str, lease: str) -> Job | None:
        """Hold on to a job; how it stands now. None where the lease is another's by now."""

    def note_runs(self, job_id: str, lease: str, runs: Sequence[str]) -> bool:
        """Keep which runs it works on. False where the lease is another's."""

    def settle(
        self, job_id: str, lease: str, state: JobState, exit_code: int | None, error: dict[str, Any] | None
    ) -> bool:
        """End a job. False where the lease is another's: nothing is changed then."""

    def release(self, job_id: str, lease: str, after_s: float = 0.0, *, crashed: bool = False) -> bool:
        """Put a job back in line, not to be claimed before `after_s` have passed. False where the lease is another's."""

    def ask_stop(self, job_id: str, who: str) -> Job:
        """Ask for a stop: one in line is cancelled, one that runs will be, by who works on it. Raises JobEnded, UnknownRef."""

    def requeue(self, job_id: str) -> Job:
        """Put a job that was stopped or failed back in line. Raises JobNotResumable, UnknownRef."""

    def close(self) -> None:
        """Let go of connections."""


# ── what every store says alike ───────────────────────────────────────────────────────────────────────────────────────
def require_same(job: Job, known: Job) -> None:
    """Raises IdempotencyMismatch where two jobs under one key ask for different things."""
    if any(getattr(job, name) != getattr(known, name) for name in ("manifest", "overrides", "priority")):
        raise IdempotencyMismatch(
            "That idempotency key was used for something else.",
            why=f"It stands for the job {known.id[:12]}, which asks for another manifest or priority.",
            next_step="Choose a new key for a new request.",
        )


def unknown_job(text: str) -> UnknownRef:
    """That there is no such job."""
    return UnknownRef(f"There is no job {text!r}.", next_step="`trainwright jobs list` shows what there is.")


def job_ended(job: Job) -> JobEnded:
    """That a job is over and cannot be stopped."""
    return JobEnded(
        f"The job {job.id[:12]} is over.",
        why=f"It is {job.state} since {job.ended_at}.",
        next_step=f"trainwright jobs show {job.id[:12]}",
    )


def job_not_resumable(job: Job) -> JobNotResumable:
    """That nothing is left to do of a job, or that it is being done."""
    return JobNotResumable(
        f"The job {job.id[:12]} cannot be put back in line.",
        why=f"It is {job.state}.",
        next_step="Stop it first, or start a new one." if not job.is_over else "Start a new one.",
    )
