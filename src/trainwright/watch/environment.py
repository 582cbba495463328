"""What a run ran on: enough to tell, a year later, why two machines gave different numbers (`environment.json`)."""

import functools
import os
import platform
import socket
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from trainwright import __version__
from trainwright.core.hashing import digest_file, digest_json

NUMERIC_VARIABLES = (
    "ACCELERATE_",
    "ATEN_CPU_CAPABILITY",
    "BEAM",
    "BLIS_",
    "CUBLAS_",
    "CUDA_",
    "CUDNN_",
    "DNNL_",
    "GOMP_",
    "JAX_",
    "KMP_",
    "MKL_",
    "NUMEXPR_",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_",
    "ONEDNN_",
    "OPENBLAS_",
    "PYTHONHASHSEED",
    "TF32_",
    "TINYGRAD_",
    "TORCHINDUCTOR_",
    "TORCH_",
    "VECLIB_",
    "XLA_",
)
"""Names, or beginnings of names, of environment variables that change how numbers are computed."""

NUMERIC_CPU_FLAGS = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16")
"""Instruction sets by which kernels are chosen, as /proc/cpuinfo spells them."""

COMPUTING_ROOMS = ("backends", "core", "evaluate", "pipeline", "store", "tokens", "train")
"""Rooms whose code takes part in what a run that has begun computes."""

GIT_TIMEOUT_S = 5.0


def read_environment(packages: Sequence[str], gpu_name: str | None = None) -> dict[str, Any]:
    """Facts about code, machine and settings, as JSON. What cannot be told is None beside a `why_not`.

    `packages` are distribution names; one that is not installed has the version None. `gpu_name` is what the chosen
    framework says it computes on: no framework is imported here. The git facts are those of the current folder, the one
    the person works in. Never raises for a missing tool, and makes no network request.
    """
    return {
        "trainwright": __version__,
        "code": _digest_code(),
        "git": _read_git(Path.cwd()),
        "python": {"version": platform.python_version(), "implementation": platform.python_implementation()},
        "platform": {"system": platform.system(), "release": platform.release(), "machine": platform.machine()},
        "packages": {name: _read_version(name) for name in packages},
        "cpu": _read_cpu(),
        "memory_bytes": int(psutil.virtual_memory().total),
        "memory_limit_bytes": _read_memory_limit(),
        "gpu": {"name": gpu_name, "why_not": "" if gpu_name else "not measured: no framework was asked for one"},
        "container": _read_container(),
        "hostname": socket.gethostname(),
        "variables": _read_variables(),
    }


def describe_machine() -> str:
    """The class of this machine in one line: what the speed of a computation, and its last bits, depend on."""
    cpu = _read_cpu()
    return f"{platform.machine()} {cpu['model']} {cpu['num_usable']} cores {' '.join(cpu['instruction_sets'])}"


@functools.cache
def _digest_code() -> str:
    """SHA-256 over the source files that results depend on: a version stays the same while code is being worked on."""
    root = Path(__file__).parents[1]
    paths = sorted(path for room in COMPUTING_ROOMS for path in (root / room).rglob("*.py"))
    return digest_json({str(path.relative_to(root)): digest_file(path) for path in paths})


def _read_git(folder: Path) -> dict[str, Any]:
    """{sha, dirty, why_not}. Dirty: tracked files differ from the commit, or files exist that git does not ignore."""
    sha, problem = _ask_git(folder, "rev-parse", "--verify", "HEAD")
    if sha is None:
        return {"sha": None, "dirty": None, "why_not": problem}
    changes, problem = _ask_git(folder, "status", "--porcelain")
    return {"sha": sha, "dirty": None if changes is None else bool(changes), "why_not": problem}


def _ask_git(folder: Path, *arguments: str) -> tuple[str | None, str]:
    """(answer, "") or (None, why there is none)."""
    # Only reading: without optional locks, `git status` leaves the index alone for a git that runs beside us.
    variables = os.environ | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GIT_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        return None, "git is not installed"
    except OSError as error:
        return None, f"git could not be started: {error.strerror}"
    except subprocess.TimeoutExpired:
        return None, f"git did not answer within {GIT_TIMEOUT_S:g} s"
    if done.returncode != 0:
        complaint = done.stderr.decode("utf-8", "replace")
        if "not a git repository" in complaint:
            return None, "the current folder is not in a git repository"
        if "Needed a single revision" in complaint:
            return None, "the git repository has no commit yet"
        return None, f"git said: {(complaint.strip().splitlines() or ['nothing'])[0]}"
    return done.stdout.decode("utf-8", "replace").strip(), ""


def _read_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


@functools.cache
def _read_cpu() -> dict[str, Any]:
    facts = _read_cpuinfo()
    flags = set(facts.get("flags", facts.get("Features", "")).split())
    model = facts.get("model name") or platform.processor()
    return {
        "model": model or None,
        "why_not": "" if model else "this system does not name its processor",
        "num_logical": os.cpu_count(),
        "num_usable": _count_usable_cores(),
        "instruction_sets": [flag for flag in NUMERIC_CPU_FLAGS if flag in flags],
    }


def _read_cpuinfo() -> dict[str, str]:
    """The first processor's fields from /proc/cpuinfo; empty where there is no such file."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _count_usable_cores() -> int | None:
    """Cores this process may run on, which containers and `taskset` make fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _read_memory_limit() -> int | None:
    """The control group's memory limit in bytes, or None where there is none."""
    for path in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        try:
            text = path.read_text(encoding="ascii").strip()
        except OSError:
            continue
        # Version 1 says "no limit" as a number near 2^63.
        return int(text) if text.isdigit() and int(text) < 2**60 else None
    return None


def _read_container() -> dict[str, Any]:
    """{kind, evidence}; kind None where nothing says that this is a container, which is not proof that it is none."""
    for path, kind in ((Path("/run/.containerenv"), "podman"), (Path("/.dockerenv"), "docker")):
        if path.exists():
            return {"kind": kind, "evidence": str(path)}
    if told := os.environ.get("container"):  # noqa: SIM112 - the name that container managers agreed on
        return {"kind": told, "evidence": "container is set"}
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return {"kind": "kubernetes", "evidence": "KUBERNETES_SERVICE_HOST is set"}
    try:
        groups = Path("/proc/1/cgroup").read_text(encoding="utf-8", errors="replace")
    except OSError:
        groups = ""
    for kind in ("kubepods", "docker", "libpod", "containerd", "lxc"):
        if kind in groups:
            return {"kind": kind, "evidence": "/proc/1/cgroup"}
    return {"kind": None, "evidence": "no container marker was found"}


def _read_variables() -> dict[str, str]:
    names = sorted(name for name in os.environ if name.startswith(NUMERIC_VARIABLES))
    return {name: os.environ[name] for name in names}
