"""Where work runs: start, poll, stop. The contract that `tests/contract/test_executor_contract.py` holds an executor to.

An attempt works on its job until it ended by itself, was asked to stop, or was killed; and where the process that started it
dies, it hears of that, saves, and ends. Whatever it says is in the job's folder.
"""

from pathlib import Path
from typing import Protocol

from trainwright.core.jobs import Job
from trainwright.work.job_folder import JobFolder


class Attempt(Protocol):
    """One attempt at a job, under way or over."""

    folder: JobFolder
    was_asked: bool
    """Whether `ask_stop` was called."""

    @property
    def place(self) -> str:
        """Where it runs, for people: "process 4711"."""

    def poll(self) -> int | None:
        """The exit code (negative: the signal that ended it), or None while it runs. Never waits."""

    def ask_stop(self) -> None:
        """Ask it to save and stop. A second time changes nothing."""

    def kill(self) -> None:
        """End it and everything that it started, at once. Never waits; may be called again as long as it runs."""

    def explain(self, code: int) -> str:
        """What an exit code means that came without a word, for people."""


class Executor(Protocol):
    """A way to run jobs on this host."""

    name: str

    def start(self, job: Job, folder: JobFolder, workspace_root: Path) -> Attempt:
        """Begin an attempt. Raises a TrainwrightError where it cannot be begun: DiskFull, NotWritable, ImageMissing."""
