"""Loaded by every child process of the flow tests as it starts: hides torch, or signals the child at an exact instant.

FLOW_HIDE_TORCH=1                              `find_spec("torch")` gives None, as where it was never installed; so the others
FLOW_SIGNAL=KILL FLOW_AT=3 FLOW_MATCH=/runs/   just before its third operation on a file whose path contains /runs/ (it is
                                               opened, renamed, removed, …) the child gets that signal
FLOW_SIGNAL=KILL FLOW_AT=1 FLOW_MATCH='"seq":5,'  the same for what is written through `os.write`; SIGKILL tears it in two
FLOW_SIGNAL=KILL FLOW_AT=4 FLOW_MATCH=call:apply_update  as the main thread calls a function of that name for the fourth time
FLOW_CLOCK_S=-86400                            clocks that tell the time of day are wrong by so much
"""

import datetime
import importlib.machinery
import os
import signal
import sys
import time

OPERATIONS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir")


def hide_torch():
    find_spec = importlib.machinery.PathFinder.find_spec

    def find_other_spec(name, path=None, target=None):
        return None if name.partition(".")[0] in ("torch", "tinygrad", "tunix") else find_spec(name, path, target)

    importlib.machinery.PathFinder.find_spec = find_other_spec


class Instant:
    """Counts what matches, and sends the signal at the one that was asked for."""

    def __init__(self, number, at, match):
        self.number, self.at, self.match, self.count = number, at, match, 0

    def is_now(self, text):
        self.count += self.match in text
        if self.count < self.at:
            return False
        self.at = sys.maxsize
        return True

    def on_operation(self, event, arguments):
        path = arguments[0] if event in OPERATIONS else None
        if isinstance(path, (str, bytes, os.PathLike)) and self.is_now(os.fsdecode(path)):
            os.kill(os.getpid(), self.number)

    def on_call(self, frame, event, _):
        if event == "call" and f"call:{frame.f_code.co_name}" == self.match and self.is_now(self.match):
            os.kill(os.getpid(), self.number)

    def watch(self, write):
        def watched(descriptor, data):
            if self.is_now(bytes(data).decode("utf-8", "replace")):
                if self.number == signal.SIGKILL:
                    write(descriptor, bytes(data)[: len(data) // 2])
                os.kill(os.getpid(), self.number)
            return write(descriptor, data)

        return watched


def shift_clock(by_s):
    now, Real = time.time, datetime.datetime

    class Shifted(Real):
        @classmethod
        def now(cls, tz=None):
            return Real.now(tz) + datetime.timedelta(seconds=by_s)

    time.time, datetime.datetime = lambda: now() + by_s, Shifted


# A suite that was itself started in the background hands an ignored SIGINT down, which Python then leaves ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

if os.environ.get("FLOW_HIDE_TORCH"):
    hide_torch()
if os.environ.get("FLOW_SIGNAL"):
    # Taken out of the environment, so that processes which the child starts itself are left alone.
    name, at, match = (os.environ.pop(variable) for variable in ("FLOW_SIGNAL", "FLOW_AT", "FLOW_MATCH"))
    instant = Instant(getattr(signal, f"SIG{name}"), int(at), match)
    sys.addaudithook(instant.on_operation)
    os.write = instant.watch(os.write)
    if match.startswith("call:"):
        sys.setprofile(instant.on_call)
if os.environ.get("FLOW_CLOCK_S"):
    shift_clock(float(os.environ["FLOW_CLOCK_S"]))
