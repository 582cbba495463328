"""The files of a job, and what is to be done of it: `trainwright run MANIFEST --resume --json`.

The command is the same for every attempt: what was prepared is recalled, an unfinished run of the plan is gone on with, and
a run that is complete is found to be so. So an attempt that was killed anywhere loses nothing but time.
"""

import json
from pathlib import Path
from typing import Any

from trainwright.core.durable import write_file
from trainwright.core.errors import translate_write_errors
from trainwright.core.jobs import Job

_LAST_BYTES = 4096


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
        self.exit_code_path = path / "exit_code.txt"
        """The name of the container that ended last, and how by its own account."""

    def prepare(self, job: Job) -> None:
        """Write what an attempt reads, and empty what it answers into. Raises DiskFull, NotWritable."""
        with translate_write_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            # New files, not emptied ones: an attempt whose worker died may still be saving, and writes into its own.
            self.answer_path.unlink(missing_ok=True)
            self.exit_code_path.unlink(missing_ok=True)
            self.answer_path.touch()
        write_file(self.manifest_path, json.dumps(job.manifest, ensure_ascii=False, indent=2).encode() + b"\n")

    def build_command(self, job: Job, workspace_root: Path) -> list[str]:
        """The words after `trainwright` that an attempt is."""
        options = ["run", "--resume", "--json", f"--workspace={workspace_root}", "--"]
        return [*options, str(self.manifest_path), *job.overrides]

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

    def write_exit_code(self, container: str, code: int) -> None:
        """Say how a container ended. Raises DiskFull, NotWritable."""
        write_file(self.exit_code_path, f"{container} {code}\n".encode())

    def read_exit_code(self, container: str) -> int | None:
        """What a container said itself about how it ended (negative: by that signal); None where it said nothing."""
        try:
            name, code = self.exit_code_path.read_text(encoding="utf-8").split()
            return int(code) if name == container else None
        except (FileNotFoundError, ValueError):
            return None

    def read_last_line(self) -> str:
        """The last line of the log, or nothing."""
        try:
            with self.log_path.open("rb") as file:
                file.seek(max(0, file.seek(0, 2) - _LAST_BYTES))
                lines = file.read().decode("utf-8", "replace").split("\n")
        except FileNotFoundError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")
