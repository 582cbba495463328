"""A worker: takes jobs from the line, keeps their leases while their processes run, and says how they ended.

One thread, one loop. What it knows is in the queue and on disk, so it can be killed at any instant: its children hear of it
and save, its leases run out, and whoever claims the jobs then goes on from the checkpoints.
"""

import logging
import os
import socket
import threading
import time
import uuid
from dataclasses import dataclass
from typing import Any

from trainwright.core.errors import JobCrashed, PrerequisiteError, RunBusy, TrainwrightError
from trainwright.core.jobs import Job, JobState
from trainwright.store.jobs import RENEW_EVERY_S, Claim, Limits, find_misfit
from trainwright.store.workspace import Workspace
from trainwright.work.executor import Attempt, Executor
from trainwright.work.job_folder import JobFolder

LOG = logging.getLogger("trainwright.work")
LOOK_EVERY_S = 0.25
CLAIM_EVERY_S = 0.5
NOTE_EVERY_S = 30.0
"""Between two looks for jobs that never fit here."""
MAX_CRASHES = 3
BUSY_PAUSE_S = 2.0
"""Until a job is tried again whose run is still being saved by a process that lost its worker."""
CRASH_PAUSE_S = 5.0
STOP_GRACE_S = 120.0
"""How long a process that was asked to stop may take for its last checkpoint."""

_MOST_LOOKED_AT = 1000
_COMPLETED, _BUDGET_REACHED, _INTERRUPTED = 0, 7, 130
_STOPPED = frozenset({_INTERRUPTED, -2, -15})
"""Exit codes of a process that was stopped in order, or before it could listen."""


@dataclass
class _Held:
    """A job in this worker's hands."""

    claim: Claim
    attempt: Attempt
    renewed_at: float
    runs: tuple[str, ...] = ()
    asked_at: float | None = None
    is_cancelled: bool = False
    is_lost: bool = False

    @property
    def job(self) -> Job:
        return self.claim.job


class Worker:
    """Works off the queue of a workspace until it is told not to."""

    def __init__(self, workspace: Workspace, limits: Limits, executor: Executor) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._workspace = workspace
        self._limits = limits
        self._executor = executor
        self._held: list[_Held] = []
        self._misfits: dict[str, str] = {}
        self._is_stopping = threading.Event()
        self._is_draining = threading.Event()
        self._claimed_at = -CLAIM_EVERY_S
        self._noted_at = -NOTE_EVERY_S

    def stop(self) -> None:
        """Save and stop what runs, put it back in line, and end."""
        self._is_stopping.set()

    def drain(self) -> None:
        """Take nothing more, and end once what runs has ended."""
        self._is_draining.set()

    def run(self) -> None:
        """Work until told to stop or to drain."""
        while not self._is_over():
            self.look()
            time.sleep(LOOK_EVERY_S)

    def run_until_empty(self) -> None:
        """Work until there is nothing to do: nothing in hand, and nothing to be claimed now."""
        while not self._is_over():
            self.look()
            if not self._held and not self._is_waiting_for_work():
                return
            time.sleep(LOOK_EVERY_S)

    def look(self) -> None:
        """One round: what ended is settled, what runs is renewed, what there is room for is taken."""
        for held in list(self._held):
            try:
                self._attend(held)
            except PrerequisiteError as error:  # the queue is locked or gone for a while: training goes on meanwhile
                LOG.warning("job %s: %s %s", held.job.id[:12], error.message, error.why)
        if not self._is_stopping.is_set() and not self._is_draining.is_set():
            try:
                self._claim()
            except PrerequisiteError as error:
                LOG.warning("no job can be taken: %s %s", error.message, error.why)

    def _is_over(self) -> bool:
        return (self._is_stopping.is_set() or self._is_draining.is_set()) and not self._held

    def _is_waiting_for_work(self) -> bool:
        """Whether there is anything in line that this host takes at some time, or anything that may come back into it."""
        jobs = self._workspace.jobs
        return jobs.count()["running"] > 0 or len(self.note_misfits()) < jobs.count()["queued"]

    def note_misfits(self) -> dict[str, str]:
        """{id: why} of the jobs in line that this host never takes; each is told once."""
        queued = self._workspace.jobs.find(_MOST_LOOKED_AT, states=("queued",))
        misfits = {job.id: why for job in queued if (why := find_misfit(job, self._limits))}
        for job_id, why in misfits.items():
            if job_id not in self._misfits:
                LOG.warning("job %s is not for this host: %s", job_id[:12], why)
        self._misfits = misfits
        return misfits

    # ── taking ────────────────────────────────────────────────────────────────────────────────────────────────────────
    def _claim(self) -> None:
        now = time.monotonic()
        if len(self._held) >= self._limits.num_jobs or now - self._claimed_at < CLAIM_EVERY_S:
            return
        self._claimed_at = now
        claim = self._workspace.jobs.claim(self.name, socket.gethostname(), self._limits)
        if claim is None:
            if now - self._noted_at >= NOTE_EVERY_S:
                self._noted_at = now
                self.note_misfits()
            return
        folder = JobFolder(self._workspace.job_folders / claim.job.id)
        try:
            attempt = self._executor.start(claim.job, folder, self._workspace.root)
        except TrainwrightError as error:
            self._workspace.jobs.settle(claim.job.id, claim.lease, "failed", error.exit_code, error.as_document())
            return
        LOG.info("job %s: %s, attempt %d", claim.job.id[:12], attempt.place, claim.job.attempts)
        self._held.append(_Held(claim, attempt, now, claim.job.runs))

    # ── holding ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def _attend(self, held: _Held) -> None:
        code = held.attempt.poll()
        if not held.is_lost:
            self._note_runs(held)
        if code is not None:
            if not held.is_lost:
                self._conclude(held, code)
            self._held.remove(held)
            return
        if not held.is_lost and time.monotonic() - held.renewed_at >= RENEW_EVERY_S:
            self._renew(held)
        if self._is_stopping.is_set() or held.is_cancelled or held.is_lost:
            self._stop(held)

    def _note_runs(self, held: _Held) -> None:
        runs = held.attempt.folder.read_runs()
        if runs != held.runs:
            held.is_lost = not self._workspace.jobs.note_runs(held.job.id, held.claim.lease, runs)
            held.runs = runs

    def _renew(self, held: _Held) -> None:
        held.renewed_at = time.monotonic()
        job = self._workspace.jobs.renew(held.job.id, held.claim.lease)
        if job is None:
            LOG.warning("job %s is another worker's by now", held.job.id[:12])
            held.is_lost = True
        else:
            held.is_cancelled = job.stop_asked_by is not None

    def _stop(self, held: _Held) -> None:
        held.attempt.ask_stop()
        held.asked_at = held.asked_at or time.monotonic()
        if time.monotonic() - held.asked_at > STOP_GRACE_S:
            held.attempt.kill()

    # ── ending ────────────────────────────────────────────────────────────────────────────────────────────────────────
    def _conclude(self, held: _Held, code: int) -> None:
        """Say how an attempt ended. Where the lease is another's by now, that one will say it."""
        jobs, job, lease = self._workspace.jobs, held.job, held.claim.lease
        error = held.attempt.folder.read_error()
        # Asked again, because a stop may have been asked for since the last renewal.
        renewed = jobs.renew(job.id, lease)
        if renewed is None:
            return
        was_to_stop = renewed.stop_asked_by is not None
        LOG.info("job %s: exit code %d", job.id[:12], code)
        if code == _COMPLETED:
            jobs.settle(job.id, lease, "completed", code, None)
        elif code == _BUDGET_REACHED:
            jobs.settle(job.id, lease, "budget-reached", code, error)
        elif was_to_stop and (code in _STOPPED or code < 0):
            jobs.settle(job.id, lease, "cancelled", code, None)
        elif held.attempt.was_asked and code in _STOPPED:  # by this worker, which is to end
            jobs.release(job.id, lease)
        elif code in _STOPPED:
            jobs.settle(job.id, lease, "interrupted", code, error)
        elif error is not None and error.get("name") == RunBusy.name:
            jobs.release(job.id, lease, BUSY_PAUSE_S)
        elif error is None:
            self._go_on_after_crash(held, renewed, code)
        else:
            jobs.settle(job.id, lease, "failed", code, error)

    def _go_on_after_crash(self, held: _Held, job: Job, code: int) -> None:
        if job.crashes + 1 < MAX_CRASHES:
            self._workspace.jobs.release(job.id, held.claim.lease, CRASH_PAUSE_S, crashed=True)
            return
        error = describe_crash(job, code, held.attempt)
        state: JobState = "failed"
        self._workspace.jobs.settle(job.id, held.claim.lease, state, code, error)


def describe_crash(job: Job, code: int, attempt: Attempt) -> dict[str, Any]:
    """The error of a job whose attempts ended without a word too often."""
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    crashed = JobCrashed(
        f"The process of the job {job.id[:12]} ended {MAX_CRASHES} times in a row without saying why; the last by {how}.",
        why=attempt.explain(code),
        next_step=f"Read {attempt.folder.log_path}; then trainwright jobs resume {job.id[:12]}",
    )
    return crashed.as_document()
