"""Loaded by every child process of the flow tests as it starts: hides torch, or stops the child at an exact instant.

FLOW_HIDE_TORCH=1          `find_spec("torch")` gives None, as on a machine where it was never installed
FLOW_AT=n FLOW_SIGNAL=KILL the n-th operation on a file below FLOW_BELOW (a rename, a removal, an opening, a written event)
                           sends the child that signal, before the operation is done; a written event is first torn in two
"""

import importlib.machinery
import os
import signal
import sys


def hide_torch():
    find_spec = importlib.machinery.PathFinder.find_spec

    def find_other_spec(name, path=None, target=None):
        return None if name.partition(".")[0] == "torch" else find_spec(name, path, target)

    importlib.machinery.PathFinder.find_spec = find_other_spec


class Instant:
    """Counts operations, and sends the signal once, at the one that was asked for."""

    def __init__(self, number, below, at):
        self.number, self.below, self.at, self.count = number, below, at, 0

    def is_now(self):
        self.count += 1
        return self.count == self.at

    def on_audit(self, event, arguments):
        if event not in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"):
            return
        path = arguments[0]
        if isinstance(path, (str, bytes, os.PathLike)) and self.below in os.fsdecode(path) and self.is_now():
            os.kill(os.getpid(), self.number)

    def write(self, write):
        def counted(descriptor, data):
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            if self.below in path and self.is_now():
                if self.number == signal.SIGKILL:
                    write(descriptor, bytes(data)[: len(data) // 2])
                os.kill(os.getpid(), self.number)
            return write(descriptor, data)

        return counted


if os.environ.get("FLOW_HIDE_TORCH"):
    hide_torch()
if os.environ.get("FLOW_AT"):
    signal_number = getattr(signal, "SIG" + os.environ["FLOW_SIGNAL"])
    instant = Instant(signal_number, os.environ["FLOW_BELOW"], int(os.environ["FLOW_AT"]))
    # The processes that the child starts itself are left alone.
    for variable in ("FLOW_AT", "FLOW_SIGNAL", "FLOW_BELOW"):
        del os.environ[variable]
    sys.addaudithook(instant.on_audit)
    os.write = instant.write(os.write)
