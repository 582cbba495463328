"""The C compiler that tinygrad needs for its kernels: which one there is here, and how to get one.

tinygrad hands every kernel to the program that `CC` names, and speaks clang to it. Where no clang is installed, the package
`ziglang` brings one, under other names for the processor and the target: a script of a few lines translates.

What was compiled is kept by tinygrad under the kernel's source alone. So that no compiler is answered with another one's
code, each has a file of its own here.
"""

import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

ASKING_TIMEOUT_S = 30.0

REMEDY = "apt-get install clang   (or, without root: pip install ziglang)"

_TRANSLATION = """\
#!/bin/sh
# clang by the package ziglang: the same compiler, which calls bare machines and processors otherwise.
for argument do
    shift
    case $argument in
        --target=arm64-none-unknown-elf) argument=--target=aarch64-freestanding-none ;;
        --target=*-none-unknown-elf) argument=${argument%-none-unknown-elf}-freestanding-none ;;
        -march=native) argument=-mcpu=native ;;
    esac
    set -- "$@" "$argument"
done
"""


class Compiler(NamedTuple):
    """What `CC` is set to, and what the program says of itself."""

    program: str
    version: str


def find_compiler() -> Compiler | None:
    """The person's own `CC` where that is a clang, else clang, else the one in ziglang; None where there is none of them.

    Raises OSError where the folder for the script cannot be written to.
    """
    for program in (os.environ.get("CC", ""), "clang"):
        version = _ask_version(program)
        if version:
            return Compiler(program, version)
    ziglang = importlib.util.find_spec("ziglang")
    if ziglang is None or not ziglang.submodule_search_locations or os.name != "posix":
        return None
    script = _write_script(Path(ziglang.submodule_search_locations[0]) / "zig")
    version = _ask_version(str(script))
    return Compiler(str(script), f"{version} of ziglang") if version else None


def set_compiler(compiler: Compiler) -> None:
    """Make tinygrad use it: to be called before tinygrad is imported. What it is goes on record with the environment."""
    os.environ["CC"] = compiler.program
    os.environ["TINYGRAD_COMPILER"] = compiler.version
    whose = hashlib.sha256(f"{compiler.version} on {platform.node()}".encode()).hexdigest()[:16]
    os.environ.setdefault("CACHEDB", str(_cache_folder() / f"kernels-{whose}.db"))


def _ask_version(program: str) -> str:
    """The first line of what a clang says of itself; nothing, where it is none or is not there."""
    if not program or shutil.which(program) is None:
        return ""
    try:
        said = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=ASKING_TIMEOUT_S, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    first = said.partition("\n")[0].strip()
    return first if "clang" in first else ""


def _write_script(zig: Path) -> Path:
    """The translating script, made anew where it is not there or is for another place."""
    text = _TRANSLATION + f'exec {shlex.quote(str(zig))} cc "$@" -g0\n'
    path = _cache_folder() / f"zig-cc-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        written = path.with_name(f"{path.name}.{os.getpid()}")
        written.write_text(text, encoding="utf-8")
        written.chmod(0o755)
        written.replace(path)
    return path


def _cache_folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "trainwright" / "tinygrad"
