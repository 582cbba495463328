"""What was searched, what was tried, and what came of each."""

from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator

from trainwright.core.hashing import Digest
from trainwright.core.records.base import Frozen, Record

Number = int | float


class Dimension(Frozen):
    """One key of the manifest that a sweep varies: among `values`, or from `low` to `high`, both of them included.

    `log`: what is far apart on the logarithm is far apart. `step`: only `low` and whole numbers of steps above it.
    """

    key: str
    kind: Literal["categorical", "int", "float"]
    values: tuple[Any, ...] = ()
    low: Number | None = None
    high: Number | None = None
    log: bool = False
    step: Number | None = None


class Objective(Frozen):
    """What trials are ranked by: a metric of the report, and which end of it is the good one."""

    metric: str
    direction: Literal["minimize", "maximize"]


class Pruning(Frozen):
    """When a trial's run is stopped at a validation because it is behind those of earlier trials at the same step.

    `median`: its best value so far is worse than the median of theirs at this step. `asha`: at the first validation from
    `warmup_steps`, and from each `reduction` times that, it is not among the best 1/`reduction`. Never before
    `startup_trials` of them have a value there, nor before `warmup_steps`.
    """

    rule: Literal["median", "asha"]
    startup_trials: int
    warmup_steps: int
    reduction: int


class Sweep(Record):
    """A search: a manifest, the keys that are varied, how, and what the trials are ranked by.

    `dataset` is what the manifest's data section gave when the sweep was begun: all trials learn from it and are held
    against its held-out part. Each trial is run with `num_seeds` seeds: the manifest's own and those after it. `seed` is
    that of the proposals. What the sweep may spend is not in here: it can be raised.
    """

    kind: Literal["sweep"] = "sweep"
    parent_fields: ClassVar[tuple[str, ...]] = ("dataset",)
    name: str
    dataset: Digest
    manifest: dict[str, Any]
    overrides: tuple[str, ...]
    space: tuple[Dimension, ...]
    sampler: Literal["grid", "random", "tpe"]
    num_trials: int
    num_seeds: int
    objective: Objective
    pruning: Pruning | None
    seed: int


class Trial(Record):
    """One run that a sweep asks for, put on record before it begins: the values of the trial, and a seed.

    `number` counts from 1. `repeat` counts the seeds from 0; those from the sweep's `num_seeds` on confirm a trial with
    seeds that took no part in choosing it. `plan` None: the values give none, and the outcome says why. `reused` is the run
    that had fulfilled the plan before, or the one of an earlier trial with the same plan. `proposed_by` names the sampler
    and its version.
    """

    kind: Literal["trial"] = "trial"
    parent_fields: ClassVar[tuple[str, ...]] = ("sweep", "plan")
    sweep: Digest
    number: int
    repeat: int
    values: dict[str, Any]
    seed: int
    proposed_by: str
    plan: Digest | None
    reused: Digest | None


class TrialOutcome(Record):
    """What came of a trial's run. `value` is its objective: of the report, or, where it was pruned, the last one before.

    `validations` are (step, objective) of those that count in a run's events; empty where they do not tell the objective.
    `step` is where it was pruned.
    """

    kind: Literal["trial-outcome"] = "trial-outcome"
    parent_fields: ClassVar[tuple[str, ...]] = ("trial", "run", "report")
    trial: Digest
    status: Literal["completed", "failed", "pruned"]
    run: Digest | None
    report: Digest | None
    value: float | None
    step: int | None
    validations: tuple[tuple[int, float], ...]
    error: str | None = None

    @model_validator(mode="after")
    def _has_value_or_error(self) -> Self:
        if (self.status == "completed") != (self.error is None) or (self.status == "completed" and self.value is None):
            raise ValueError("a completed trial has a value, and any other one says why it is not completed")
        return self
