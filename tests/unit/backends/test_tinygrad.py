"""What is tinygrad's alone; what every backend must do is in the contract suite."""

import numpy as np
import pytest

pytest.importorskip("tinygrad", reason="tinygrad is not installed: pip install 'trainwright[tinygrad]'")

from trainwright.backends import tinygrad as backend
from trainwright.backends.protocol import IGNORED, Batch
from trainwright.core.errors import UnsupportedPlan
from trainwright.core.records import Compute

pytestmark = pytest.mark.extra


def test_without_a_compiler_the_probe_says_how_to_get_one(monkeypatch):
    monkeypatch.setattr(backend, "COMPILER", None)
    probe = backend.TinygradBackend().probe("cpu")
    assert not probe.works
    assert "no clang was found" in probe.problem
    assert "apt-get install clang" in probe.remedy
    assert "pip install ziglang" in probe.remedy


def test_kernel_that_does_not_compile_is_the_probes_answer(monkeypatch, tmp_path):
    broken = tmp_path / "broken-clang"
    broken.write_text("#!/bin/sh\ncase $1 in --version) echo clang version 1 ;; *) exit 3 ;; esac\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    monkeypatch.setenv("CACHEDB", str(tmp_path / "kernels.db"))
    probe = backend.TinygradBackend().probe("cpu")
    assert not probe.works
    assert "exit status 3" in probe.problem
    assert "apt-get install clang" in probe.remedy


@pytest.mark.parametrize("change", [{"dtype": "bfloat16"}, {"compile": True}])
def test_what_it_cannot_do_is_refused(change):
    plain = Compute(framework="tinygrad", device="cpu", dtype="float32", compile=False, num_threads=1)
    with pytest.raises(UnsupportedPlan, match="tinygrad backend cannot run"):
        backend.set_up(plain.model_copy(update=change))


@pytest.mark.parametrize(("device", "name"), [("cpu", "CPU"), ("cuda:1", "CUDA:1"), ("metal", "METAL")])
def test_devices_have_names_of_their_own_there(device, name):
    assert backend.name_device(device) == name


def test_padding_has_no_target_and_is_a_segment_of_its_own():
    tokens = np.array([[3, 4, 5]], np.int32)
    segments = np.array([[0, 1, 1]], np.int32)
    padded = backend.pad_batch(Batch(tokens, tokens + 1, segments), 2, 5)
    np.testing.assert_array_equal(padded.tokens_BT, [[3, 4, 5, 0, 0], [0] * 5])
    np.testing.assert_array_equal(padded.targets_BT, [[4, 5, 6, IGNORED, IGNORED], [IGNORED] * 5])
    np.testing.assert_array_equal(padded.segments_BT, [[0, 1, 1, 2, 2], [0] * 5])
    whole = Batch(tokens, tokens + 1)
    assert backend.pad_batch(whole, 1, 3).segments_BT is None
    np.testing.assert_array_equal(backend.pad_batch(whole, 1, 4).segments_BT, [[0, 0, 0, 1]])
