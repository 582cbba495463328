"""A job as a child process: `trainwright run MANIFEST --resume --json` in a process group of its own.

The command is the same for every attempt: what was prepared is recalled, an unfinished run of the plan is gone on with, and
a run that is complete is found to be so. So an attempt that was killed anywhere loses nothing but time.
"""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from trainwright.core.durable import write_file
from trainwright.core.errors import translate_write_errors
from trainwright.core.jobs import Job
from trainwright.pipeline.run import RUN_NOTES


class JobFolder:
    """The files of a job."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest_path = path / "manifest.json"
        self.log_path = path / "log.txt"
        """What its processes said to people: all attempts, one after the other."""
        self.runs_path = path / "runs.txt"
        self.answer_path = path / "answer.json"
        """What the newest attempt printed: one JSON document, once it ended in order."""

    def read_runs(self) -> tuple[str, ...]:
        """The ids of the runs that were worked on, each once, in order. A torn last line is left for later."""
        try:
            lines = self.runs_path.read_text(encoding="utf-8").split("\n")[:-1]
        except FileNotFoundError:
            return ()
        # The last attempt's order counts: a run that is only passed by again is still the first of two.
        return tuple(dict.fromkeys(lines))

    def read_error(self) -> dict[str, Any] | None:
        """The error that the newest attempt ended in, or None where it printed none."""
        try:
            document = json.loads(self.answer_path.read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        error = document.get("error") if isinstance(document, dict) else None
        return error if isinstance(error, dict) else None


class JobProcess:
    """The running process of one attempt. It ends by itself, or when `ask_stop` was called, or when this process dies."""

    def __init__(self, job: Job, folder: JobFolder, workspace_root: Path) -> None:
        """Start it. Raises DiskFull, NotWritable."""
        self.folder = folder
        with translate_write_errors(folder.path):
            folder.path.mkdir(parents=True, exist_ok=True)
        write_file(folder.manifest_path, json.dumps(job.manifest, ensure_ascii=False, indent=2).encode() + b"\n")
        command = ["run", "--resume", "--json", f"--workspace={workspace_root}", "--"]
        command += [str(folder.manifest_path), *job.overrides]
        with (
            translate_write_errors(folder.path),
            folder.log_path.open("ab") as log,
            folder.answer_path.open("wb") as answer,
        ):
            self._process = subprocess.Popen(
                [sys.executable, "-m", "trainwright.work.child", *command],
                cwd=job.folder if Path(job.folder).is_dir() else None,
                env=os.environ | {RUN_NOTES: str(folder.runs_path)},
                stdin=subprocess.PIPE,  # never written to: its end is how the process hears that this one is gone
                stdout=answer,
                stderr=log,
                start_new_session=True,
            )
        self.was_asked = False

    @property
    def pid(self) -> int:
        """The id of the process, and of its group."""
        return self._process.pid

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
            os.killpg(self.pid, signal.SIGKILL)
