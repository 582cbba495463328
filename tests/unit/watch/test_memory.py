"""The peak of resident memory, by the kernel's mark and by looking."""

import mmap
import sys

import numpy as np
import pytest

from trainwright.watch import memory
from trainwright.watch.memory import PeakMemory, current_rss_bytes

MIB = 2**20


def hold(num_bytes: int) -> mmap.mmap:
    """That much memory, in use until it is closed. Not from the allocator, which may have some left over from before."""
    block = mmap.mmap(-1, num_bytes)
    np.frombuffer(block, dtype=np.uint8).fill(1)
    return block


def touch(num_bytes: int) -> None:
    """Use that much memory and give it back."""
    hold(num_bytes).close()


@pytest.fixture(params=["kernel", "sampled"])
def method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "sampled":
        monkeypatch.setattr(memory, "_reset_high_water_mark", lambda: False)
        return "sampled every 10 ms"
    if not memory._reset_high_water_mark():
        pytest.skip("this kernel does not let a process reset its high-water mark")
    return "kernel high-water mark"


def test_a_peak_inside_the_block_is_seen_after_it_is_gone(method: str) -> None:
    with PeakMemory() as peak:
        block = hold(64 * MIB)
        seen_inside = peak.peak_bytes
        block.close()
    assert peak.method == method
    assert seen_inside - peak.baseline_bytes > 48 * MIB
    assert peak.peak_bytes >= seen_inside


def test_a_peak_before_the_block_does_not_count(method: str) -> None:
    touch(128 * MIB)
    with PeakMemory() as peak:
        pass
    assert peak.peak_bytes - peak.baseline_bytes < 48 * MIB


def test_a_peak_after_the_block_does_not_count(method: str) -> None:
    with PeakMemory() as peak:
        pass
    before = peak.peak_bytes
    touch(64 * MIB)
    assert peak.peak_bytes == before


def test_a_block_that_failed_still_has_its_peak(method: str) -> None:
    peak = PeakMemory()
    with pytest.raises(RuntimeError), peak:
        raise RuntimeError
    assert peak.peak_bytes >= peak.baseline_bytes > 0


def test_resident_memory_is_that_of_this_process() -> None:
    before = current_rss_bytes()
    block = hold(64 * MIB)
    grown = current_rss_bytes()
    block.close()
    assert grown - before > 48 * MIB


@pytest.mark.skipif(sys.platform != "linux", reason="the high-water mark is Linux's")
def test_the_kernels_mark_is_never_below_what_is_resident() -> None:
    mark = memory._read_high_water_mark()
    assert mark is not None
    assert mark >= current_rss_bytes() - 8 * MIB
