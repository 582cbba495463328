"""What the processes that worked on a run used: hours, memory, energy, tokens, measured by each of them as it works.

    with Meter(path, begin_usage(...), energy) as meter:
        …                              # the run, with `meter` among the sinks of its events
        meter.read()                   # what this process has used so far

A line is added every few seconds, and one at the end, so of a process that was killed only what it did after its last line
is not known. Lines are cumulative: the last one of an attempt is its sum.
"""

import contextlib
import getpass
import json
import os
import resource
import sys
import threading
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import ValidationError

from trainwright.core.errors import RunDamaged, translate_write_errors
from trainwright.core.hashing import canonical_json
from trainwright.core.records import Frozen
from trainwright.watch.energy import EnergyCounter
from trainwright.watch.events import Event

HEARTBEAT_S = 5.0
"""Between two lines of a process that works."""


class Usage(Frozen):
    """What one process used, from `begun_at` until `at`. None: not measured, and `why_not` says why.

    `wall_s` is the time that passed, `gpu_s` that time for each GPU it computed on, `cpu_s` processor time of the process and
    of those that it started and that ended. `num_tokens` were learnt from, those of steps that were done again included.
    `energy_j` is the whole machine's, as far as its processors tell it.
    """

    attempt: str
    who: str | None
    device: str
    gpu: str | None = None
    begun_at: str
    at: str
    wall_s: float = 0.0
    cpu_s: float | None = None
    gpu_s: float = 0.0
    peak_memory_bytes: int | None = None
    num_tokens: int = 0
    energy_j: float | None = None
    why_not: str = ""
    is_over: bool = False


def begin_usage(who: str | None, device: str, gpu: str | None) -> Usage:
    """The usage of a process that begins to work now."""
    now = read_now()
    return Usage(attempt=uuid.uuid4().hex, who=who, device=device, gpu=gpu, begun_at=now, at=now, cpu_s=0.0)


def read_user() -> str:
    """The account that this process runs under, for what is put on record about who did it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no such account, as in some containers
        return "unknown"


def read_now() -> str:
    """The UTC time, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Meter:
    """Measures this process, and writes down what it used. It is a sink of the run's events, which it counts tokens by."""

    def __init__(self, path: Path, begun: Usage, energy: EnergyCounter, heartbeat_s: float = HEARTBEAT_S) -> None:
        self.path = path
        self._begun, self._energy, self._heartbeat_s = begun, energy, heartbeat_s
        self._wall, self._cpu = time.perf_counter(), _read_cpu_s()
        self._num_tokens = self._peak_bytes = 0
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="meter", daemon=True)
        self._descriptor = -1

    def read(self) -> Usage:
        """What this process has used so far. May be called from any thread."""
        with self._lock:
            wall_s = time.perf_counter() - self._wall
            self._peak_bytes = max(self._peak_bytes, _read_peak_bytes())
            return self._begun.model_copy(
                update={
                    "at": read_now(),
                    "wall_s": wall_s,
                    "cpu_s": _read_cpu_s() - self._cpu,
                    "gpu_s": 0.0 if is_processor(self._begun.device) else wall_s,
                    "peak_memory_bytes": self._peak_bytes,
                    "num_tokens": self._num_tokens,
                    "energy_j": self._energy.read_j(),
                    "why_not": self._energy.why_not,
                    "is_over": self._over.is_set(),
                }
            )

    def emit(self, event: Event) -> None:
        """Count the tokens of a step."""
        self._num_tokens += count_tokens(event)

    def __enter__(self) -> Self:
        self._descriptor = _open_for_lines(self.path)
        self._write()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._write()
        os.close(self._descriptor)

    def _beat(self) -> None:
        while not self._over.wait(self._heartbeat_s):
            self._write()

    def _write(self) -> None:
        # A disk that is full is the run's to report: what it writes itself comes to the same place.
        with contextlib.suppress(OSError):
            os.write(self._descriptor, canonical_json(self.read().model_dump(mode="json")) + b"\n")


def is_processor(device: str) -> bool:
    """Whether a device of a plan is the machine's own processor."""
    return device == "cpu"


def count_tokens(event: Event) -> int:
    """Tokens that an event says were learnt from: those of a step, by its pace."""
    if event["kind"] != "step":
        return 0
    timing = event["timing"]
    return round(float(timing["tokens_per_s"]) * float(timing["step_s"]))


def read_usages(path: Path) -> list[Usage]:
    """What each process used, in the order in which they began; none where nothing was ever measured. Raises RunDamaged."""
    try:
        lines = path.read_bytes().split(b"\n")[:-1]  # what follows the last line end was torn by a kill
    except FileNotFoundError:
        return []
    latest: dict[str, Usage] = {}
    for number, line in enumerate(lines, start=1):
        try:
            usage = Usage.model_validate(json.loads(line))
        except (ValueError, ValidationError) as error:
            raise RunDamaged(
                f"Line {number} of {path} is damaged.",
                why=" ".join(str(error).split())[:300],
                next_step="Restore the file from a copy; without it, what the run used is known only by its events.",
            ) from error
        latest[usage.attempt] = usage
    return list(latest.values())


def _open_for_lines(path: Path) -> int:
    """A descriptor that appends whole lines: one that a killed process never finished goes."""
    with translate_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        data = path.read_bytes()
        os.ftruncate(descriptor, data.rfind(b"\n") + 1)
        return descriptor


def _read_cpu_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _read_peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
