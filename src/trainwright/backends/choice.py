"""How a plan is computed on this machine: `auto` is settled by probing and by measuring, and the figures are kept.

The faster of the candidates *for a run of this length* is taken: compilation costs seconds at the start and saves them in
every step. Measurements are remembered per machine and model shape, so that one manifest goes on giving one plan.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from trainwright.backends.catalogue import (
    CATALOGUE,
    choose_device,
    is_installed,
    open_backend,
    read_version,
    require_supported,
    require_working,
)
from trainwright.backends.measure import Speed, SpeedRequest, measure_speed
from trainwright.backends.probing import probe_apart
from trainwright.core.errors import PackageMissing, UnsupportedPlan
from trainwright.core.hashing import digest_json
from trainwright.core.manifest import ComputeSection, FrameworkName
from trainwright.core.records import Compute, Frozen, ImportedShape, Shape, TrainingPlan

AUTOMATIC: tuple[FrameworkName, ...] = ("torch", "tunix", "tinygrad")
"""What `auto` chooses among, the likely fastest first. The reference backend is the specification, and transformers is for
models in its own format: they must be asked for by name."""

LEAST_WAIT_S, LONGEST_WAIT_S = 20.0, 120.0
"""A candidate of another framework is waited for as long as the best one so far takes for the whole run, but no longer than
the second; where that is less than the first, no framework that has to compile could come up with it."""

WORTH_COMPILING_S = 180.0
"""A run that is this short uncompiled is not worth the time it takes to find out whether compiling would help."""

EMULATED_BELOW = 0.5
"""A processor that multiplies bfloat16 at less than this share of its float32 speed has no instructions for it: those
that have them are faster in it, those that have not about thirty times slower."""


@dataclass(frozen=True)
class Memory:
    """Where measurements are kept between runs: `read(key)` gives a document or None, `write(key, document)` keeps it."""

    read: Callable[[str], dict[str, Any] | None]
    write: Callable[[str, dict[str, Any]], None]


class PassedOver(Frozen):
    """A framework that was not taken, without being measured, and why."""

    framework: str
    problem: str


class Choice(Frozen):
    """What was chosen, why, and every candidate with its figures; `passed_over` are frameworks that were no candidates."""

    compute: Compute
    device_name: str
    reason: str
    candidates: tuple[Speed, ...]
    passed_over: tuple[PassedOver, ...] = ()

    @property
    def speed(self) -> Speed | None:
        """The figures of what was chosen, where it was measured."""
        return next((speed for speed in self.candidates if speed.compute == self.compute), None)


def choose_compute(
    section: ComputeSection,
    shape: Shape,
    training: TrainingPlan,
    *,
    machine: str,
    memory: Memory,
    time_budget_s: float | None,
) -> Choice:
    """Settle framework, device, threads, dtype and compilation for a run of `training.num_steps` (or of a time budget).

    Raises PackageMissing or DeviceUnavailable (with the remedy), UnsupportedPlan where no candidate can be run, or where a
    framework is asked by name for what it cannot do (naming those that can).
    """
    frameworks, passed_over = choose_frameworks(section, training.optimizer.name)
    candidates: list[Compute] = []
    device_names: dict[str, str] = {}
    for framework in frameworks:
        device = choose_device(framework, section.device)
        device_names[framework] = require_working(framework, device)
        num_threads = _choose_threads(section, framework)
        dtypes = _choose_dtypes(section, framework, device, num_threads, machine, memory)
        candidates += _iter_candidates(section, framework, device, num_threads, dtypes)
    for candidate in candidates:  # before any is measured: what cannot be done has no speed
        require_supported(candidate, training.optimizer, shape)

    def build(compute: Compute, reason: str, speeds: Sequence[Speed] = ()) -> Choice:
        return Choice(
            compute=compute,
            device_name=device_names[compute.framework],
            reason=reason,
            candidates=tuple(speeds),
            passed_over=passed_over,
        )

    if isinstance(shape, ImportedShape):  # half the width where an accelerator has it; nothing is measured
        return build(candidates[-1], "models in the Hugging Face format are not measured")
    if len(candidates) == 1 and time_budget_s is None:
        return build(candidates[0], "the only candidate")
    requests = [SpeedRequest(shape=shape, training=training, compute=compute) for compute in candidates]
    speeds = _measure_candidates(requests, machine, memory, time_budget_s)
    working = [speed for speed in speeds if speed.step_s is not None]
    if not working:
        problems = "; ".join(f"{_describe(speed.compute, frameworks)}: {speed.problem}" for speed in speeds)
        raise UnsupportedPlan(
            f"{' and '.join(frameworks)} could not train this plan in any way.",
            why=problems,
            next_step="Run `trainwright doctor`.",
        )
    best = min(working, key=lambda speed: _cost(speed, training.num_steps, time_budget_s))
    return build(best.compute, _explain(speeds), speeds)


def choose_frameworks(
    section: ComputeSection, optimizer: str
) -> tuple[tuple[FrameworkName, ...], tuple[PassedOver, ...]]:
    """The frameworks whose ways are compared, and those that were passed over.

    A named one is taken, or is an error. Of several, in order of preference, the first that works and can do what is asked.
    `auto`: all of `AUTOMATIC` that are installed and work; those that are not installed are passed over with the rest. Raises
    PackageMissing; UnsupportedPlan where none of several does.
    """
    wanted = section.framework
    if isinstance(wanted, str) and wanted != "auto":
        open_backend(wanted)
        return (wanted,), ()
    passed_over: list[PassedOver] = []
    if wanted == "auto":
        installed = tuple(name for name in AUTOMATIC if is_installed(name))
        missing = (name for name in AUTOMATIC if name not in installed)
        passed_over = [PassedOver(framework=name, problem=find_problem(name, section, optimizer)) for name in missing]
        if not installed:
            raise PackageMissing(
                "No training framework is installed.",
                why=f"`compute.framework: auto` takes one of {', '.join(AUTOMATIC)}, and none of their packages is there.",
                next_step="pip install 'trainwright[torch]'   (or, for a very small model: --framework reference)",
            )
        if len(installed) == 1:  # its own error is the one that is told
            return installed, tuple(passed_over)
        wanted, takes_first = installed, False
    else:
        takes_first = True
    able: list[FrameworkName] = []
    for framework in wanted:
        if takes_first and able:
            break
        problem = find_problem(framework, section, optimizer)
        if problem:
            passed_over.append(PassedOver(framework=framework, problem=problem))
        else:
            able.append(framework)
    if not able:
        raise UnsupportedPlan(
            f"None of the frameworks {', '.join(wanted)} can train this plan here.",
            why="; ".join(f"{each.framework}: {each.problem}" for each in passed_over),
            next_step="Run `trainwright doctor`, or name another one in compute.framework.",
        )
    return tuple(able), tuple(passed_over)


def find_problem(framework: FrameworkName, section: ComputeSection, optimizer: str) -> str:
    """Why a framework cannot be used for this, or nothing: what is missing, what its probe said, what it cannot do.

    It is imported here only after its probe worked in a process of its own.
    """
    if not is_installed(framework):
        entry = CATALOGUE[framework]
        return f"the package {entry.package} is not installed ({entry.install})"
    probed = probe_apart(framework, section.device)
    if not probed.works:
        return f"{probed.problem} ({probed.remedy})"
    can = open_backend(framework).capabilities
    cannot: list[str] = [section.dtype] if section.dtype not in ("auto", *can.dtypes) else []
    cannot += ["compile"] if section.compile is True and not can.compiles else []
    cannot += [optimizer] if optimizer not in can.optimizers else []
    if section.threads != "auto" and can.most_threads is not None and section.threads > can.most_threads:
        cannot.append(f"{section.threads} threads")
    return f"it cannot do {', '.join(cannot)}" if cannot else ""


def carry_over(compute: Compute, framework: FrameworkName) -> Compute:
    """The same place in another framework, as near to it as that one can come. Raises PackageMissing."""
    can = open_backend(framework).capabilities
    return Compute(
        framework=framework,
        device=compute.device if compute.device.partition(":")[0] in can.devices else "cpu",
        dtype=compute.dtype if compute.dtype in can.dtypes else "float32",
        compile=compute.compile and can.compiles,
        num_threads=compute.num_threads if can.most_threads is None else min(compute.num_threads, can.most_threads),
    )


def count_cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _choose_dtypes(
    section: ComputeSection, framework: FrameworkName, device: str, num_threads: int, machine: str, memory: Memory
) -> list[Literal["float32", "bfloat16"]]:
    """The dtypes worth timing: where a processor has to emulate bfloat16, compiling for it would cost minutes for nothing."""
    if section.dtype != "auto":
        return [section.dtype]
    backend = open_backend(framework)
    dtypes: list[Literal["float32", "bfloat16"]] = ["float32"]
    if "bfloat16" in backend.capabilities.dtypes:
        key = digest_json({"machine": machine, "version": read_version(framework), "peaks on": device})
        peaks = memory.read(key)
        if peaks is None:
            wide = Compute(framework=framework, device=device, dtype="float32", compile=False, num_threads=num_threads)
            narrow = wide.model_copy(update={"dtype": "bfloat16"})
            peaks = {"float32": backend.measure_peak(wide), "bfloat16": backend.measure_peak(narrow)}
            memory.write(key, peaks)
        if peaks["bfloat16"] >= EMULATED_BELOW * peaks["float32"]:
            dtypes.append("bfloat16")
    return dtypes


def _choose_threads(section: ComputeSection, framework: FrameworkName) -> int:
    """All cores, or as many as the backend takes."""
    if section.threads != "auto":
        return section.threads
    most = open_backend(framework).capabilities.most_threads
    return count_cores() if most is None else min(most, count_cores())


def _iter_candidates(
    section: ComputeSection,
    framework: FrameworkName,
    device: str,
    num_threads: int,
    dtypes: Sequence[Literal["float32", "bfloat16"]],
) -> Iterator[Compute]:
    """Every way worth trying: as it is in float32; compiled in the narrowest dtype; on an accelerator, all of them."""
    capabilities = open_backend(framework).capabilities
    pinned = section.dtype != "auto" or section.compile != "auto"
    for dtype in dtypes:
        for compiled in (False, True) if section.compile == "auto" else (section.compile,):
            pays = device != "cpu" or (dtype == dtypes[-1] if compiled else dtype == "float32")
            if (pinned or pays) and (capabilities.compiles or not compiled or section.compile is True):
                yield Compute(
                    framework=framework, device=device, dtype=dtype, compile=compiled, num_threads=num_threads
                )


def _measure_candidates(
    requests: Sequence[SpeedRequest], machine: str, memory: Memory, time_budget_s: float | None
) -> list[Speed]:
    """Each candidate's figures, in order. Those of a second framework are not waited for longer than would serve anybody."""
    speeds: list[Speed] = []
    for request in requests:
        compute, num_steps = request.compute, request.training.num_steps
        if compute.compile and time_budget_s is None and _is_short(speeds, num_steps):
            speeds.append(Speed(compute=compute, problem="not measured: the run is too short to repay compilation"))
            continue
        is_timed, waits_s = time_budget_s is not None, None
        others_s = [speed.total_s(num_steps) for speed in speeds if speed.compute.framework != compute.framework]
        if others_s and not is_timed:
            waits_s = min(min(others_s), LONGEST_WAIT_S)
            if waits_s < LEAST_WAIT_S:
                problem = f"not measured: the whole run takes {waits_s:.2g} s otherwise"
                speeds.append(Speed(compute=compute, problem=problem))
                continue
        speeds.append(_recall_or_measure(request, machine, memory, is_timed=is_timed, waits_s=waits_s))
    return speeds


def _is_short(speeds: list[Speed], num_steps: int) -> bool:
    return any(
        speed.step_s is not None and not speed.compute.compile and speed.step_s * num_steps < WORTH_COMPILING_S
        for speed in speeds
    )


def _recall_or_measure(
    request: SpeedRequest, machine: str, memory: Memory, *, is_timed: bool, waits_s: float | None = None
) -> Speed:
    """A candidate's figures: those that are remembered, else measured now, for `waits_s` at most.

    A time budget must know what starting costs a process that finds the compiled code on disk, as the run will: a
    compiled candidate is then measured a second time.
    """
    version = read_version(request.compute.framework)
    key = digest_json({"machine": machine, "version": version, "request": _what_costs(request)})
    known = memory.read(key)
    speed = None if known is None else Speed.model_validate(known)
    if speed is None or (speed.given_up_s is not None and (waits_s is None or waits_s > speed.given_up_s)):
        known = None
        speed = measure_speed(request) if waits_s is None else measure_speed(request, waits_s)
    if is_timed and request.compute.compile and not speed.problem and speed.compilation_s is None:
        speed = measure_speed(request).model_copy(update={"compilation_s": speed.start_s})
        known = None
    if known is None and (not speed.problem or speed.given_up_s is not None):
        memory.write(key, speed.model_dump())
    return speed


def _what_costs(request: SpeedRequest) -> dict[str, Any]:
    """The part of a request that its speed depends on; not how long or how often."""
    training = request.training
    return {
        "shape": request.shape.model_dump(),
        "compute": request.compute.model_dump(),
        "batch": [training.batch_size, training.accumulation, training.max_seq_length],
        "optimizer": training.optimizer.name,
        "dropout": training.dropout > 0,
        "label_smoothing": training.label_smoothing > 0,
    }


def _cost(speed: Speed, num_steps: int, time_budget_s: float | None) -> float:
    """Seconds for the run; under a time budget, seconds per step once the start is paid for. Smaller is better."""
    if time_budget_s is None or speed.start_s is None or speed.step_s is None:
        return speed.total_s(num_steps)
    left_s = time_budget_s - speed.start_s
    return speed.step_s / left_s if left_s > 0 else float("inf")


def _describe(compute: Compute, frameworks: Sequence[str]) -> str:
    way = f"{compute.dtype}{' compiled' * compute.compile}"
    return f"{compute.framework} {way}" if len(frameworks) > 1 else way


def _explain(speeds: list[Speed]) -> str:
    num_measured = sum(speed.step_s is not None for speed in speeds)
    if num_measured == 1:
        return "the only candidate that was measured"
    return f"the fastest of {num_measured} measured for a run of this length"
