"""A worker beside a service: a process of its own, begun again where it dies, and outliving the service where that dies."""

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainwright.core.errors import TrainwrightError, translate_write_errors
from trainwright.work.settings import WorkSettings

LOG = logging.getLogger("trainwright.work")
LOOK_EVERY_S = 1.0


@contextmanager
def open_worker(root: Path, settings: WorkSettings) -> Iterator[None]:
    """A worker on the workspace at `root` while the block lasts. What it runs then goes on to its end."""
    is_over = threading.Event()
    thread = threading.Thread(target=_keep_alive, args=(root, settings, is_over), name="worker", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _keep_alive(root: Path, settings: WorkSettings, is_over: threading.Event) -> None:
    process: subprocess.Popen[bytes] | None = None
    while not is_over.is_set():
        if process is None or process.poll() is not None:
            if process is not None:
                LOG.warning("the worker ended (%s); another one begins", process.returncode)
                _let_go(process)
            process = _try_to_start(root, settings)
        is_over.wait(LOOK_EVERY_S)
    if process is not None:
        _let_go(process)


def _try_to_start(root: Path, settings: WorkSettings) -> "subprocess.Popen[bytes] | None":
    try:
        return _start(root, settings)
    except (TrainwrightError, OSError) as error:  # no room for its log, no memory for a process: tried again
        LOG.warning("no worker could be started: %s", error)
        return None


def _start(root: Path, settings: WorkSettings) -> "subprocess.Popen[bytes]":
    log_path = root.absolute() / "jobs" / "worker.log"
    with translate_write_errors(log_path):
        log_path.parent.mkdir(parents=True, exist_ok=True)
        log = log_path.open("ab")
    with log:
        return subprocess.Popen(
            [sys.executable, "-m", "trainwright.work", str(root.absolute()), settings.model_dump_json()],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C at the service's terminal is not for the jobs
        )


def _let_go(process: "subprocess.Popen[bytes]") -> None:
    if process.stdin is not None:
        process.stdin.close()
    process.returncode = process.poll() or 0  # it goes on without us, and is no fault of the interpreter's at exit
