"""Ctrl-C and SIGTERM while training: finish the step, save, then stop. A second Ctrl-C stops at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Whether somebody asked for the run to stop."""

    def __init__(self) -> None:
        self.is_made = False

    def make(self) -> None:
        """Ask for a stop after the current step."""
        self.is_made = True


@contextmanager
def listen_for_stop() -> Iterator[StopRequest]:
    """While the block runs, the first SIGINT or SIGTERM asks for a stop; a SIGINT after that raises KeyboardInterrupt.

    Outside the main thread signals cannot be caught: there the request is made by whoever holds it.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        if request.is_made and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.make()

    before: dict[signal.Signals, Any] = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
