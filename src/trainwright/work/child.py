"""What runs in a job's process: one `trainwright` command, which is asked to stop when the worker that started it dies."""

import os
import runpy
import signal
import sys
import time

from trainwright.work.lifeline import watch_lifeline

ORPHAN_GRACE_S = 300.0
"""How long the last checkpoint of an orphan may take. Until its process ends, nobody else can write its run."""


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ORPHAN_GRACE_S)
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Run the command that the arguments are."""
    watch_lifeline(_stop)
    runpy.run_module("trainwright", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    sys.argv[0] = "trainwright"
    main()
