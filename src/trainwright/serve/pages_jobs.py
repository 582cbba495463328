"""Pages of jobs: the line, one job with its log, and the forms that stop and resume."""

from typing import Annotated, Any

from fastapi import Depends, Query, Request, Response
from starlette.datastructures import URL

from trainwright.core.jobs import JobState
from trainwright.pipeline.inspect import find_run
from trainwright.serve.access import Operator, get_caller
from trainwright.serve.context import Opened
from trainwright.serve.pages import build_router, read_form, redirect, render_page
from trainwright.work.standing import describe_job, list_jobs, read_log

PAGE_SIZE = 50
LOG_BYTES = 64 * 1024
STATES: tuple[JobState, ...] = (
    "queued",
    "running",
    "completed",
    "failed",
    "cancelled",
    "interrupted",
    "budget-reached",
)

router = build_router()
Form = Annotated[dict[str, str], Depends(read_form)]


@router.get("/jobs")
def show_jobs(
    request: Request,
    workspace: Opened,
    after: str | None = None,
    state: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """Jobs, the last asked for first."""
    wanted = tuple(one for one in STATES if one == state)
    jobs, following = list_jobs(workspace.jobs, PAGE_SIZE, after, wanted)
    values = {
        # The streams of those that are over are not read for a list.
        "jobs": [
            describe_job(job, workspace) if job.state == "running" else {**job.as_document(), "progress": None}
            for job in jobs
        ],
        "counts": workspace.jobs.count(),
        "states": STATES,
        "state": state,
        "older": URL("/jobs").include_query_params(state=state, after=following) if following else None,
    }
    return render_page(request, "jobs.html.j2", values, title="Jobs")


@router.get("/jobs/{ref}")
def show_job(request: Request, workspace: Opened, ref: str) -> Response:
    """One job: how it stands, what was asked for, and the end of its log."""
    job = workspace.jobs.get(workspace.jobs.resolve(ref))
    text, _ = read_log(job, workspace, -LOG_BYTES)
    document = describe_job(job, workspace)
    values = {
        "job": job,
        "document": document,
        "log": text,
        "log_bytes": LOG_BYTES,
        "runs": [_name_run(run, workspace) for run in reversed(job.runs)],
        "may_operate": get_caller(request).may("operator"),
    }
    return render_page(request, "job.html.j2", values, title=f"Job {job.name}")


@router.post("/jobs/{ref}/stop")
def stop_job(workspace: Opened, caller: Operator, form: Form, ref: str) -> Response:  # noqa: ARG001 - the form's key is checked
    """Stop a job; a running one saves a checkpoint first."""
    job = workspace.jobs.ask_stop(workspace.jobs.resolve(ref), caller.name)
    return redirect(f"/jobs/{job.id}")


@router.post("/jobs/{ref}/resume")
def resume_job(workspace: Opened, caller: Operator, form: Form, ref: str) -> Response:  # noqa: ARG001 - both are checked
    """Put a job back in line; it goes on from its last checkpoint."""
    job = workspace.jobs.requeue(workspace.jobs.resolve(ref))
    return redirect(f"/jobs/{job.id}")


def _name_run(run_id: str, workspace: Any) -> tuple[str, str]:
    return run_id, find_run(run_id, workspace).name
