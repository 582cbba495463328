"""Probes in processes of their own, on the reference backend and on frameworks that break."""

import subprocess
import sys

import pytest

from trainwright.backends import probing
from trainwright.backends.probing import probe_apart, probe_here

RUN = subprocess.run


@pytest.fixture(autouse=True)
def _nothing_remembered():
    probe_apart.cache_clear()
    yield
    probe_apart.cache_clear()


def let_the_process_be(monkeypatch, code):
    """In place of the probing process, one that runs `code`."""
    words = [sys.executable, "-c", code]
    monkeypatch.setattr(probing.subprocess, "run", lambda _, **settings: RUN(words, **settings))


def test_kernel_is_run_in_another_process_once():
    found = probe_apart("reference", "auto")
    assert (found.framework, found.device, found.works, found.problem) == ("reference", "cpu", True, "")
    assert found.version
    assert found.device_name.endswith("CPU")
    assert probe_apart("reference", "auto") is found


def test_device_that_is_not_there_comes_back_with_the_remedy():
    found = probe_here("reference", "abacus")
    assert not found.works
    assert "abacus" in found.problem
    assert "compute.device=cpu" in found.remedy


def test_framework_that_is_not_installed_comes_back_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr("trainwright.backends.catalogue.is_installed", lambda name: False)
    found = probe_here("torch", "auto")
    assert not found.works
    assert "package torch, which is not installed" in found.problem
    assert found.remedy.startswith("pip install 'trainwright[torch]'")


def test_process_that_crashes_is_told_apart_from_one_that_says_why(monkeypatch):
    let_the_process_be(monkeypatch, "import os; os.abort()")
    assert probe_apart("torch", "cpu").problem == "The process that tried a real kernel ended with signal 6"
    probe_apart.cache_clear()
    let_the_process_be(monkeypatch, "raise SystemExit('no such library')")
    found = probe_apart("torch", "cpu")
    assert found.problem == "The process that tried a real kernel ended with exit status 1: no such library"
    assert not found.works
    assert found.remedy


def test_process_that_hangs_is_given_up(monkeypatch):
    monkeypatch.setattr(probing, "LONGEST_S", 0.2)
    let_the_process_be(monkeypatch, "import time; time.sleep(60)")
    found = probe_apart("torch", "cpu")
    assert not found.works
    assert "was not done after" in found.problem


def test_greeting_of_a_framework_is_not_taken_for_the_answer(monkeypatch):
    answer = probing.Probed(framework="torch", device="cpu", works=True, version="9").model_dump_json()
    let_the_process_be(monkeypatch, f"print('hello'); print({answer!r})")
    assert probe_apart("torch", "cpu").version == "9"
