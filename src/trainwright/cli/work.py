"""`trainwright work`: a worker, in this process."""

import logging
import signal
import sys
from typing import Annotated

import typer

from trainwright.cli.options import Json, WorkspacePath, print_json, workspace_root

app = typer.Typer(add_completion=False)

MaxJobs = Annotated[int, typer.Option("--max-jobs", min=1, max=1000, help="Jobs that this host runs at once.")]
MaxMemory = Annotated[
    int | None,
    typer.Option(
        "--max-memory-mb",
        min=1,
        help="Megabytes that the jobs of this host may take together, by their manifests' own budgets.",
        show_default=False,
    ),
]


@app.command()
def work(
    max_jobs: MaxJobs = 1,
    max_memory_mb: MaxMemory = None,
    until_empty: Annotated[
        bool, typer.Option("--until-empty", help="End once no job is in line and none runs.")
    ] = False,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Work off the jobs in line until asked to end: what runs is saved then, and goes back in line."""
    from trainwright.store.jobs import Limits
    from trainwright.store.workspace import open_workspace
    from trainwright.work.worker import Worker

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    limits = Limits(max_jobs, None if max_memory_mb is None else max_memory_mb * 1_000_000)
    with open_workspace(workspace_root(workspace)) as opened:
        worker = Worker(opened, limits)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: worker.stop())
        if until_empty:
            worker.run_until_empty()
        else:
            worker.run()
        counts = opened.jobs.count()
    if as_json:
        print_json({"worker": worker.name, "jobs": counts})
