"""Resident memory of this process: now, and the most it reached since a moment."""

import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import psutil

SAMPLE_EVERY_S = 0.01

PeakMethod = Literal["kernel high-water mark", "sampled every 10 ms"]


def current_rss_bytes() -> int:
    """Bytes of this process that are in physical memory now (resident set size)."""
    return int(psutil.Process().memory_info().rss)


class PeakMemory:
    """The largest resident set of this process between entering and leaving the block.

        with PeakMemory() as memory:
            train()
        memory.peak_bytes - memory.baseline_bytes

    On Linux the kernel keeps the high-water mark (VmHWM in /proc/self/status) and resets it when 5 is written to
    /proc/self/clear_refs, so no peak is missed and nothing runs beside the work. Elsewhere, or where that file may not
    be written, a thread looks every 10 ms and a shorter peak can be missed; `method` says which it was. The mark
    belongs to the process: an inner block resets what an outer one sees, so blocks are not nested.
    """

    def __init__(self) -> None:
        self.baseline_bytes = 0
        self.method: PeakMethod = "kernel high-water mark"
        self._seen_bytes = 0
        self._final_bytes: int | None = None
        self._sampler: _Sampler | None = None

    @property
    def peak_bytes(self) -> int:
        """The peak so far inside the block; the peak of the block after it."""
        if self._final_bytes is not None:
            return self._final_bytes
        if self._sampler is not None:
            return self._sampler.look()
        # The kernel folds its per-CPU page counts in batches, so a later reading can be a little lower than an earlier.
        self._seen_bytes = max(self._seen_bytes, self.baseline_bytes, _read_high_water_mark() or 0)
        return self._seen_bytes

    def __enter__(self) -> Self:
        self._seen_bytes, self._final_bytes = 0, None
        if _reset_high_water_mark():
            self.method = "kernel high-water mark"
        else:
            self.method = "sampled every 10 ms"
            self._sampler = _Sampler()
            self._sampler.start()
        self.baseline_bytes = current_rss_bytes()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._final_bytes = self.peak_bytes
        if self._sampler is not None:
            self._sampler.stop()
            self._sampler = None


class _Sampler(threading.Thread):
    def __init__(self) -> None:
        super().__init__(name="peak-memory", daemon=True)
        self._peak_bytes = current_rss_bytes()
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(SAMPLE_EVERY_S):
            self.look()

    def look(self) -> int:
        self._peak_bytes = max(self._peak_bytes, current_rss_bytes())
        return self._peak_bytes

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def _reset_high_water_mark() -> bool:
    """Whether the mark now starts from the present. Some sandboxes take the write and ignore it, so it is checked."""
    if sys.platform != "linux":
        return False
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    mark = _read_high_water_mark()
    # The kernel counts pages per CPU and folds them in batches, so equal is too much to ask.
    return mark is not None and mark <= current_rss_bytes() + 8 * 2**20


def _read_high_water_mark() -> int | None:
    """VmHWM of this process in bytes, or None where the system does not tell."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None
