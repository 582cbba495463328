"""Locks on files: held by one process at a time, and let go by itself where that process is killed."""

import fcntl
import os
import time
from pathlib import Path

_TRIES = 10
_PAUSE_S = 0.05


def take_lock(descriptor: int) -> bool:
    """Lock an open file for this process alone; False where another one holds it.

    Several tries, because `is_lock_held` of another process holds the lock for an instant too.
    """
    for _ in range(_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE_S)
        else:
            return True
    return False


def is_lock_held(path: Path) -> bool:
    """Whether some process holds the lock on that file now; a file that is not there is held by none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
