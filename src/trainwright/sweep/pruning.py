"""Whether a run is so far behind that it is stopped: a pure function of its validations and of those of earlier trials.

Only runs with the same seed are held against each other, so the order of the batches is no part of the difference.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Literal

from trainwright.core.errors import TrialPruned
from trainwright.core.records import Objective, Pruning
from trainwright.watch.events import Event, is_finite_number

Validations = Mapping[int, float]
"""{step: objective}."""


class Pruner:
    """Listens to a run, and stops it where it is behind `others`. `known` are its own validations from before this process.

    Nothing is stopped at step `num_steps`: the training is paid for by then.
    """

    def __init__(
        self,
        pruning: Pruning,
        objective: Objective,
        others: Sequence[Validations],
        known: Validations,
        num_steps: int,
    ) -> None:
        self._pruning, self._objective, self._others = pruning, objective, others
        self._own, self._num_steps = dict(known), num_steps

    def emit(self, event: Event) -> None:
        """Take in an event of the run. Raises TrialPruned."""
        if event["kind"] == "rollback":
            self._own = {step: value for step, value in self._own.items() if step <= event["to_step"]}
        if event["kind"] != "validation" or not is_finite_number(event.get(self._objective.metric)):
            return
        step = event["step"]
        self._own[step] = float(event[self._objective.metric])
        if step == self._num_steps:
            return
        so_far = {at: value for at, value in self._own.items() if at <= step}
        if why := judge(self._pruning, self._objective, step, so_far, self._others):
            raise TrialPruned(f"Stopped at step {step} of {self._num_steps}: {why}.", why="It was behind other trials.")


def judge(pruning: Pruning, objective: Objective, step: int, own: Validations, others: Sequence[Validations]) -> str:
    """Why the run is to be stopped after its validation at `step`, the last of `own`; "": it goes on."""
    if step < pruning.warmup_steps:
        return ""
    if pruning.rule == "median":
        return _judge_by_median(pruning, objective, step, own, others)
    return _judge_by_halving(pruning, objective, step, own, others)


def _judge_by_median(
    pruning: Pruning, objective: Objective, step: int, own: Validations, others: Sequence[Validations]
) -> str:
    """The median stopping rule (Golovin et al. 2017, KDD, § 3.2.2), on values and not on running averages."""
    theirs = [one[step] for one in others if step in one]
    if len(theirs) < pruning.startup_trials:
        return ""
    best = pick_best(own.values(), objective.direction)
    middle = median(theirs)
    if not is_better(middle, best, objective.direction):
        return ""
    return f"its best {objective.metric} is {best:.4f}, the median of {len(theirs)} trials there {middle:.4f}"


def _judge_by_halving(
    pruning: Pruning, objective: Objective, step: int, own: Validations, others: Sequence[Validations]
) -> str:
    """Asynchronous successive halving (Li et al. 2020, MLSys 2): what is not among the best at a rung ends there."""
    rung = pruning.warmup_steps * pruning.reduction ** _count_rungs(step, pruning)
    if _first_from(own, rung) != step:
        return ""
    theirs = [one[at] for one in others if (at := _first_from(one, rung)) is not None]
    if len(theirs) < pruning.startup_trials:
        return ""
    num_better = sum(is_better(value, own[step], objective.direction) for value in theirs)
    num_kept = math.ceil((len(theirs) + 1) / pruning.reduction)
    if num_better < num_kept:
        return ""
    return f"{num_better} of {len(theirs)} trials were better at the rung of {rung} steps, where {num_kept} are kept"


def _count_rungs(step: int, pruning: Pruning) -> int:
    """Rungs above the first one that `step` has come to; counted, because a logarithm may be just below a whole number."""
    count = 0
    while pruning.warmup_steps * pruning.reduction ** (count + 1) <= step:
        count += 1
    return count


def _first_from(validations: Validations, step: int) -> int | None:
    return min((at for at in validations if at >= step), default=None)


def is_better(value: float, other: float, direction: Literal["minimize", "maximize"]) -> bool:
    """Whether `value` is strictly the better one."""
    return value < other if direction == "minimize" else value > other


def pick_best(values: Iterable[float], direction: Literal["minimize", "maximize"]) -> float:
    """The best of some values. Raises ValueError for none."""
    return min(values) if direction == "minimize" else max(values)
