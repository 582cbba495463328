"""How a process hears that the one which started it is gone: the end of a pipe that only the other one could write to.

Unlike a signal on the parent's death this works on every system, and unlike asking for the parent's id now and then it
cannot take a stranger for the parent.
"""

import os
import threading
from collections.abc import Callable


def watch_lifeline(when_cut: Callable[[], None]) -> None:
    """Call `when_cut`, in a thread, once standard input ends. Standard input is empty from now on."""
    line = os.dup(0)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)

    def wait() -> None:
        while os.read(line, 1024):
            pass
        when_cut()

    threading.Thread(target=wait, name="lifeline", daemon=True).start()
