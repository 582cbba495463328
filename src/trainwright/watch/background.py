"""A screen in a thread of its own: a terminal that is held (Ctrl-S), or a pipe nobody reads, holds up no run.

    with open_screen() as screen:      # as ConsoleProgress, and as a sink
        …

What happens is put into a queue and shown when the terminal takes it. Steps are never waited for, and where the queue is full
they go unseen (the file has them); a phase or an announcement is waited for, so that a process which is killed right after
has said it, but not for longer than a moment, and not again once the terminal was found to be stuck.
"""

import contextlib
import io
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Self, TextIO

from trainwright.watch.events import Event
from trainwright.watch.progress import ConsoleProgress, make_console

MAX_WAITING = 4096
WAIT_S = 1.0
"""For one thing to be shown; and, when all is over, for everything that still waits."""


class BackgroundScreen:
    """Hands everything to a ConsoleProgress that lives in another thread. Its methods may be called from any thread."""

    def __init__(self, screen: ConsoleProgress) -> None:
        self._screen = screen
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue(MAX_WAITING)
        self._thread = threading.Thread(target=self._show, name="screen", daemon=True)
        self.is_stuck = False

    def __enter__(self) -> Self:
        self._screen.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._put(None)
        self._thread.join(0.0 if self.is_stuck else WAIT_S)
        self.is_stuck = self._thread.is_alive()
        if not self.is_stuck:
            self._screen.__exit__(kind, error, trace)

    def emit(self, event: Event) -> None:
        """Show an event of the run, some time."""
        self._put(lambda: self._screen.emit(event))

    def show_progress(self, what: str, done: int, total: int | None) -> None:
        """Show that something countable went on, some time."""
        self._put(lambda: self._screen.show_progress(what, done, total))

    def announce(self, text: str) -> None:
        """Say one line."""
        self._put_and_wait(lambda: self._screen.announce(text))

    def start_phase(self, name: str) -> None:
        """A phase begins."""
        self._put_and_wait(lambda: self._screen.start_phase(name))

    def finish_phase(self, name: str, status: str, elapsed_s: float | None, detail: str = "") -> None:
        """A phase ended."""
        self._put_and_wait(lambda: self._screen.finish_phase(name, status, elapsed_s, detail))

    def catch_up(self, events: Iterable[Event]) -> None:
        """Take in what an earlier process did, as it is now: the stream that `events` reads goes on growing."""
        so_far = list(events)
        self._put_and_wait(lambda: self._screen.catch_up(so_far))

    def _put(self, show: Callable[[], None] | None) -> None:
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(show)

    def _put_and_wait(self, show: Callable[[], None]) -> None:
        shown = threading.Event()

        def show_and_tell() -> None:
            show()
            shown.set()

        self._put(show_and_tell)
        if not self.is_stuck and not shown.wait(WAIT_S):
            self.is_stuck = self._thread.is_alive()

    def _show(self) -> None:
        while show := self._queue.get():
            show()


@contextlib.contextmanager
def open_screen() -> Iterator[BackgroundScreen]:
    """The screen of a command, on standard error."""
    file = _open_stderr()
    screen = BackgroundScreen(ConsoleProgress(make_console(file)))
    try:
        with screen:
            yield screen
    finally:
        if file is not sys.stderr and not screen.is_stuck:
            with contextlib.suppress(OSError):
                file.close()


def _open_stderr() -> TextIO:
    """Standard error through a stream of our own: a thread that is stuck in `sys.stderr` would hold its lock for good."""
    try:
        descriptor = os.dup(sys.stderr.fileno())
    except (
        AttributeError,
        OSError,
        io.UnsupportedOperation,
    ):  # there is none, or it was replaced by something in memory
        return sys.stderr
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    return open(descriptor, "w", buffering=1, encoding=encoding, errors="backslashreplace")  # noqa: PTH123
