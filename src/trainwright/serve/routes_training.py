"""Training jobs: start, stop, resume, watch."""

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from trainwright.core.errors import InvalidValue
from trainwright.core.jobs import MAX_PRIORITY, JobState
from trainwright.core.records import Frozen
from trainwright.serve.access import Operator
from trainwright.serve.board import Board
from trainwright.serve.context import After, IdempotencyKey, Limit, Opened
from trainwright.serve.remote import require_within
from trainwright.serve.streaming import Stream
from trainwright.serve.streams import JobTail, iter_messages
from trainwright.work.standing import describe_job, list_jobs, read_log
from trainwright.work.submit import build_job, find_manifest_of

router = APIRouter(prefix="/api/training", tags=["training"])


class StartRequest(Frozen):
    """What is to be trained: a manifest as a person would write it, or the id of a plan that was asked for before."""

    manifest: dict[str, Any] | None = None
    plan: str | None = Field(default=None, min_length=1, max_length=200)
    framework: str | None = Field(default=None, min_length=1, max_length=64)
    priority: int = Field(default=0, ge=-MAX_PRIORITY, le=MAX_PRIORITY)


@router.get("/status")
async def read_status(request: Request) -> Response:
    """How many jobs there are in each state, and how far each is: those in line and running, and the last hundred."""
    board: Board = request.app.state.board
    answer = board.peek()
    if answer is None:
        answer = await run_in_threadpool(board.read)
    return Response(answer, media_type="application/json")


@router.get("/metrics")
def read_metrics(workspace: Opened) -> dict[str, Any]:
    """Over all jobs. `averageTrainingTime` is in seconds, of those that completed; null where none has."""
    counts, measured = workspace.jobs.count(), workspace.jobs.measure()
    return {
        "totalJobs": sum(counts.values()),
        "completedJobs": counts["completed"],
        "failedJobs": counts["failed"],
        "averageTrainingTime": measured["mean_working_s"],
        "frameworkUsage": measured["frameworks"],
    }


@router.get("/jobs")
def read_jobs(
    workspace: Opened, limit: Limit = 100, after: After = None, state: Annotated[JobState | None, Query()] = None
) -> dict[str, Any]:
    """A page of jobs, the last asked for first."""
    found, following = list_jobs(workspace.jobs, limit, after, () if state is None else (state,))
    return {"items": [job.as_document() for job in found], "next": following}


@router.get("/jobs/{job_id}")
def read_job(job_id: str, workspace: Opened) -> dict[str, Any]:
    """A job, with how far its run is."""
    return describe_job(workspace.jobs.get(workspace.jobs.resolve(job_id)), workspace)


@router.post("/start", status_code=202)
def start(
    body: StartRequest, response: Response, caller: Operator, workspace: Opened, key: IdempotencyKey = None
) -> dict[str, Any]:
    """Put a manifest in line. The same `Idempotency-Key` with the same body is the same job."""
    if (body.manifest is None) == (body.plan is None):
        raise InvalidValue(
            "Either a manifest or a plan is to be started.",
            why="The body names both." if body.plan is not None else "The body names neither.",
            next_step='For example: {"manifest": {"data": {"corpus": "builtin:stories"}}}',
        )
    document = body.manifest if body.manifest is not None else find_manifest_of(str(body.plan), workspace)
    folder = Path.cwd() if caller.is_local else workspace.root
    job = build_job(document, who=caller.name, folder=folder, framework=body.framework, priority=body.priority)
    if not caller.may("admin"):
        require_within(job, workspace)
    job, _ = workspace.jobs.add(job, None if key is None else f"{caller.name}:{key}")
    response.headers["Location"] = f"/api/training/jobs/{job.id}"
    return job.as_document()


@router.post("/stop/{job_id}", status_code=202)
def stop(job_id: str, caller: Operator, workspace: Opened) -> dict[str, Any]:
    """Stop a job: in line, it is cancelled at once; running, after it saved a checkpoint."""
    return workspace.jobs.ask_stop(workspace.jobs.resolve(job_id), caller.name).as_document()


@router.post("/resume/{job_id}", status_code=202)
def resume(job_id: str, caller: Operator, workspace: Opened) -> dict[str, Any]:  # noqa: ARG001 - the role is checked
    """Put a job that was stopped, or that failed, back in line: it goes on from its last checkpoint."""
    return workspace.jobs.requeue(workspace.jobs.resolve(job_id)).as_document()


@router.get("/jobs/{job_id}/logs")
def read_logs(
    job_id: str, workspace: Opened, offset: Annotated[int, Query(ge=-(1 << 40), le=1 << 40)] = 0
) -> dict[str, Any]:
    """At most a mebibyte of what its processes said, from a byte on (negative: from the end); `end` is where to go on."""
    job = workspace.jobs.get(workspace.jobs.resolve(job_id))
    text, end = read_log(job, workspace, offset)
    return {"job_id": job.id, "text": text, "end": end}


@router.get("/jobs/{job_id}/events", response_class=Stream)
def read_events(
    job_id: str,
    workspace: Opened,
    last_event_id: Annotated[str | None, Header(max_length=200)] = None,
) -> Stream:
    """What the job's runs say, as server-sent events, until it is over; goes on after `Last-Event-ID`."""
    tail = JobTail(workspace.jobs.resolve(job_id), workspace, last_event_id)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Stream(iter_messages(tail), media_type="text/event-stream", headers=headers)
