"""Starting, watching and ending the processes of trackers. A run is never slowed by them and never fails for them.

with follow_run(assignments, screen.announce):
    …                              # the run
                                   # leaving waits a few seconds at most, and says what did not get through
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from trainwright.core.errors import TrainwrightError
from trainwright.watch.progress import strip_controls
from trainwright.watch.trackers.feed import Assignment, FeedState, read_state, write_state

PATIENCE_S = 5.0
"""What the end of a run waits for all its trackers together."""


class TrackerProcess:
    """One tracker's process and the thread that waits for it. What goes wrong is said once, through `say`."""

    def __init__(self, assignment: Assignment, say: Callable[[str], None]) -> None:
        self.assignment = assignment
        self._say = say
        self._is_ending = False
        assignment.folder.mkdir(exist_ok=True)
        with assignment.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "trainwright.watch.trackers", assignment.model_dump_json()],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the run; and W&B's own processes can be ended with it
            )
        self._thread = threading.Thread(target=self._wait, name=f"tracker-{assignment.tracker}", daemon=True)
        self._thread.start()

    def finish(self) -> FeedState:
        """No event will come any more: wait, however long it takes, and return how far the tracker came."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(b"finish\n")
            self._process.stdin.flush()
        self._thread.join()
        return self._settle("")

    def end(self, deadline: float) -> None:
        """The run is over: wait until `deadline` (monotonic seconds), then end it, and say what it did not get to."""
        self._is_ending = True
        with contextlib.suppress(BrokenPipeError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if not self._thread.is_alive():
            return
        self.kill()
        last = _read_last_line(self.assignment)
        state = self._settle(f"it had not ended {PATIENCE_S:g} s after the run" + (f" ({last[:300]})" if last else ""))
        self._say(f"tracker {self.assignment.tracker}: {state.why}. {self._advise(state)}")

    def kill(self) -> None:
        """End the process and whatever it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._thread.join()

    def _wait(self) -> None:
        code = self._process.wait()
        if code > 0 or (code < 0 and not self._is_ending):
            state = self._settle(_read_last_line(self.assignment)[:300] or f"its process ended with {code}")
            self._say(f"tracker {self.assignment.tracker}: {state.why}; the run goes on. {self._advise(state)}")

    def _settle(self, why: str) -> FeedState:
        """The tracker's last state; where it is not complete, `why` is written into it."""
        state = read_state(self.assignment) or FeedState(settings=self.assignment.settings)
        if state.status == "complete" or not why:
            return state
        status = "failed" if self._process.returncode > 0 else "behind"
        state = state.model_copy(update={"status": status, "why": strip_controls(why)})
        with contextlib.suppress(TrainwrightError):  # a disk that is full is the run's to report
            write_state(self.assignment, state)
        return state

    def _advise(self, state: FeedState) -> str:
        run_id = self.assignment.run_dir.rpartition("-")[2]
        command = f"trainwright runs track {run_id} --tracker {self.assignment.tracker}"
        return f"It took {state.num_events:,} events; the rest: {command}"


@contextlib.contextmanager
def follow_run(assignments: Sequence[Assignment], say: Callable[[str], None]) -> Iterator[None]:
    """Have trackers follow a run while the block lasts. `say` takes a line for a person, from any thread."""
    processes: list[TrackerProcess] = []
    for assignment in assignments:
        try:
            processes.append(TrackerProcess(assignment, say))
        except OSError as error:
            say(f"tracker {assignment.tracker} could not be started: {error}; the run goes on")
    try:
        yield
    finally:
        deadline = time.monotonic() + PATIENCE_S
        for process in processes:
            process.end(deadline)


def _read_last_line(assignment: Assignment) -> str:
    try:
        lines = assignment.log_path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
