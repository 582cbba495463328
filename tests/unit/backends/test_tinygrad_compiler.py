"""Which C compiler tinygrad is given, and what is said of it. No tinygrad is needed."""

import importlib.util
import os
import subprocess
from types import SimpleNamespace

import pytest

from trainwright.backends import tinygrad_compiler
from trainwright.backends.tinygrad_compiler import Compiler, find_compiler, set_compiler

pytestmark = pytest.mark.skipif(os.name != "posix", reason="programs are shell scripts here")


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """make(name, what it says): a program on a PATH that has nothing else; no CC, no ziglang, a cache folder of its own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("CC", "CACHEDB", "TINYGRAD_COMPILER"):
        monkeypatch.setenv(name, "")  # so that it is taken away again
        monkeypatch.delenv(name)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    def make(name, says):
        path = folder / name
        path.write_text(f"#!/bin/sh\nfor each do echo \"$each\"; done > {folder}/arguments\necho '{says}'\n")
        path.chmod(0o755)
        return path

    return make


def bring_ziglang(monkeypatch, zig):
    found = SimpleNamespace(submodule_search_locations=[str(zig.parent)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found if name == "ziglang" else None)


def test_where_there_is_no_clang_there_is_no_compiler(programs):
    programs("gcc", "gcc (Debian) 12.2.0")
    assert find_compiler() is None


def test_clang_is_taken(programs):
    programs("clang", "Debian clang version 14.0.6")
    assert find_compiler() == Compiler("clang", "Debian clang version 14.0.6")


def test_a_persons_own_compiler_is_taken_where_it_is_a_clang(programs, monkeypatch):
    programs("clang", "clang version 14")
    monkeypatch.setenv("CC", str(programs("clang-19", "clang version 19.1")))
    assert find_compiler().version == "clang version 19.1"
    monkeypatch.setenv("CC", str(programs("gcc", "gcc (Debian) 12.2.0")))
    assert find_compiler().version == "clang version 14"
    monkeypatch.setenv("CC", "/nowhere/clang")
    assert find_compiler().version == "clang version 14"


def test_without_clang_that_of_ziglang_is_taken_and_told_everything_in_its_own_words(programs, tmp_path, monkeypatch):
    zig = programs("zig", "clang version 22.1.8")
    bring_ziglang(monkeypatch, zig)
    compiler = find_compiler()
    assert compiler.version == "clang version 22.1.8 of ziglang"
    assert find_compiler() == compiler
    said = ["-c", "-x", "c", "-march=native", "--target=x86_64-none-unknown-elf", "-", "-o", "a file"]
    subprocess.run([compiler.program, *said], check=True, capture_output=True, timeout=30)
    heard = (tmp_path / "bin" / "arguments").read_text().splitlines()
    assert heard == [
        "cc",
        *["-c", "-x", "c", "-mcpu=native", "--target=x86_64-freestanding-none", "-", "-o", "a file"],
        "-g0",
    ]
    subprocess.run([compiler.program, "--target=arm64-none-unknown-elf"], check=True, capture_output=True, timeout=30)
    assert "--target=aarch64-freestanding-none" in (tmp_path / "bin" / "arguments").read_text()


def test_compiled_kernels_of_one_compiler_are_never_those_of_another(programs, monkeypatch):
    files = []
    for version in ("clang version 14", "clang version 22", "clang version 14"):
        monkeypatch.delenv("CACHEDB", raising=False)
        set_compiler(Compiler("clang", version))
        assert (os.environ["CC"], os.environ["TINYGRAD_COMPILER"]) == ("clang", version)
        files.append(os.environ["CACHEDB"])
    assert files[0] == files[2] != files[1]
    monkeypatch.setenv("CACHEDB", "/a/persons/own.db")
    set_compiler(Compiler("clang", "clang version 22"))
    assert os.environ["CACHEDB"] == "/a/persons/own.db"


def test_a_compiler_that_does_not_answer_is_none(programs, monkeypatch):
    programs("clang", "clang version 14").write_text("#!/bin/sh\nread nothing < /dev/zero\nwhile :; do :; done\n")
    monkeypatch.setattr(tinygrad_compiler, "ASKING_TIMEOUT_S", 0.2)
    assert find_compiler() is None
