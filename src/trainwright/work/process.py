"""A job as a child process, in a process group of its own."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from trainwright.core.errors import translate_write_errors
from trainwright.core.jobs import Job
from trainwright.pipeline.run import RUN_NOTES
from trainwright.work.devices import name_visible
from trainwright.work.job_folder import JobFolder


class ProcessExecutor:
    """Runs jobs as child processes of this one."""

    name = "process"

    def start(self, job: Job, folder: JobFolder, workspace_root: Path) -> "JobProcess":
        """Begin an attempt. Raises DiskFull, NotWritable."""
        return JobProcess(job, folder, workspace_root)


class JobProcess:
    """The process of one attempt. It ends by itself, or when `ask_stop` was called, or when this process dies."""

    def __init__(self, job: Job, folder: JobFolder, workspace_root: Path) -> None:
        """Start it. Raises DiskFull, NotWritable."""
        self.folder = folder
        self.was_asked = False
        folder.prepare(job)
        with (
            translate_write_errors(folder.path),
            folder.log_path.open("ab") as log,
            folder.answer_path.open("wb") as answer,
        ):
            self._process = subprocess.Popen(
                [sys.executable, "-m", "trainwright.work.child", *folder.build_command(job, workspace_root)],
                cwd=job.folder if Path(job.folder).is_dir() else None,
                env=os.environ | {RUN_NOTES: str(folder.runs_path)} | name_visible(job),
                stdin=subprocess.PIPE,  # never written to: its end is how the process hears that this one is gone
                stdout=answer,
                stderr=log,
                start_new_session=True,
            )

    @property
    def place(self) -> str:
        """The id of the process, which is that of its group too."""
        return f"process {self._process.pid}"

    def poll(self) -> int | None:
        """The exit code (negative: the signal that ended it), or None while it runs."""
        code = self._process.poll()
        if code is not None and self._process.stdin is not None:
            self._process.stdin.close()
        return code

    def ask_stop(self) -> None:
        """Ask it to save and stop, once."""
        if not self.was_asked:
            self.was_asked = True
            with suppress(ProcessLookupError):
                self._process.terminate()

    def kill(self) -> None:
        """End it and everything that it started, at once."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def explain(self, code: int) -> str:  # noqa: ARG002 - of a process, every code means the same
        """What ends a process without a word."""
        return "It was killed from outside (signal 9 is often the system, out of memory), or it failed before it could speak."
