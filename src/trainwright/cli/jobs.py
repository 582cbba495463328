"""`trainwright jobs`: manifests in line, and what became of them."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trainwright.cli.options import (
    Json,
    Overrides,
    WorkspacePath,
    make_table_console,
    print_json,
    who_asks,
    workspace_root,
)

if TYPE_CHECKING:
    from trainwright.core.jobs import Job, JobState

app = typer.Typer(add_completion=False, no_args_is_help=True)

JobId = Annotated[str, typer.Argument(help="A job's id, or the beginning of it.")]


@app.command()
def start(
    manifest: Annotated[
        str | None,
        typer.Argument(help="A manifest (YAML); without one, the defaults.", metavar="[MANIFEST]", show_default=False),
    ] = None,
    overrides: Overrides = None,
    priority: Annotated[
        int, typer.Option("--priority", min=-1000, max=1000, help="The highest is worked off first.")
    ] = 0,
    key: Annotated[
        str | None,
        typer.Option("--key", help="Asked again with the same key, the job is the same one.", show_default=False),
    ] = None,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Put a manifest in line. A worker (`trainwright work`, or the one of `trainwright serve`) runs it."""
    from trainwright.store.workspace import open_workspace
    from trainwright.work.submit import read_job

    given = list(overrides or [])
    if manifest is not None and "=" in manifest:
        given.insert(0, manifest)
        manifest = None
    job = read_job(None if manifest is None else Path(manifest), given, who=who_asks(), priority=priority)
    with open_workspace(workspace_root(workspace)) as opened:
        job, _ = opened.jobs.add(job, key)
    _report(job, as_json=as_json)


@app.command("list")
def list_rows(
    state: Annotated[
        str | None, typer.Option("--state", help="Only those in this state, for example running.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="Rows at most.")] = 20,
    after: Annotated[
        str | None, typer.Option("--after", help="Go on after this job's id (`next` of the page before).")
    ] = None,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """List jobs, the last asked for first."""
    from trainwright.store.workspace import open_workspace
    from trainwright.work.standing import list_jobs

    states = () if state is None else (_parse_state(state),)
    with open_workspace(workspace_root(workspace)) as opened:
        found, following = list_jobs(opened.jobs, limit, after, states)
    if as_json:
        print_json({"items": [job.as_document() for job in found], "next": following})
        return
    from rich.markup import escape
    from rich.table import Table

    if not found:
        sys.stdout.write("No jobs yet. `trainwright jobs start MANIFEST` puts one in line.\n")
        return
    table = Table(box=None)
    for heading in ("job", "name", "state", "priority", "run", "by", "asked for"):
        table.add_column(heading, no_wrap=heading == "job")
    for job in found:
        run = job.runs[-1][:12] if job.runs else ""
        who = escape(job.submitted_by)
        table.add_row(job.id[:12], escape(job.name), job.state, str(job.priority), run, who, job.submitted_at[:19])
    make_table_console(120).print(table)
    if following:
        sys.stdout.write(f"more: --after {following[:12]}\n")


@app.command()
def show(job: JobId, workspace: WorkspacePath = None, as_json: Json = False) -> None:
    """Show a job: what was asked for, how it stands, how far its run is."""
    import yaml

    from trainwright.store.workspace import open_workspace
    from trainwright.work.standing import describe_job

    with open_workspace(workspace_root(workspace)) as opened:
        document = describe_job(opened.jobs.get(opened.jobs.resolve(job)), opened)
    if as_json:
        print_json(document)
        return
    sys.stdout.write(str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True)))


@app.command()
def stop(job: JobId, workspace: WorkspacePath = None, as_json: Json = False) -> None:
    """Stop a job: in line, it is cancelled; running, it saves a checkpoint first."""
    from trainwright.store.workspace import open_workspace

    with open_workspace(workspace_root(workspace)) as opened:
        stopped = opened.jobs.ask_stop(opened.jobs.resolve(job), who_asks())
    _report(stopped, as_json=as_json)


@app.command()
def resume(job: JobId, workspace: WorkspacePath = None, as_json: Json = False) -> None:
    """Put a job that was stopped, or that failed, back in line: it goes on from its last checkpoint."""
    from trainwright.store.workspace import open_workspace

    with open_workspace(workspace_root(workspace)) as opened:
        again = opened.jobs.requeue(opened.jobs.resolve(job))
    _report(again, as_json=as_json)


@app.command()
def logs(job: JobId, workspace: WorkspacePath = None, as_json: Json = False) -> None:
    """Print what a job's processes said."""
    from trainwright.store.workspace import open_workspace
    from trainwright.work.standing import read_log

    with open_workspace(workspace_root(workspace)) as opened:
        found = opened.jobs.get(opened.jobs.resolve(job))
        if as_json:
            text, end = read_log(found, opened, -(1 << 20))
            print_json({"job_id": found.id, "text": text, "end": end})
            return
        end = 0
        while True:
            text, following = read_log(found, opened, end)
            if following == end:
                return
            sys.stdout.write(text)
            end = following


def _parse_state(text: str) -> "JobState":
    from trainwright.core.errors import InvalidValue
    from trainwright.core.jobs import JOB_STATES

    for state in JOB_STATES:
        if state == text:
            return state
    raise InvalidValue(
        f"A job is never {text!r}.", why=f"It is {', '.join(JOB_STATES)}.", next_step="Choose one of them."
    )


def _report(job: "Job", *, as_json: bool) -> None:
    document: dict[str, Any] = job.as_document()
    if as_json:
        print_json(document)
        return
    stopping = ", and is asked to stop" if job.stop_asked_by and not job.is_over else ""
    sys.stdout.write(f"job {job.id[:12]} ({job.name}) is {job.state}{stopping}\n")
