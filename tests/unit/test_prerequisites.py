"""Stage zero: every row says what is missing and how to mend it, and ends a run with an error of its own."""

import os
import subprocess
import sys
import textwrap
from importlib import metadata
from types import SimpleNamespace

import psutil
import pytest

from trainwright import prerequisites
from trainwright.backends import catalogue
from trainwright.backends.protocol import Probe
from trainwright.core.errors import (
    DeviceUnavailable,
    DiskFull,
    MemoryShort,
    NotWritable,
    PackageMissing,
    PythonTooOld,
)
from trainwright.core.manifest import parse_manifest
from trainwright.core.plan import resolve_shape, resolve_training
from trainwright.prerequisites import (
    Finding,
    check_device,
    check_disk,
    check_machine,
    check_memory,
    check_packages,
    check_python,
    check_writable,
    estimate_footprint,
    require_all,
)


def require_fails(finding, error_class):
    """The row fails, says how to mend it, and ends a run with that error."""
    assert finding.ok is False
    assert finding.remedy
    with pytest.raises(error_class) as raised:
        require_all([Finding(name="fine", ok=True, found="yes"), finding])
    error = raised.value
    assert error.exit_code == 1
    assert finding.name in error.message
    assert (error.why, error.next_step) == (finding.found, finding.remedy)
    return error


# ── each row ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_python_that_is_too_old_is_refused(monkeypatch):
    assert check_python().ok is True
    monkeypatch.setattr(prerequisites, "sys", SimpleNamespace(version_info=(3, 10, 9)))
    finding = check_python()
    assert finding.found == "3.10.9"
    require_fails(finding, PythonTooOld)


def test_every_package_is_looked_for_and_a_missing_one_is_named(monkeypatch):
    assert all(finding.ok and finding.found[0].isdigit() for finding in check_packages())
    real = metadata.version

    def version(package):
        if package == "tokenizers":
            raise metadata.PackageNotFoundError(package)
        return real(package)

    monkeypatch.setattr(metadata, "version", version)
    (finding,) = [finding for finding in check_packages() if not finding.ok]
    assert finding.name == "package tokenizers"
    assert finding.remedy == "pip install tokenizers"
    require_fails(finding, PackageMissing)


def test_folder_that_can_be_written_is_made_and_left_empty(tmp_path):
    finding = check_writable(tmp_path / "a" / "b")
    assert finding.ok is True
    assert list((tmp_path / "a" / "b").iterdir()) == []


def run_without_rights(program, folder):
    """Run `program` as somebody for whom a locked folder is locked: for the superuser none is."""
    program = textwrap.dedent(
        """
        import os, resource, sys
        from pathlib import Path
        from trainwright.prerequisites import check_writable
        """
    ) + textwrap.dedent(program)
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", program, str(folder)]
    finished = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert finished.returncode == 0, finished.stderr
    return Finding.model_validate_json(finished.stdout)


def test_read_only_folder_is_refused(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    finding = run_without_rights(
        """
        if os.getuid() == 0:
            os.setuid(65534)
        print(check_writable(Path(sys.argv[1]) / "new").model_dump_json())
        """,
        folder,
    )
    assert "Permission denied" in finding.found
    require_fails(finding, NotWritable)


def test_full_disk_is_refused(tmp_path):
    finding = run_without_rights(
        """
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        print(check_writable(Path(sys.argv[1])).model_dump_json())
        """,
        tmp_path,
    )
    require_fails(finding, DiskFull)


def test_file_where_the_folder_should_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    require_fails(check_writable(tmp_path / "file"), NotWritable)
    require_fails(check_writable(tmp_path / "file" / "below"), NotWritable)


def test_disk_must_hold_what_the_plan_will_write(tmp_path):
    assert check_disk(tmp_path / "not" / "there" / "yet", 1).ok is True
    finding = check_disk(tmp_path, 10**18)
    assert "1000000000.00 GB needed" in finding.found
    require_fails(finding, DiskFull)


def test_memory_must_hold_what_the_plan_will_hold(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2_000_000_000))
    assert check_memory(2_000_000_000).ok is True
    finding = check_memory(2_000_000_001)
    assert finding.found == "2.0 GB available, about 2.00 GB needed"
    require_fails(finding, MemoryShort)


def test_device_that_works_says_what_it_is():
    finding = check_device("reference", "cpu", wanted=True)
    assert finding.ok is True
    assert "CPU" in finding.found
    assert "reference" in finding.found


def test_device_that_is_not_there_is_refused_where_it_is_wanted():
    finding = check_device("reference", "abacus", wanted=True)
    assert "abacus" in finding.found
    require_fails(finding, DeviceUnavailable)
    assert check_device("reference", "abacus", wanted=False).ok is None


def test_framework_that_is_not_installed_is_refused_where_it_is_wanted(monkeypatch):
    monkeypatch.setattr(prerequisites, "is_installed", lambda name: False)
    finding = check_device("torch", "cpu", wanted=True)
    assert finding.found == "torch is not installed"
    assert finding.remedy.startswith("pip install")
    require_fails(finding, PackageMissing)
    assert check_device("torch", "cpu", wanted=False).ok is None


def test_framework_that_does_not_import_is_a_row_and_not_a_crash(tmp_path, monkeypatch):
    (tmp_path / "torn_backend.py").write_text("raise ImportError('libtorn.so: cannot open shared object file')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = catalogue.Entry("torn_backend", "TornBackend", "numpy", "pip install numpy")
    monkeypatch.setitem(catalogue.CATALOGUE, "torn", entry)
    finding = check_device("torn", "cpu", wanted=True)
    assert "package numpy is installed and cannot be imported" in finding.found
    assert "libtorn.so" in finding.found
    error = require_fails(finding, PackageMissing)
    assert "--force-reinstall" in error.next_step
    assert check_device("torn", "cpu", wanted=False).ok is None


def test_row_of_a_device_that_fails_says_what_the_probe_said(monkeypatch):
    probe = Probe(False, "1.0", problem="no kernel image", remedy="pip install another")
    monkeypatch.setattr(prerequisites, "open_backend", lambda name: SimpleNamespace(probe=lambda device: probe))
    finding = check_device("reference", "cpu", wanted=True)
    assert (finding.found, finding.remedy) == ("no kernel image", "pip install another")


# ── all of them ───────────────────────────────────────────────────────────────────────────────────────────────────────
def footprint(*overrides):
    manifest = parse_manifest(None, overrides)
    return estimate_footprint(resolve_shape(manifest, 4096), resolve_training(manifest.train, 1, 1))


def test_table_has_a_row_for_everything_and_only_what_is_wanted_can_fail(tmp_path):
    findings = check_machine(tmp_path, footprint())
    names = [finding.name for finding in findings]
    assert len(names) == len(set(names))
    assert {"Python", "disk", "memory", "package numpy", f"writable {tmp_path}", "torch", "reference"} <= set(names)
    require_all([finding for finding in findings if finding.name != "memory"])
    absent = check_device("reference", "abacus", wanted=False)
    assert (absent.name, absent.ok) == ("reference on abacus", None)


def test_absent_option_fails_nothing():
    require_all([Finding(name="torch on cpu", ok=None, found="not installed", error="package-missing")])


def test_first_row_that_failed_is_the_one_that_is_raised():
    rows = [
        Finding(name="memory", ok=False, found="little", remedy="more", error="memory-short"),
        Finding(name="disk", ok=False, found="full", remedy="free", error="disk-full"),
    ]
    with pytest.raises(MemoryShort):
        require_all(rows)
    with pytest.raises(DiskFull):
        require_all(rows[::-1])


# ── the estimate ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_disk_estimate_is_the_checkpoints_and_the_artefacts():
    manifest = parse_manifest(None, ["train.keep_last=3"])
    num_parameters = resolve_shape(manifest, 4096).num_parameters
    assert footprint("train.keep_last=3").disk_bytes == (3 * (3 + 2) + 2) * 4 * num_parameters


def test_disk_estimate_grows_with_the_model_and_with_what_is_kept():
    assert footprint("preset=high").disk_bytes > 3 * footprint().disk_bytes
    assert footprint("train.keep_last=30").disk_bytes > 5 * footprint("train.keep_last=3").disk_bytes
    assert footprint("train.batch_size=64").disk_bytes == footprint().disk_bytes


def test_memory_estimate_grows_with_the_model_and_the_micro_batch():
    usual = footprint().memory_bytes
    assert footprint("preset=high").memory_bytes > usual
    assert footprint("train.batch_size=64").memory_bytes > 1.5 * usual
    assert footprint("train.batch_size=64", "train.accumulation=2").memory_bytes == usual
    assert footprint("train.max_seq_length=256").memory_bytes > 1.5 * usual


def test_balanced_preset_fits_an_ordinary_machine():
    assert footprint().memory_bytes < 1_500_000_000
    assert footprint("preset=low-memory").memory_bytes < 400_000_000
