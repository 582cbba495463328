"""A plan being carried out: its checkpoints, what was found out about the model, how it ended, whether it can be repeated."""

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from trainwright.core.hashing import Digest
from trainwright.core.records.base import Frozen, Record, added


class Run(Record):
    """One execution of a plan. `nonce` tells apart two runs of one plan; `environment` is the digest of its object."""

    kind: Literal["run"] = "run"
    parent_fields: ClassVar[tuple[str, ...]] = ("plan",)
    plan: Digest
    name: str
    started_at: str
    nonce: str
    environment: Digest


class Checkpoint(Record):
    """The state after `step` updates. `files` is every file of the checkpoint folder with its digest."""

    kind: Literal["checkpoint"] = "checkpoint"
    parent_fields: ClassVar[tuple[str, ...]] = ("run",)
    run: Digest
    step: int
    num_tokens: int
    weights: Digest
    files: dict[str, Digest]


class Measure(Frozen):
    """One number, or the reason there is none. `value` None always comes with `why_not`."""

    value: float | None
    unit: str = ""
    why_not: str = ""

    @model_validator(mode="after")
    def _has_value_or_reason(self) -> Self:
        if self.value is None and not self.why_not:
            raise ValueError("a measure without a value says why there is none")
        return self


class Check(Frozen):
    """One row of the validation table. `passed` None: not measured (or no limit), and `why` says so."""

    name: str
    measured: Measure
    limit: float | None
    passed: bool | None
    why: str = ""


class Sample(Frozen):
    """What the model wrote after a prompt."""

    prompt: str
    text: str


class Report(Record):
    """What was found out about a checkpoint on a held-out split."""

    kind: Literal["report"] = "report"
    parent_fields: ClassVar[tuple[str, ...]] = ("checkpoint", "token_set")
    checkpoint: Digest
    token_set: Digest
    split: str
    metrics: dict[str, Measure]
    checks: tuple[Check, ...]
    samples: tuple[Sample, ...]


class Outcome(Record):
    """How a run ended. A run without one is running, or was interrupted and can be resumed.

    `pruned`: a sweep stopped it, because it was behind; `error` says where and behind what.
    """

    kind: Literal["outcome"] = "outcome"
    parent_fields: ClassVar[tuple[str, ...]] = ("run", "checkpoint", "report")
    run: Digest
    status: Literal["completed", "failed", "pruned"]
    checkpoint: Digest | None
    report: Digest | None
    error: str | None = None


class Change(Frozen):
    """Something that is not as it was when the run began. `exact` False: results may differ from here on."""

    name: str
    before: str
    now: str
    exact: bool


class Drift(Record):
    """A run went on at `step` although something had changed that can change its results, because a person allowed it."""

    kind: Literal["drift"] = "drift"
    parent_fields: ClassVar[tuple[str, ...]] = ("run",)
    run: Digest
    step: int
    at: str
    changes: tuple[Change, ...]


class Interval(Frozen):
    """The steps after the checkpoint of `first_step`, up to and with the one of `last_step`."""

    first_step: int
    last_step: int


class Difference(Frozen):
    """The first checkpoint that is not what was recorded, and the first tensor in it, by name.

    `computed`: computing the steps again gave something else. `stored`: it gave what was recorded, so the file was changed
    after it was written. `events`: so was the event stream. `tensor` is empty where none can be named; the verdict says why.
    """

    step: int
    tensor: str
    cause: Literal["computed", "stored", "events"] = added("computed")


class Verdict(Record):
    """What came of computing a run, or some of its intervals, again.

    `share` is the part of the run's steps that was computed again. `environment` is the digest of the object that
    describes where.
    """

    kind: Literal["verdict"] = "verdict"
    parent_fields: ClassVar[tuple[str, ...]] = ("run",)
    run: Digest
    at: str
    status: Literal["verified", "differs", "cannot-verify"]
    intervals: tuple[Interval, ...]
    share: float
    difference: Difference | None
    why: str
    environment: Digest
