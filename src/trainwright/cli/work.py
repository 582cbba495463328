"""`trainwright work`: a worker, in this process."""

import logging
import signal
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from trainwright.cli.options import Json, WorkspacePath, print_json, workspace_root
from trainwright.core.errors import InvalidValue

if TYPE_CHECKING:
    from trainwright.work.settings import WorkSettings

app = typer.Typer(add_completion=False)

_FOR_CONTAINERS = ("--image", "--job-memory-mb", "--job-cpus", "--network", "--mount")

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
Devices = Annotated[
    str,
    typer.Option(
        "--devices",
        help="Devices that go to one job at a time: auto (every GPU that is found), none, or names: cuda:0,cuda:1.",
    ),
]
ExecutorName = Annotated[
    str, typer.Option("--executor", help="Where jobs run: process (children of the worker), or container.")
]
Image = Annotated[
    str | None,
    typer.Option("--image", help="The image of the containers, made from the Containerfile.", show_default=False),
]
JobMemory = Annotated[
    int | None,
    typer.Option("--job-memory-mb", min=16, help="Megabytes that each container may have.", show_default=False),
]
JobCpus = Annotated[
    float | None,
    typer.Option("--job-cpus", min=0.01, help="Processors that each container may use.", show_default=False),
]
Network = Annotated[
    str | None,
    typer.Option("--network", help="A network of the engine's for the containers. Default: none.", show_default=False),
]
Mounts = Annotated[
    list[str] | None,
    typer.Option(
        "--mount",
        help="A folder or file that containers may read, beside the workspace and the folder that a job was started in "
        "(repeatable).",
        show_default=False,
    ),
]


@app.command()
def work(
    max_jobs: MaxJobs = 1,
    max_memory_mb: MaxMemory = None,
    devices: Devices = "auto",
    executor: ExecutorName = "process",
    image: Image = None,
    job_memory_mb: JobMemory = None,
    job_cpus: JobCpus = None,
    network: Network = None,
    mounts: Mounts = None,
    until_empty: Annotated[
        bool,
        typer.Option("--until-empty", help="End once no job runs, and none is in line that this host would take."),
    ] = False,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Work off the jobs in line until asked to end: what runs is saved then, and goes back in line."""
    from trainwright.store.workspace import open_workspace
    from trainwright.work.executors import open_executor
    from trainwright.work.worker import Worker

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    settings = build_settings(
        max_jobs, max_memory_mb, devices, executor, image, job_memory_mb, job_cpus, network, mounts or []
    )
    with open_workspace(workspace_root(workspace)) as opened:
        worker = Worker(opened, settings.limits, open_executor(settings))
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: worker.stop())
        if until_empty:
            worker.run_until_empty()
        else:
            worker.run()
        counts = opened.jobs.count()
        left = [{"job_id": job_id, "why": why} for job_id, why in worker.note_misfits().items()]
    if as_json:
        print_json({"worker": worker.name, "jobs": counts, "not_for_this_host": left})


def build_settings(
    max_jobs: int,
    max_memory_mb: int | None,
    devices: str,
    executor: str,
    image: str | None,
    job_memory_mb: int | None,
    job_cpus: float | None,
    network: str | None,
    mounts: list[str],
) -> "WorkSettings":
    """What a worker is told, by the options. Raises InvalidValue where they do not go together."""
    from trainwright.store.jobs import Limits
    from trainwright.work.devices import parse_devices
    from trainwright.work.settings import ContainerSettings, WorkSettings

    limits = Limits(max_jobs, _megabytes(max_memory_mb), parse_devices(devices))
    if executor == "process":
        given = (image, job_memory_mb, job_cpus, network, mounts or None)
        named = [name for name, value in zip(_FOR_CONTAINERS, given, strict=True) if value is not None]
        if named:
            raise InvalidValue(
                f"{named[0]} is about containers, and jobs run as child processes.",
                why="Without --executor container there is no container.",
                next_step="Add --executor container --image NAME, or leave it out.",
            )
        return WorkSettings(limits=limits)
    if executor != "container":
        raise InvalidValue(
            f"--executor {executor}: there is no such place to run jobs.",
            why="They run as child processes of the worker, or each in a container.",
            next_step="Choose process or container.",
        )
    if not image:
        raise InvalidValue(
            "--executor container needs an image.",
            why="A container is made from one, and which is yours to say.",
            next_step="podman build --tag trainwright --file Containerfile . ; then --image trainwright",
        )
    container = ContainerSettings(
        image=image,
        memory_bytes=_megabytes(job_memory_mb),
        num_cpus=job_cpus,
        network=network or "none",
        mounts=tuple(mounts),
    )
    return WorkSettings(limits=limits, container=container)


def _megabytes(number: int | None) -> int | None:
    return None if number is None else number * 1_000_000
