"""What is not as it was when a run was last worked on. What can change its results has to be allowed, by name.

A run is exact on one class of machine with one code and one set of numeric packages. Everything that is compared has a name:

    code platform cpu threads device, numpy and the plan's framework, variables that choose kernels    can change results
    python cores git host container, the other packages, variables that do not                         cannot; only named
    framework: a branch goes on, by another one, from a checkpoint                                      can change results

Data and tokenizer are not among them: they are named by digest in the plan, so that other ones are an error in any case.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any

from trainwright.backends.catalogue import CATALOGUE, open_backend, require_working
from trainwright.core.errors import Drift, InvalidValue, RunDamaged
from trainwright.core.hashing import canonical_json
from trainwright.core.records import Change, Plan, Run
from trainwright.store.run_folder import RunFolder
from trainwright.store.workspace import Workspace
from trainwright.watch.environment import NUMERIC_VARIABLES, read_environment

PACKAGES = (
    "trainwright",
    "torch",
    "tinygrad",
    "google-tunix",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "qwix",
    "numpy",
    "sentencepiece",
    "tokenizers",
    "safetensors",
    "pydantic",
    "sqlalchemy",
)

CAN_CHANGE_RESULTS = ("code", "platform", "cpu", "threads", "device", "numpy")
CANNOT_CHANGE_RESULTS = ("python", "cores", "git", "host", "container")

HARMLESS_ENDINGS = (
    "NUM_THREADS",  # the plan's number is set whatever these say
    "THREAD_LIMIT",
    "SPINCOUNT",
    "VISIBLE_DEVICES",
    "CACHE_DIR",
    "_HOME",
    "_LOGS",
    "HASHSEED",
)
"""How the names of variables end that say where, how fast or how loudly, and not what is computed."""

TINYGRAD_VARIABLES = "TINYGRAD_"
"""How the names of variables begin that say what tinygrad compiles with: nothing to a run of another framework."""

FRAMEWORK = "framework"
"""What changed where a run goes on, by another framework, from a checkpoint that one framework wrote."""

NOT_THERE = "not there"


def read_run_environment(plan: Plan) -> dict[str, Any]:
    """`read_environment` for a run of `plan`, its framework imported and its device asked for its name.

    Raises PackageMissing, DeviceUnavailable.
    """
    compute = plan.compute
    open_backend(compute.framework)  # sets what the framework reads from the environment
    is_cpu = compute.device == "cpu"
    return read_environment(PACKAGES, None if is_cpu else require_working(compute.framework, compute.device))


def read_last_environment(folder: RunFolder, workspace: Workspace) -> dict[str, Any]:
    """Where the run was last worked on, or begun. Raises RunDamaged, ObjectMissing, ObjectDamaged."""
    digests = [attempt["environment"] for attempt in folder.read_attempts() if "environment" in attempt]
    run = folder.read_run()
    if not digests or digests[-1] == run.environment:
        return folder.read_environment()
    document = json.loads(workspace.objects.get(digests[-1]))
    if not isinstance(document, dict):
        raise RunDamaged(f"The environment {digests[-1][:12]} of an attempt is not a JSON object.")
    return document


def compare_environments(before: Mapping[str, Any], now: Mapping[str, Any], plan: Plan) -> tuple[Change, ...]:
    """Everything named above that differs, by name; `exact` False where it can change the results of `plan`."""
    facts_before, facts_now = _name_facts(before, plan), _name_facts(now, plan)
    if "code" not in before:  # written when only the version was on record
        facts_now["code"] = str(now["trainwright"])
    return tuple(
        Change(name=name, before=was, now=found, exact=not _can_change_results(name, plan))
        for name in sorted(facts_before.keys() | facts_now.keys())
        if (was := facts_before.get(name, NOT_THERE)) != (found := facts_now.get(name, NOT_THERE))
    )


def compare_frameworks(before: Plan, now: Plan) -> tuple[Change, ...]:
    """What differs where a run of `now` goes on from a checkpoint that a run of `before` wrote: the framework, or nothing."""
    was, found = before.compute.framework, now.compute.framework
    return () if was == found else (Change(name=FRAMEWORK, before=was, now=found, exact=False),)


def breaks_plan(change: Change) -> bool:
    """Whether from here on a run is not what its plan gives. The framework that a branch goes on with stands in its plan."""
    return not change.exact and change.name != FRAMEWORK


def require_allowed(changes: Collection[Change], allowed: Collection[str], run: Run) -> None:
    """Raises Drift, naming each, where a change that can change results is not allowed."""
    refused = [change for change in changes if not change.exact and change.name not in allowed]
    if not refused:
        return
    options = " ".join(f"--allow-drift {change.name}" for change in changes if not change.exact)
    raise Drift(
        f"The run {run.id[:12]} would not go on exactly: {', '.join(change.name for change in refused)} changed.",
        why="; ".join(render_change(change) for change in refused) + ".",
        next_step="Go on where nothing of this changed, or accept that the weights will be others and have it put on "
        f"record: trainwright resume {run.id[:12]} {options}",
    )


def require_known_names(names: Collection[str]) -> None:
    """Raises InvalidValue for a name that nothing has."""
    known = (*CAN_CHANGE_RESULTS, FRAMEWORK, *CANNOT_CHANGE_RESULTS, *PACKAGES[1:])
    for name in names:
        if name not in known and not name.startswith(NUMERIC_VARIABLES):
            raise InvalidValue(
                f"--allow-drift {name}: nothing that is compared has that name.",
                why=f"The names are {', '.join(dict.fromkeys(known))}, and those of environment variables.",
                next_step="Resume without it: what changed is then named.",
            )


def render_change(change: Change) -> str:
    """One change as a person reads it."""
    return f"{change.name} was {change.before} and is {change.now}"


def keep_environment(environment: Mapping[str, Any], workspace: Workspace) -> str:
    """The digest under which an environment lies among the objects."""
    return workspace.objects.put(canonical_json(environment))


def _can_change_results(name: str, plan: Plan) -> bool:
    framework = CATALOGUE[plan.compute.framework]
    if name in CAN_CHANGE_RESULTS or name == framework.distribution or name in framework.beneath:
        return True
    return name.startswith(NUMERIC_VARIABLES) and not name.endswith(HARMLESS_ENDINGS)


def _name_facts(environment: Mapping[str, Any], plan: Plan) -> dict[str, str]:
    """{name: what there is, in words}. A fact that this environment does not tell is left out."""
    cpu, git, python = environment["cpu"], environment["git"], environment["python"]
    code = environment.get("code")
    facts = {
        "code": environment["trainwright"] + (f" ({code[:12]})" if code else ""),
        "python": f"{python['implementation']} {python['version']}",
        "platform": f"{environment['platform']['system']} {environment['platform']['machine']}",
        "cpu": f"{cpu['model'] or cpu['why_not']} with {' '.join(cpu['instruction_sets']) or 'no instruction set known'}",
        "git": git["why_not"] or f"{git['sha'][:12]}{' with changes' if git['dirty'] else ''}",
        "host": environment["hostname"],
        "container": environment["container"]["kind"] or "none",
    }
    if cpu["num_usable"] is not None:
        facts["cores"] = str(cpu["num_usable"])
        # A plan's threads that have no core of their own may be given fewer by the libraries, silently.
        facts["threads"] = f"{min(plan.compute.num_threads, cpu['num_usable'])} of {plan.compute.num_threads}"
    if plan.compute.device != "cpu" and environment["gpu"]["name"]:
        facts["device"] = environment["gpu"]["name"]
    packages = {
        name: version or NOT_THERE for name, version in environment["packages"].items() if name != "trainwright"
    }
    variables = {
        name: value
        for name, value in environment["variables"].items()
        if plan.compute.framework == "tinygrad" or not name.startswith(TINYGRAD_VARIABLES)
    }
    return {**facts, **packages, **variables}
