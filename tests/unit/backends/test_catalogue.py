"""The catalogue: frameworks are optional, imported late, and refused by name."""

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from trainwright.backends import catalogue
from trainwright.backends.catalogue import (
    CATALOGUE,
    Entry,
    is_installed,
    open_backend,
    require_supported,
    require_working,
)
from trainwright.backends.reference import ReferenceBackend
from trainwright.core.errors import DeviceUnavailable, InternalError, PackageMissing, UnsupportedPlan
from trainwright.core.records import Compute, ImportedShape, ModelShape, Optimizer

OPTIMIZER = Optimizer(
    name="adamw", learning_rate=1e-3, beta1=0.9, beta2=0.95, epsilon=1e-8, weight_decay=0.0, clip_norm=1.0
)
PLAIN = Compute(framework="reference", device="cpu", dtype="float32", compile=False, num_threads=1)

OWN = ModelShape(
    vocab_size=8, hidden_size=4, num_layers=1, num_heads=1, num_kv_heads=1, head_dim=4, intermediate_size=4
)
IMPORTED = ImportedShape(base="0" * 64, config={}, vocab_size=8, num_parameters=1)


@pytest.fixture
def without_torch(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else real(name))


@pytest.fixture
def able(monkeypatch):
    """A second backend that can do what the reference cannot."""

    class AbleBackend(ReferenceBackend):
        name = "able"
        capabilities = replace(
            ReferenceBackend.capabilities, dtypes=("float32", "bfloat16"), compiles=True, devices=("cuda", "cpu")
        )

    monkeypatch.setattr(
        catalogue, "CATALOGUE", {"able": Entry("m", "AbleBackend", None, ""), "reference": CATALOGUE["reference"]}
    )
    monkeypatch.setattr(
        catalogue, "open_backend", lambda name: {"able": AbleBackend, "reference": ReferenceBackend}[name]()
    )


# ── opening ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_backend_is_opened_by_name():
    assert isinstance(open_backend("reference"), ReferenceBackend)


def test_backend_that_nobody_entered_is_a_fault_of_ours():
    with pytest.raises(InternalError, match="no backend called abacus") as raised:
        open_backend("abacus")
    assert "reference" in raised.value.why


def test_reference_needs_no_package_of_others(without_torch):
    assert is_installed("reference")
    assert open_backend("reference").name == "reference"


def test_missing_framework_is_named_with_the_command_that_installs_it(without_torch):
    assert not is_installed("torch")
    with pytest.raises(PackageMissing, match="package torch, which is not installed") as raised:
        open_backend("torch")
    assert raised.value.next_step.startswith("pip install 'trainwright[torch]'")
    assert "--framework reference" in raised.value.next_step
    assert raised.value.exit_code == 1


@pytest.mark.parametrize("error", ["ImportError", "OSError"])
def test_framework_that_does_not_import_is_named_with_its_reason(error, tmp_path, monkeypatch):
    (tmp_path / f"broken_{error.lower()}.py").write_text(f"raise {error}('libbroken.so is missing')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(CATALOGUE, "broken", Entry(f"broken_{error.lower()}", "B", "numpy", "pip install numpy"))
    with pytest.raises(PackageMissing, match="installed and cannot be imported") as raised:
        open_backend("broken")
    assert raised.value.why == "libbroken.so is missing"
    assert raised.value.next_step == "pip install --force-reinstall numpy"


def test_package_that_is_installed_under_another_name_is_asked_for_by_that(tmp_path, monkeypatch):
    (tmp_path / "broken_beneath.py").write_text("raise ImportError('No module named jax')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(CATALOGUE, "broken", Entry("broken_beneath", "B", "numpy", "", sold_as="the-numpy"))
    with pytest.raises(PackageMissing, match="package numpy is installed and cannot be imported") as raised:
        open_backend("broken")
    assert raised.value.next_step == "pip install --force-reinstall the-numpy"


def test_package_that_lacks_one_beneath_it_is_mended_by_the_extra_that_names_both(tmp_path, monkeypatch):
    (tmp_path / "lacking_beneath.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    extra = "pip install 'trainwright[lacking]'"
    monkeypatch.setitem(CATALOGUE, "lacking", Entry("lacking_beneath", "B", "numpy", extra))
    with pytest.raises(PackageMissing, match="package numpy is installed and cannot be imported") as raised:
        open_backend("lacking")
    assert raised.value.why == "No module named 'no_such_package'"
    assert raised.value.next_step == extra


@pytest.mark.skipif(is_installed("tunix"), reason="tunix is installed")
def test_tunix_that_is_not_there_is_named_with_the_extra_that_brings_it():
    with pytest.raises(PackageMissing, match="needs the package tunix, which is not installed") as raised:
        open_backend("tunix")
    assert raised.value.next_step.startswith("pip install 'trainwright[tunix]'")


def test_fault_in_our_own_module_is_not_blamed_on_a_package(tmp_path, monkeypatch):
    (tmp_path / "own_fault.py").write_text("raise ImportError('a name of ours')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(CATALOGUE, "own", Entry("own_fault", "B", None, ""))
    with pytest.raises(ImportError, match="a name of ours"):
        open_backend("own")


def test_environment_of_a_framework_is_set_and_a_persons_own_stays(tmp_path, monkeypatch):
    (tmp_path / "quiet_backend.py").write_text("class B: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = Entry("quiet_backend", "B", None, "", (("TRAINWRIGHT_TEST_A", "ours"), ("TRAINWRIGHT_TEST_B", "ours")))
    monkeypatch.setitem(CATALOGUE, "quiet", entry)
    monkeypatch.setenv("TRAINWRIGHT_TEST_A", "theirs")
    monkeypatch.setenv("TRAINWRIGHT_TEST_B", "")  # so that it is taken away again
    monkeypatch.delenv("TRAINWRIGHT_TEST_B")
    open_backend("quiet")
    assert os.environ["TRAINWRIGHT_TEST_A"] == "theirs"
    assert os.environ["TRAINWRIGHT_TEST_B"] == "ours"


def test_training_on_the_reference_never_imports_another_framework():
    program = """
import sys
from trainwright.backends.catalogue import require_supported, require_working
from trainwright.core.records import Compute, ModelShape, Optimizer
compute = Compute(framework="reference", device="cpu", dtype="float32", compile=False, num_threads=1)
optimizer = Optimizer(name="muon", learning_rate=1e-3, beta1=0.9, beta2=0.95, epsilon=1e-8, weight_decay=0, clip_norm=1)
shape = ModelShape(
    vocab_size=8, hidden_size=4, num_layers=1, num_heads=1, num_kv_heads=1, head_dim=4, intermediate_size=4
)
require_working("reference", "cpu")
require_supported(compute, optimizer, shape)
print([name for name in ("torch", "jax", "tinygrad", "transformers") if name in sys.modules])
"""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", program]
    finished = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert finished.stdout == "[]\n", finished.stderr


# ── working and supported ─────────────────────────────────────────────────────────────────────────────────────────────
def test_device_that_works_gives_its_name():
    assert require_working("reference", "cpu").endswith("CPU")


def test_device_that_does_not_work_is_refused_with_the_remedy():
    with pytest.raises(DeviceUnavailable, match="reference cannot compute on the device 'abacus'") as raised:
        require_working("reference", "abacus")
    assert raised.value.why
    assert "compute.device=cpu" in raised.value.next_step


def test_plan_that_the_backend_can_do_passes(able):
    require_supported(PLAIN, OPTIMIZER, OWN)


def test_more_threads_than_a_backend_takes_are_refused(able, monkeypatch):
    few = replace(ReferenceBackend.capabilities, most_threads=2)
    monkeypatch.setattr(ReferenceBackend, "capabilities", few)
    require_supported(PLAIN.model_copy(update={"num_threads": 2}), OPTIMIZER, OWN)
    with pytest.raises(UnsupportedPlan, match="cannot train in float32 with adamw on cpu, 3 threads") as raised:
        require_supported(PLAIN.model_copy(update={"num_threads": 3}), OPTIMIZER, OWN)
    assert raised.value.why == "Backends installed here that can: able."


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dtype": "bfloat16"}, "bfloat16 with adamw on cpu"),
        ({"compile": True}, "float32 compiled with adamw on cpu"),
        ({"device": "cuda:1"}, "float32 with adamw on cuda:1"),
    ],
)
def test_plan_that_it_cannot_do_names_the_backends_that_can(change, said, able):
    with pytest.raises(UnsupportedPlan, match=said) as raised:
        require_supported(PLAIN.model_copy(update=change), OPTIMIZER, OWN)
    assert raised.value.why == "Backends installed here that can: able."
    assert raised.value.next_step == "Choose --framework able."


def test_plan_that_nothing_here_can_do_says_so(able):
    with pytest.raises(UnsupportedPlan) as raised:
        require_supported(PLAIN.model_copy(update={"device": "abacus"}), OPTIMIZER, OWN)
    assert raised.value.why == "Backends installed here that can: none."
    assert raised.value.next_step


def test_backend_that_is_not_installed_is_not_recommended(able, monkeypatch):
    monkeypatch.setattr(catalogue, "is_installed", lambda name: name == "reference")
    with pytest.raises(UnsupportedPlan, match="cannot train") as raised:
        require_supported(PLAIN.model_copy(update={"compile": True}), OPTIMIZER, OWN)
    assert "none" in raised.value.why


def test_backend_that_is_installed_and_broken_is_neither_recommended_nor_blamed(able, monkeypatch):
    def open_other(name):
        if name == "able":
            raise PackageMissing("Able 9 is installed, and cannot be used.", why="It is too new.", next_step="Wait.")
        return ReferenceBackend()

    monkeypatch.setattr(catalogue, "open_backend", open_other)
    with pytest.raises(UnsupportedPlan, match="reference backend cannot train in float32 compiled") as raised:
        require_supported(PLAIN.model_copy(update={"compile": True}), OPTIMIZER, OWN)
    assert raised.value.why == "Backends installed here that can: none."


@pytest.mark.parametrize(("shape", "kinds"), [(OWN, ("imported",)), (IMPORTED, ("own",))])
def test_backend_that_does_not_run_such_a_model_is_not_recommended(shape, kinds, able, monkeypatch):
    entry = Entry("m", "AbleBackend", None, "", models=kinds)
    monkeypatch.setitem(catalogue.CATALOGUE, "able", entry)
    with pytest.raises(UnsupportedPlan) as raised:
        require_supported(PLAIN.model_copy(update={"compile": True}), OPTIMIZER, shape)
    assert "none" in raised.value.why
