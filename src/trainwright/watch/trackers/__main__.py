"""The process of one tracker: feeds it until the run is over, and never outlives the run by more than some seconds.

Standard input is the line to the run: the word "finish" means that no event will come any more, and that there is all the time
in the world; its end means that the run ended (or died), and that there is not.
"""

import os
import signal
import sys
import threading
from types import TracebackType

from trainwright.core.errors import TrainwrightError
from trainwright.watch.trackers.feed import Assignment, feed

FINISH = b"finish\n"

LAST_SECONDS = 10
"""How long after the end of standard input the system ends this process, whatever it is doing by then."""

NICENESS = 10
"""A tracker takes what processor time the training leaves."""


def main() -> int:
    """Feed the tracker that the first argument describes. What goes wrong is on standard error; its last line says why."""
    os.nice(NICENESS)
    sys.excepthook = _report
    over = threading.Event()
    threading.Thread(target=_listen, args=(over,), name="line-to-the-run", daemon=True).start()
    try:
        feed(Assignment.model_validate_json(sys.argv[1]), over)
    except TrainwrightError as error:
        sys.stderr.write(f"{error.message} {error.why} {error.next_step}\n")
        return 1
    return 0


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """All of what went wrong, for the log, and last its first line, for a person."""
    sys.__excepthook__(kind, error, trace)
    said = str(error).strip().splitlines()
    sys.stderr.write(f"{kind.__name__}: {said[0] if said else 'no word'}\n")


def _listen(over: threading.Event) -> None:
    # Not through sys.stdin: an interpreter that ends waits for the lock of a stream that a thread still reads.
    while word := os.read(0, 64):
        if word == FINISH:
            over.set()
    over.set()
    signal.alarm(LAST_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
