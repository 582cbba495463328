"""Pages of jobs: the line, one job with its log, and the forms that stop and resume."""

from typing import Annotated, Any

from fastapi import Depends, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import URL

from trainwright.core.jobs import Job, JobState
from trainwright.pipeline.inspect import find_run
from trainwright.serve.access import Operator, get_caller
from trainwright.serve.context import Opened
from trainwright.serve.pages import build_router, read_form, redirect, render_fragment, render_page
from trainwright.serve.streams import send_changes
from trainwright.store.workspace import Workspace
from trainwright.work.standing import describe_job, find_events_path, list_jobs, read_log

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
    values = {**_describe_live(job, workspace), "may_operate": get_caller(request).may("operator")}
    return render_page(request, "job.html.j2", values, title=f"Job {job.name}")


@router.get("/jobs/{ref}/live")
def show_live(workspace: Opened, ref: str) -> Response:
    """The part of a job's page that changes while it is worked on."""
    return render_fragment(
        "job_live.html.j2", _describe_live(workspace.jobs.get(workspace.jobs.resolve(ref)), workspace)
    )


@router.get("/jobs/{ref}/changes")
async def follow_job(workspace: Opened, ref: str) -> Response:
    """Server-sent events: `change` whenever the job, its log or its run said more, `end` when it is over."""
    job_id = await run_in_threadpool(lambda: workspace.jobs.resolve(ref))

    def look() -> tuple[object, bool]:
        job = workspace.jobs.get(job_id)
        path = find_events_path(job, workspace)
        num_bytes = path.stat().st_size if path is not None and path.exists() else 0
        return (job.state, job.runs, job.attempts, read_log(job, workspace, -1)[1], num_bytes), job.is_over

    return send_changes(look)


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


def _describe_live(job: Job, workspace: Workspace) -> dict[str, Any]:
    return {
        "job": job,
        "progress": describe_job(job, workspace)["progress"],
        "log": read_log(job, workspace, -LOG_BYTES)[0],
        "log_bytes": LOG_BYTES,
        "runs": [_name_run(run, workspace) for run in reversed(job.runs)],
    }


def _name_run(run_id: str, workspace: Workspace) -> tuple[str, str]:
    return run_id, find_run(run_id, workspace).name
