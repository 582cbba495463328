"""`trainwright serve`: this workspace over HTTP."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from trainwright.cli.options import Json, WorkspacePath, print_json, workspace_root
from trainwright.cli.work import (
    Devices,
    ExecutorName,
    Image,
    JobCpus,
    JobMemory,
    MaxJobs,
    MaxMemory,
    Mounts,
    Network,
    build_settings,
)
from trainwright.core.errors import PackageMissing

app = typer.Typer(add_completion=False)


@app.command()
def serve(
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port; 0: any free one.")] = 8765,
    tokens: Annotated[
        Path | None, typer.Option("--tokens", help="A file of tokens: who may do what.", show_default=False)
    ] = None,
    no_worker: Annotated[
        bool, typer.Option("--no-worker", help="Run no jobs here: `trainwright work` does, on this host or others.")
    ] = False,
    max_jobs: MaxJobs = 1,
    max_memory_mb: MaxMemory = None,
    devices: Devices = "auto",
    executor: ExecutorName = "process",
    image: Image = None,
    job_memory_mb: JobMemory = None,
    job_cpus: JobCpus = None,
    network: Network = None,
    mounts: Mounts = None,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Serve this workspace over HTTP, until it is asked to end."""
    try:
        from trainwright.serve.listening import serve as serve_workspace
        from trainwright.serve.settings import Settings
    except ModuleNotFoundError as error:
        raise PackageMissing(
            f"The service needs {error.name}, which is not installed.",
            why="Training needs no web server, so it does not come along by itself.",
            next_step="pip install 'trainwright[serve]'",
        ) from None

    def announce(address: str) -> None:
        if as_json:
            print_json({"address": address, "pid": os.getpid()})
        else:
            sys.stdout.write(f"{address}\n")
            sys.stdout.flush()

    work = build_settings(
        max_jobs, max_memory_mb, devices, executor, image, job_memory_mb, job_cpus, network, mounts or []
    )
    settings = Settings(host=host, port=port, tokens_path=tokens, has_worker=not no_worker, work=work)
    serve_workspace(workspace_root(workspace), settings, announce)
