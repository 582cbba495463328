"""A sweep that exists on paper: records as a real one leaves them, without a run behind them."""

from collections.abc import Callable
from typing import Any

import pytest

from trainwright.core.records import Dimension, Objective, Sweep, Trial, TrialOutcome
from trainwright.store.workspace import open_workspace
from trainwright.sweep.record import TrialRun, TrialState

A = "a" * 64
SPACE = (
    Dimension(key="train.optimizer.learning_rate", kind="float", low=1e-4, high=1e-1, log=True),
    Dimension(key="train.batch_size", kind="categorical", values=(8, 16, 32)),
    Dimension(key="train.dropout", kind="float", low=0.0, high=0.3, step=0.1),
    Dimension(key="model.layers", kind="int", low=1, high=6),
)


def build_sweep(**changes: Any) -> Sweep:
    facts: dict[str, Any] = {
        "name": "rates",
        "dataset": A,
        "manifest": {},
        "overrides": (),
        "space": SPACE,
        "sampler": "random",
        "num_trials": 4,
        "num_seeds": 1,
        "objective": Objective(metric="bits_per_byte", direction="minimize"),
        "pruning": None,
        "seed": 3,
    }
    return Sweep(**facts | changes)


def build_state(sweep: Sweep, number: int, values: dict[str, Any], *found: float | str) -> TrialState:
    """A trial with one run for each of `found`: a value (completed), or the name of how else it ended."""
    runs = []
    for repeat, one in enumerate(found):
        trial = Trial(
            sweep=sweep.id,
            number=number,
            repeat=repeat,
            values=values,
            seed=repeat,
            proposed_by="a test",
            plan=None,
            reused=None,
        )
        is_completed = not isinstance(one, str)
        outcome = TrialOutcome(
            trial=trial.id,
            status="completed" if is_completed else "failed" if one == "unfinished" else one,
            run=None,
            report=None,
            value=one if is_completed else None,
            step=None,
            validations=(),
            error=None if is_completed else f"{one}: for a test",
        )
        runs.append(TrialRun(trial, None if one == "unfinished" else outcome))
    chosen, confirming = tuple(runs[: sweep.num_seeds]), tuple(runs[sweep.num_seeds :])
    return TrialState(number, values, sweep.num_seeds, chosen, confirming)


@pytest.fixture(scope="session")
def make_sweep() -> Callable[..., Sweep]:
    return build_sweep


@pytest.fixture(scope="session")
def make_state() -> Callable[..., TrialState]:
    return build_state


@pytest.fixture
def workspace(tmp_path):
    with open_workspace(tmp_path / "workspace") as opened:
        yield opened
