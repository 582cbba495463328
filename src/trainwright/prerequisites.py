"""Stage zero: whether this machine can do what is asked, found out in seconds, before anything is begun.

Each row says what was looked for, what was found and, where it is missing, the command that mends it. `trainwright doctor`
shows the same rows.
"""

import shutil
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from trainwright.backends.catalogue import CATALOGUE, choose_device, is_installed, open_backend
from trainwright.core.errors import (
    DeviceUnavailable,
    DiskFull,
    MemoryShort,
    NotWritable,
    PackageMissing,
    PrerequisiteError,
    PythonTooOld,
    translate_write_errors,
)
from trainwright.core.records import Frozen, ImportedShape, Shape, TrainingPlan

OLDEST_PYTHON = (3, 11)
PACKAGES = (
    "httpx", "jinja2", "matplotlib", "numpy", "psutil", "pydantic", "pyyaml", "rich", "safetensors", "sentencepiece",
    "sqlalchemy", "tokenizers",
)  # fmt: skip
FLOAT_BYTES = 4


class Finding(Frozen):
    """One row: `ok` True, False, or None where it is optional and absent. `remedy` is what mends it.

    `error` is the name of the error that a run would end with; "" where the row is fine.
    """

    name: str
    ok: bool | None
    found: str
    remedy: str = ""
    error: str = ""


class Footprint(Frozen):
    """What a plan is expected to need, in bytes. An estimate, by counting arrays; the report shows what was measured."""

    disk_bytes: int
    memory_bytes: int


def estimate_footprint(shape: Shape, training: TrainingPlan) -> Footprint:
    """Disk: the checkpoints that are kept, one being written, the best, and the plain artefacts. Memory: weights, gradients,
    two optimizer moments, the average where one is kept, and for one micro-batch the activations and logits that the
    backward pass needs.
    """
    if isinstance(shape, ImportedShape):
        return _estimate_imported(shape, training)
    state_bytes = (4 if training.ema_decay else 3) * FLOAT_BYTES * shape.num_parameters
    rows = training.batch_size // training.accumulation
    positions = rows * training.max_seq_length
    per_position = shape.num_layers * (12 * shape.hidden_size + 4 * shape.intermediate_size) + 2 * shape.vocab_size
    attention = shape.num_layers * shape.num_heads * rows * training.max_seq_length**2 * 2
    return Footprint(
        disk_bytes=state_bytes * (training.keep_last + 2) + 2 * FLOAT_BYTES * shape.num_parameters,
        memory_bytes=state_bytes + FLOAT_BYTES * (shape.num_parameters + positions * per_position + attention),
    )


def _estimate_imported(shape: ImportedShape, training: TrainingPlan) -> Footprint:
    """By the sizes that its configuration gives under the usual names; a size that it does not give counts as nothing."""

    def size(name: str) -> int:
        value = shape.config.get(name)
        return value if isinstance(value, int) else 0

    positions = training.batch_size // training.accumulation * training.max_seq_length
    per_position = size("num_hidden_layers") * (12 * size("hidden_size") + 4 * size("intermediate_size"))
    model_bytes = FLOAT_BYTES * shape.num_parameters
    state_bytes = 3 * model_bytes if shape.adapter is None else model_bytes // 10
    return Footprint(
        disk_bytes=model_bytes + state_bytes * (training.keep_last + 2),
        memory_bytes=model_bytes + state_bytes + FLOAT_BYTES * positions * (per_position + 2 * shape.vocab_size),
    )


def check_python() -> Finding:
    """The running Python is new enough."""
    found = ".".join(str(part) for part in sys.version_info[:3])
    ok = sys.version_info[:2] >= OLDEST_PYTHON
    if ok:
        return Finding(name="Python", ok=True, found=found)
    remedy = "Install Python 3.11 or newer."
    return Finding(name="Python", ok=False, found=found, remedy=remedy, error=PythonTooOld.name)


def check_packages() -> list[Finding]:
    """Every package that the main path needs."""
    findings = []
    for package in PACKAGES:
        try:
            findings.append(Finding(name=f"package {package}", ok=True, found=metadata.version(package)))
        except metadata.PackageNotFoundError:
            remedy = f"pip install {package}"
            findings.append(
                Finding(
                    name=f"package {package}",
                    ok=False,
                    found="not installed",
                    remedy=remedy,
                    error=PackageMissing.name,
                )
            )
    return findings


def check_writable(folder: Path) -> Finding:
    """A file can really be written below `folder` (made where it is missing)."""
    name = f"writable {folder}"
    try:
        with translate_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"\0" * 4096)
                file.flush()
    except (DiskFull, NotWritable) as error:
        return Finding(name=name, ok=False, found=error.why, remedy=error.next_step, error=error.name)
    except OSError as error:  # a file where the folder should be, a name that is too long
        found = f"The operating system said: {error.strerror}."
        remedy = "Choose a folder you may write to with --workspace or --output-dir."
        return Finding(name=name, ok=False, found=found, remedy=remedy, error=NotWritable.name)
    return Finding(name=name, ok=True, found="yes")


def check_disk(folder: Path, needed_bytes: int) -> Finding:
    """There is room for what the plan is expected to write."""
    nearest = next(parent for parent in (folder, *folder.resolve().parents) if parent.exists())
    free = shutil.disk_usage(nearest).free
    found = f"{free / 1e9:.1f} GB free, about {needed_bytes / 1e9:.2f} GB needed"
    if free >= needed_bytes:
        return Finding(name="disk", ok=True, found=found)
    remedy = "Free some space, or choose another folder with --workspace."
    return Finding(name="disk", ok=False, found=found, remedy=remedy, error=DiskFull.name)


def check_memory(needed_bytes: int) -> Finding:
    """There is memory for what the plan is expected to hold."""
    import psutil

    available = psutil.virtual_memory().available
    found = f"{available / 1e9:.1f} GB available, about {needed_bytes / 1e9:.2f} GB needed"
    if available >= needed_bytes:
        return Finding(name="memory", ok=True, found=found)
    remedy = "Choose a smaller --batch-size, or raise train.accumulation."
    return Finding(name="memory", ok=False, found=found, remedy=remedy, error=MemoryShort.name)


def check_device(framework: str, device: str, *, wanted: bool) -> Finding:
    """A real kernel runs on `device` ("auto": the one that a run would take). A framework nobody asked for may be absent."""
    name = framework if device == "auto" else f"{framework} on {device}"
    ok = False if wanted else None
    if not is_installed(framework):
        entry = CATALOGUE[framework]
        found = f"{entry.package} is not installed"
        return Finding(name=name, ok=ok, found=found, remedy=entry.install, error=PackageMissing.name)
    try:
        probe = open_backend(framework).probe(choose_device(framework, device))
    except PackageMissing as error:  # installed, and broken
        found = f"{error.message} {error.why}"
        return Finding(name=name, ok=ok, found=found, remedy=error.next_step, error=error.name)
    if probe.works:
        return Finding(name=name, ok=True, found=f"{probe.device_name}, {framework} {probe.version}".strip(", "))
    return Finding(name=name, ok=ok, found=probe.problem, remedy=probe.remedy, error=DeviceUnavailable.name)


def check_machine(root: Path, footprint: Footprint) -> list[Finding]:
    """Every row, with every framework there is, none of which has to be there."""
    return [
        check_python(),
        *check_packages(),
        check_writable(root),
        check_disk(root, footprint.disk_bytes),
        check_memory(footprint.memory_bytes),
        *(check_device(framework, "auto", wanted=False) for framework in CATALOGUE),
    ]


_ERRORS: dict[str, type[PrerequisiteError]] = {
    error_class.name: error_class
    for error_class in (PythonTooOld, PackageMissing, DiskFull, NotWritable, MemoryShort, DeviceUnavailable)
}


def require_all(findings: list[Finding]) -> None:
    """Raises the error of the first row that failed, with its remedy."""
    for finding in findings:
        if finding.ok is False:
            raise _ERRORS[finding.error](
                f"Prerequisite not met: {finding.name}.", why=finding.found, next_step=finding.remedy
            )
