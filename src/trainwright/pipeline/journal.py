"""The phases of one command: announced as they begin, timed, and kept for training_metrics.json."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from trainwright.core.errors import Interrupted, TrainwrightError
from trainwright.watch.events import Event
from trainwright.watch.metrics_file import Phase, PhaseStatus


class Screen(Protocol):
    """Where a person watches. Everything it writes goes to standard error."""

    def start_phase(self, name: str) -> None:
        """A phase begins."""

    def finish_phase(self, name: str, status: str, elapsed_s: float | None, detail: str = "") -> None:
        """A phase ended."""

    def show_progress(self, what: str, done: int, total: int | None) -> None:
        """Something countable inside a phase went on (bytes of a download, documents read)."""

    def catch_up(self, events: Iterable[Event]) -> None:
        """Take in silently what an earlier process of the same run did."""

    def announce(self, text: str) -> None:
        """Say one line that a person should know."""


class SilentScreen:
    """A screen that nobody watches."""

    def start_phase(self, name: str) -> None:
        """Say nothing."""

    def finish_phase(self, name: str, status: str, elapsed_s: float | None, detail: str = "") -> None:
        """Say nothing."""

    def show_progress(self, what: str, done: int, total: int | None) -> None:
        """Say nothing."""

    def catch_up(self, events: Iterable[Event]) -> None:
        """Take nothing in."""

    def announce(self, text: str) -> None:
        """Say nothing."""


class OpenPhase:
    """A phase while it runs: what it made and how it ended can still be said."""

    def __init__(self) -> None:
        self.status: PhaseStatus = "completed"
        self.detail = ""
        self.artefacts: dict[str, str] = {}

    def reuse(self) -> None:
        """Say that nothing had to be done."""
        self.status = "reused"


class Journal:
    """The phases so far."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.phases: list[Phase] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[OpenPhase]:
        """Time a phase; on an error it is kept as failed, with the error's name."""
        begun = time.perf_counter()
        opened = OpenPhase()
        self.screen.start_phase(name)
        try:
            yield opened
        except (TrainwrightError, KeyboardInterrupt) as error:
            stopped = isinstance(error, KeyboardInterrupt | Interrupted)
            opened.status = "interrupted" if stopped else "failed"
            said = error.name if isinstance(error, TrainwrightError) else Interrupted.name
            self._close(name, opened, time.perf_counter() - begun, said)
            raise
        self._close(name, opened, time.perf_counter() - begun, None)

    @property
    def reused(self) -> list[str]:
        """Names of the phases in which nothing had to be done."""
        return [phase.name for phase in self.phases if phase.status == "reused"]

    def _close(self, name: str, opened: OpenPhase, elapsed_s: float, error: str | None) -> None:
        self.phases.append(
            Phase(name=name, status=opened.status, elapsed_s=elapsed_s, artefacts=opened.artefacts, error=error)
        )
        self.screen.finish_phase(name, opened.status, elapsed_s, opened.detail if error is None else error)
