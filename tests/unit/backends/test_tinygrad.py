"""What is tinygrad's alone; what every backend must do is in the contract suite."""

import pytest

pytest.importorskip("tinygrad", reason="tinygrad is not installed: pip install 'trainwright[tinygrad]'")

from trainwright.backends import tinygrad as backend
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
