"""Whether this machine is of the class that a run was made on: what its results depend on, and how that differs now."""

from collections.abc import Iterator, Mapping
from typing import Any

from trainwright.backends.catalogue import CATALOGUE
from trainwright.core.records import Change, Plan


def compare_environments(before: Mapping[str, Any], now: Mapping[str, Any], plan: Plan) -> tuple[Change, ...]:
    """Everything that can change the results of `plan` and is not as it was, by name."""
    facts_before, facts_now = dict(_iter_facts(before, plan)), dict(_iter_facts(now, plan))
    return tuple(
        Change(name=name, before=facts_before.get(name, "not there"), now=facts_now.get(name, "not there"), exact=False)
        for name in sorted(facts_before.keys() | facts_now.keys())
        if facts_before.get(name) != facts_now.get(name)
    )


def _iter_facts(environment: Mapping[str, Any], plan: Plan) -> Iterator[tuple[str, str]]:
    cpu = environment["cpu"]
    yield "code", environment["trainwright"]
    yield "platform", f"{environment['platform']['system']} {environment['platform']['machine']}"
    yield "cpu", f"{cpu['model']} with {' '.join(cpu['instruction_sets'])}"
    if cpu["num_usable"] is not None:
        # A plan's threads that have no core of their own may be given fewer by the libraries, silently.
        yield "threads", f"{min(plan.compute.num_threads, cpu['num_usable'])} of {plan.compute.num_threads}"
    for name in ("numpy", "safetensors", CATALOGUE[plan.compute.framework].package):
        if name:
            yield name, environment["packages"].get(name) or "not there"
    yield from environment["variables"].items()
