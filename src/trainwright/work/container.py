"""A job in a container of its own, by Podman or Docker: no network, a root that cannot be written, the caller's own account.

It sees the workspace, the folder in which its manifest's paths begin (to read), what the settings mount (to read), and nothing
else of the host. Every path is the same inside as outside, so what is written down holds in both.

The engine's own process is attached to the container as long as it runs, and holds the end of a pipe that becomes the
job's standard input: cut, by `ask_stop` or because the worker died, the job saves and ends, as a child process does. Nothing
depends on how far the engine had come with starting it.
"""

import csv
import io
import logging
import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from trainwright.core.errors import InvalidValue, translate_write_errors
from trainwright.core.jobs import Job
from trainwright.pipeline.run import RUN_NOTES
from trainwright.watch.environment import NUMERIC_VARIABLES
from trainwright.watch.usage import read_user
from trainwright.work.devices import VISIBLE, find_devices, name_visible
from trainwright.work.engine import Engine, choose_engine
from trainwright.work.job_folder import JobFolder
from trainwright.work.settings import ContainerSettings

LOG = logging.getLogger("trainwright.work")
LABEL = "trainwright.job"
KILL_PATIENCE_S = 30.0
_ENGINE_FAILED, _KILLED = (125, 126, 127), -signal.SIGKILL
_PLACES_OF_THE_IMAGE = frozenset(
    Path("/", name)
    for name in ("", "bin", "boot", "dev", "etc", "lib", "lib64", "proc", "run", "sbin", "sys", "usr", "var")
)
"""What an image has itself: a job that was asked for from there does not get the host's in its place."""
_GPU_SPECIFICATIONS = (Path("/etc/cdi"), Path("/var/run/cdi"))
_NOT_HANDED_ON = frozenset({"TRAINWRIGHT_JOBS_URL", "TRAINWRIGHT_WORKSPACE", "TRAINWRIGHT_KEYS", VISIBLE})


class ContainerExecutor:
    """Runs each job in a container."""

    name = "container"

    def __init__(self, settings: ContainerSettings) -> None:
        """Ask the engine, once, whether it can. Raises ContainerEngineMissing, ImageMissing, InvalidValue."""
        self.settings = settings
        for path in settings.mounts:
            _require_mountable(path)
        self._engine = choose_engine(settings.image)
        if find_devices() and not can_pass_gpus(self._engine):
            LOG.warning(
                "containers will see no GPU: %s has no description of this host's; nvidia-ctk cdi generate "
                "--output=/etc/cdi/nvidia.yaml makes one",
                self._engine.name,
            )

    def start(self, job: Job, folder: JobFolder, workspace_root: Path) -> "JobContainer":
        """Begin an attempt. Raises DiskFull, NotWritable."""
        return JobContainer(job, folder, workspace_root.absolute(), self._engine, self.settings)


class JobContainer:
    """The container of one attempt. It goes with it: what is to stay is in the workspace."""

    def __init__(
        self, job: Job, folder: JobFolder, workspace_root: Path, engine: Engine, settings: ContainerSettings
    ) -> None:
        """Start it. Raises DiskFull, NotWritable."""
        self.folder = folder
        self.was_asked = False
        self._engine = engine
        self._memory_bytes = settings.memory_bytes
        self._killer: subprocess.Popen[bytes] | None = None
        self._killed_at = 0.0
        self._name = f"trainwright-{job.id[:12]}-{uuid.uuid4().hex[:8]}"
        folder.prepare(job)
        words = [*build_run(self._name, job, folder, workspace_root, engine, settings)]
        with translate_write_errors(folder.path), folder.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                words,
                env=os.environ | {"USER": read_user(), RUN_NOTES: str(folder.runs_path)} | name_visible(job),
                stdin=subprocess.PIPE,  # the job's lifeline
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def place(self) -> str:
        """The name of the container."""
        return f"container {self._name}"

    def poll(self) -> int | None:
        """The exit code of the job (negative: the signal that ended it), or None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        self._cut_lifeline()
        if self._killer is not None:
            self._killer.kill()
            self._killer.wait()
        said = self.folder.read_exit_code(self._name)
        if said is not None:
            return said
        # It never said that it ended, so it did not end by itself, whatever the engine makes of that.
        return code if code in _ENGINE_FAILED else _KILLED

    def ask_stop(self) -> None:
        """Ask it to save and stop, once."""
        self.was_asked = True
        self._cut_lifeline()

    def kill(self) -> None:
        """End the container at once; where that was asked for before and has not helped, the engine's process. Never waits."""
        if self._process.poll() is not None:
            return
        if self._killer is None:
            self._killer = subprocess.Popen(
                [self._engine.name, "kill", "--signal", "KILL", self._name],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            self._killed_at = time.monotonic()
        elif time.monotonic() - self._killed_at > KILL_PATIENCE_S:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def explain(self, code: int) -> str:
        """What ends a container without a word."""
        if code in _ENGINE_FAILED:
            return f"{self._engine.name} could not start the container; it said: {self.folder.read_last_line()}"
        limit = f", or needed more than its {self._memory_bytes / 1e6:,.0f} MB" if self._memory_bytes else ""
        killed = f"The container was killed from outside{limit}. " if code == _KILLED else ""
        return f"{killed}The last line of its log is: {self.folder.read_last_line() or 'none'}"

    def _cut_lifeline(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()


# ── the command ───────────────────────────────────────────────────────────────────────────────────────────────────────
def build_run(
    name: str, job: Job, folder: JobFolder, workspace_root: Path, engine: Engine, settings: ContainerSettings
) -> Iterator[str]:
    """The words of the engine's command that runs an attempt at a job."""
    yield from (engine.name, "run", "--rm", "--interactive", "--pull", "never")
    yield from ("--name", name, "--label", f"{LABEL}={job.id}", "--log-driver", "none")
    yield from _name_account(engine)
    yield from ("--read-only", "--tmpfs", "/tmp:rw,exec,nosuid,nodev,mode=1777")
    yield from ("--cap-drop", "all", "--security-opt", "no-new-privileges", "--security-opt", "label=disable")
    yield from ("--network", settings.network)
    if settings.network != "host":
        yield from ("--hostname", socket.gethostname()[:63])
    if settings.memory_bytes is not None:  # and no swap besides
        yield from ("--memory", str(settings.memory_bytes), "--memory-swap", str(settings.memory_bytes))
    if settings.num_cpus is not None:
        yield from ("--cpus", f"{settings.num_cpus:g}")
    yield from _name_gpus(job, engine)
    yield from _name_mounts(job, workspace_root, settings)
    yield from _name_variables()
    yield from ("--entrypoint", "python", settings.image, "-m", "trainwright.work.contained", str(folder.path), name)
    yield from folder.build_command(job, workspace_root)


def can_pass_gpus(engine: Engine) -> bool:
    """Whether the engine knows what to do to give a container a GPU of this host's."""
    return engine.name == "docker" or any(any(place.glob("nvidia*")) for place in _GPU_SPECIFICATIONS)


def _name_account(engine: Engine) -> Iterator[str]:
    """The caller's: what a job writes into the workspace is then the caller's, and never root's."""
    if engine.is_rootless and engine.name == "podman":
        yield from ("--userns", "keep-id")
    is_root_inside = engine.is_rootless and engine.name == "docker"
    yield from ("--user", "0:0" if is_root_inside else f"{os.getuid()}:{os.getgid()}")


def _name_gpus(job: Job, engine: Engine) -> Iterator[str]:
    if job.device == "cpu" or not find_devices() or not can_pass_gpus(engine):
        return
    which = name_visible(job).get(VISIBLE, "all")
    if engine.name == "docker":
        yield from ("--gpus", "all" if which == "all" else f"device={which}")
    else:
        yield from ("--device", f"nvidia.com/gpu={which}")


def _name_mounts(job: Job, workspace_root: Path, settings: ContainerSettings) -> Iterator[str]:
    folder = Path(job.folder)
    readable = [Path(path).absolute() for path in settings.mounts]
    if folder.is_dir() and folder not in _PLACES_OF_THE_IMAGE:
        readable.append(folder)
        yield from ("--workdir", str(folder))
    else:
        yield from ("--workdir", str(workspace_root))
    # A folder comes before what is in it; what is in the workspace is there already.
    for path in sorted({path for path in readable if not path.is_relative_to(workspace_root)}):
        yield from ("--mount", _render_mount(path, is_readonly=True))
    yield from ("--mount", _render_mount(workspace_root, is_readonly=False))


def _name_variables() -> Iterator[str]:
    """Only names: values would be seen by whoever lists processes."""
    yield from ("--env", "HOME=/tmp")
    own = ("USER", RUN_NOTES)
    kept = sorted(name for name in os.environ if name.startswith(("TRAINWRIGHT_", *NUMERIC_VARIABLES)))
    for name in (*own, *(name for name in kept if name not in _NOT_HANDED_ON and name not in own)):
        yield from ("--env", name)


def _render_mount(path: Path, *, is_readonly: bool) -> str:
    """The engines read it as a line of CSV."""
    line = io.StringIO()
    words = ["type=bind", f"source={path}", f"target={path}", *(["readonly"] if is_readonly else [])]
    csv.writer(line, lineterminator="").writerow(words)
    return line.getvalue()


def _require_mountable(path: str) -> None:
    if not Path(path).exists() or not Path(path).is_absolute():
        raise InvalidValue(
            f"--mount {path}: it cannot be mounted.",
            why="There is no such file or folder." if Path(path).is_absolute() else "It does not begin with a slash.",
            next_step="Name a file or folder of this host by its whole path.",
        )
