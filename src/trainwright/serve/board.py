"""How all jobs stand, kept at hand: asked for a thousand times a second, it is read from the queue and the runs four times."""

import json
import threading
import time
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from trainwright.core.errors import EventsDamaged
from trainwright.core.jobs import Job
from trainwright.store.ledger import read_clock
from trainwright.store.workspace import Workspace
from trainwright.work.standing import RunReader, find_events_path

STATUS_PATH = "/api/training/status"
FRESH_S = 0.25
NUM_LISTED = 100
"""Beside those in line and running, the status names so many of the last jobs."""
MAX_ACTIVE = 1000


class Board:
    """The answer of the status route, made anew where it is older than FRESH_S."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._readers: dict[str, tuple[str, RunReader]] = {}
        self._lock = threading.Lock()
        self._made_at = -FRESH_S
        self._answer = b""

    def peek(self) -> bytes | None:
        """The answer, if it is fresh. Never waits."""
        return self._answer if time.monotonic() - self._made_at < FRESH_S else None

    def read(self) -> bytes:
        """The answer, fresh. Raises what the queue raises."""
        with self._lock:
            answer = self.peek()
            if answer is None:
                answer = json.dumps(self._build(), ensure_ascii=False, allow_nan=False).encode()
                self._answer, self._made_at = answer, time.monotonic()
            return answer

    def _build(self) -> dict[str, Any]:
        queue = self._workspace.jobs
        counts = queue.count()
        jobs = {job.id: job for job in queue.find(MAX_ACTIVE, states=("running", "queued"))}
        jobs |= {job.id: job for job in queue.find(NUM_LISTED)}
        self._readers = {job_id: kept for job_id, kept in self._readers.items() if job_id in jobs}
        stamps = [stamp for job in jobs.values() for stamp in (job.submitted_at, job.started_at, job.ended_at) if stamp]
        return {
            "status": "running" if counts["running"] else "idle",
            "timestamp": read_clock(),
            "training": {
                "totalJobs": sum(counts.values()),
                "runningJobs": counts["running"],
                "completedJobs": counts["completed"],
                "failedJobs": counts["failed"],
                "cancelledJobs": counts["cancelled"],
                "queuedJobs": counts["queued"],
                "interruptedJobs": counts["interrupted"],
                "budgetReachedJobs": counts["budget-reached"],
                "lastUpdated": max(stamps, default=None),
            },
            "jobs": {job.id: self._describe(job) for job in jobs.values()},
        }

    def _describe(self, job: Job) -> dict[str, Any]:
        reader = self._find_reader(job)
        progress = None
        if reader is not None:
            progress = {key: _as_json(value) for key, value in reader.as_document().items()}
        nothing = dict.fromkeys(("step", "num_steps", "loss", "val_loss", "eta_s"))
        run = job.runs[-1] if job.runs else None
        left = {} if job.state == "running" else {"eta_s": None}
        return {"name": job.name, "state": job.state, "run_id": run, **nothing, **(progress or {}), **left}

    def _find_reader(self, job: Job) -> RunReader | None:
        run = job.runs[-1] if job.runs else ""
        known = self._readers.get(job.id)
        if known is None or known[0] != run:
            path = find_events_path(job, self._workspace)
            if path is None:
                return None
            known = self._readers[job.id] = (run, RunReader(path))
        try:
            while known[1].read_new():
                pass
        except EventsDamaged:  # what was read before it still stands
            pass
        return known[1]


class BoardFirst:
    """An application whose status route is answered before it is looked for, as long as the board is fresh.

    Whoever watches jobs asks for this route and no other, again and again; finding a route and its dependencies takes longer
    than the answer. It stands behind the guard.
    """

    def __init__(self, app: ASGIApp, *, board: Board) -> None:
        self._app = app
        self._board = board

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer from the board, or pass the request on."""
        if scope["type"] == "http" and scope["path"] == STATUS_PATH and scope["method"] == "GET":
            answer = self._board.peek()
            if answer is not None:
                await Response(answer, media_type="application/json")(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _as_json(value: Any) -> Any:
    """JSON has no NaN: a loss that is none is told as the text that events have for it."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return value
