"""The backends by name. A framework is imported only when its backend is opened."""

import importlib
import importlib.util
import os
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

from trainwright.backends.protocol import Backend
from trainwright.core.errors import DeviceUnavailable, InternalError, PackageMissing, UnsupportedPlan
from trainwright.core.records import Compute, ImportedShape, Optimizer, Shape


@dataclass(frozen=True)
class Entry:
    """Where a backend is, the package it needs (None: nothing beyond ours), and how to install that.

    `environment` is what the framework reads from the environment as it is imported; what a person set there stays. `sold_as`
    is what the package is called where it is installed from, if otherwise; `beneath` are the packages under it that compute.
    `models` are the kinds that it runs: our own decoder, or models in the Hugging Face format.
    """

    module: str
    class_name: str
    package: str | None
    install: str
    environment: tuple[tuple[str, str], ...] = ()
    sold_as: str | None = None
    beneath: tuple[str, ...] = ()
    models: tuple[Literal["own", "imported"], ...] = ("own",)

    @property
    def distribution(self) -> str | None:
        """What the package is called where it is installed from."""
        return self.sold_as or self.package


CATALOGUE: dict[str, Entry] = {
    "torch": Entry(
        "trainwright.backends.torch",
        "TorchBackend",
        "torch",
        "pip install 'trainwright[torch]'",
        (
            # OpenMP threads that wait for each other by spinning lose most of a core that somebody else uses too.
            ("GOMP_SPINCOUNT", "1000"),
            # cuBLAS is deterministic only with a workspace of fixed size.
            ("CUBLAS_WORKSPACE_CONFIG", ":4096:8"),
        ),
    ),
    "transformers": Entry(
        "trainwright.backends.transformers",
        "TransformersBackend",
        "transformers",
        "pip install 'trainwright[transformers]'",
        (
            ("CUBLAS_WORKSPACE_CONFIG", ":4096:8"),
            ("HF_HUB_OFFLINE", "1"),  # models come from folders; nothing is looked up elsewhere
        ),
        models=("imported",),
    ),
    "tinygrad": Entry(
        "trainwright.backends.tinygrad",
        "TinygradBackend",
        "tinygrad",
        "pip install 'trainwright[tinygrad]'",
    ),
    "tunix": Entry(
        "trainwright.backends.tunix",
        "TunixBackend",
        "tunix",
        "pip install 'trainwright[tunix]'",
        (("HF_HUB_OFFLINE", "1"),),  # some of what Tunix imports would look things up
        sold_as="google-tunix",
        beneath=("jax", "jaxlib", "flax", "optax", "qwix"),
        models=("own", "imported"),
    ),
    "reference": Entry("trainwright.backends.reference", "ReferenceBackend", None, ""),
}


def is_installed(name: str) -> bool:
    """Whether the framework's package can be found (it is not imported, and may still fail to run)."""
    package = CATALOGUE[name].package
    return package is None or importlib.util.find_spec(package) is not None


def read_version(name: str) -> str:
    """The version of a backend's package as installed; ours, for a backend that needs none."""
    return metadata.version(CATALOGUE[name].distribution or "trainwright")


def open_backend(name: str) -> Backend:
    """The backend. Raises PackageMissing, naming the install command, where its framework is not there or not importable."""
    entry = CATALOGUE.get(name)
    if entry is None:
        raise InternalError(f"There is no backend called {name}.", why=f"There are: {', '.join(CATALOGUE)}.")
    if not is_installed(name):
        raise PackageMissing(
            f"The {name} backend needs the package {entry.package}, which is not installed.",
            why="Frameworks are optional: only what a plan uses must be there.",
            next_step=f"{entry.install}   (or train a small model without it: --framework reference)",
        )
    for variable, value in entry.environment:
        os.environ.setdefault(variable, value)
    try:
        module = importlib.import_module(entry.module)
    except (ImportError, OSError) as error:  # OSError: a shared library of the framework's does not load
        if entry.package is None:
            raise
        lacks_another = isinstance(error, ModuleNotFoundError)
        raise PackageMissing(
            f"The package {entry.package} is installed and cannot be imported.",
            why=" ".join(str(error).split()),
            next_step=entry.install if lacks_another else f"pip install --force-reinstall {entry.distribution}",
        ) from error
    backend: Backend = getattr(module, entry.class_name)()
    return backend


def choose_device(framework: str, wanted: str) -> str:
    """The device to use: `auto` is the first of the backend's devices, fastest first, that runs a real kernel."""
    if wanted != "auto":
        return wanted
    backend = open_backend(framework)
    *accelerators, last = backend.capabilities.devices
    return next((device for device in accelerators if backend.probe(device).works), last)


def require_working(name: str, device: str) -> str:
    """Run a real kernel. Returns the device's name; raises PackageMissing or DeviceUnavailable with the remedy."""
    probe = open_backend(name).probe(device)
    if not probe.works:
        raise DeviceUnavailable(
            f"{name} cannot compute on the device {device!r}.", why=probe.problem, next_step=probe.remedy
        )
    return probe.device_name


def require_supported(compute: Compute, optimizer: Optimizer, shape: Shape) -> None:
    """Raises UnsupportedPlan, naming the backends that can, where the plan asks a backend for what it cannot do."""
    if _supports(compute.framework, compute, optimizer):  # asked first: the others stay unimported, and cost nothing
        return
    wanted = f"{compute.dtype}{' compiled' if compute.compile else ''} with {optimizer.name} on {compute.device}"
    if not _has_threads(compute.framework, compute):
        wanted += f", {compute.num_threads} threads"
    kind = "imported" if isinstance(shape, ImportedShape) else "own"
    others = [name for name, entry in CATALOGUE.items() if kind in entry.models and is_installed(name)]
    able = [name for name in others if name != compute.framework and _is_able(name, compute, optimizer)]
    raise UnsupportedPlan(
        f"The {compute.framework} backend cannot train in {wanted}.",
        why=f"Backends installed here that can: {', '.join(able) or 'none'}.",
        next_step=f"Choose --framework {able[0]}." if able else "Choose compute.dtype=float32 compute.compile=false.",
    )


def _is_able(name: str, compute: Compute, optimizer: Optimizer) -> bool:
    """Whether it can be opened and supports that: one that is installed and broken is no help to anybody."""
    try:
        return _supports(name, compute, optimizer)
    except PackageMissing:
        return False


def _supports(name: str, compute: Compute, optimizer: Optimizer) -> bool:
    capabilities = open_backend(name).capabilities
    device_kind = compute.device.partition(":")[0]
    return (
        device_kind in capabilities.devices
        and compute.dtype in capabilities.dtypes
        and (capabilities.compiles or not compute.compile)
        and optimizer.name in capabilities.optimizers
        and _has_threads(name, compute)
    )


def _has_threads(name: str, compute: Compute) -> bool:
    most = open_backend(name).capabilities.most_threads
    return most is None or compute.num_threads <= most
