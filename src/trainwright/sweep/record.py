"""What the ledger says about a sweep: its trials in order, how each stands, and what their runs spent."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from trainwright.core.errors import RunDamaged, UnknownRef
from trainwright.core.manifest import LimitsSection
from trainwright.core.records import Run, Sweep, Trial, TrialOutcome
from trainwright.pipeline.accounts import find_prices, read_spending
from trainwright.pipeline.inspect import find_runs
from trainwright.store.workspace import Workspace
from trainwright.sweep.folder import SweepFolder
from trainwright.sweep.proposals import Ended
from trainwright.watch.budgets import Standing, list_budgets, measure_standing
from trainwright.watch.cost import Amounts, add_amounts, sum_up

PAGE = 1000
SweepStatus = Literal["running", "completed", "budget-reached", "interrupted"]


@dataclass(frozen=True)
class TrialRun:
    """One run that was asked for, and what came of it, once it ended."""

    trial: Trial
    outcome: TrialOutcome | None


@dataclass(frozen=True)
class TrialState:
    """A trial: its values, its runs with the seeds that choose, and those with fresh ones that confirm."""

    number: int
    values: dict[str, Any]
    num_seeds: int
    runs: tuple[TrialRun, ...]
    confirming: tuple[TrialRun, ...]

    @property
    def outcomes(self) -> list[TrialOutcome]:
        """Of the runs that ended, by seed."""
        return [run.outcome for run in self.runs if run.outcome is not None]

    @property
    def status(self) -> Literal["completed", "failed", "pruned", "unfinished"]:
        """A trial of which one run failed has failed: the mean of the others would be that of the lucky ones."""
        for outcome in self.outcomes:
            if outcome.status != "completed":
                return outcome.status
        return "completed" if len(self.outcomes) == self.num_seeds else "unfinished"

    @property
    def value(self) -> float | None:
        """The mean objective of a completed trial; of one that was pruned, the last that was measured."""
        values = [outcome.value for outcome in self.outcomes if outcome.value is not None]
        if self.status == "completed":
            return fmean(values)
        return values[-1] if self.status == "pruned" and values else None

    @property
    def validations(self) -> dict[int, float]:
        """{step: objective} of its first run."""
        return dict(self.outcomes[0].validations) if self.outcomes else {}

    @property
    def error(self) -> str | None:
        """Why it failed or was pruned."""
        return next((outcome.error for outcome in self.outcomes if outcome.error is not None), None)

    def as_ended(self) -> Ended:
        """What a sampler hears of it."""
        assert self.status != "unfinished"
        return Ended(self.values, self.status, self.value, self.validations)


def find_sweep(ref: str, workspace: Workspace) -> Sweep:
    """The sweep of that name (the newest), or that id or beginning of one. Raises UnknownRef, AmbiguousRef."""
    named = next((sweep for sweep in iter_sweeps(workspace) if sweep.name == ref), None)
    record = named or workspace.ledger.get(workspace.ledger.resolve(ref))
    if not isinstance(record, Sweep):
        raise UnknownRef(
            f"{ref} does not name a sweep.",
            why=f"It names a {record.kind}.",
            next_step="`trainwright sweep list` shows the sweeps.",
        )
    return record


def iter_sweeps(workspace: Workspace, after: str | None = None) -> Iterator[Sweep]:
    """All sweeps, the newest first, those after the one of id `after`. Raises UnknownRef where there is no such record."""
    while page := workspace.ledger.find("sweep", PAGE, after):
        yield from (stored.record for stored in page if isinstance(stored.record, Sweep))
        after = page[-1].record.id


def read_trials(sweep: Sweep, workspace: Workspace) -> list[TrialState]:
    """The trials that are on record, by number."""
    found: dict[int, dict[int, TrialRun]] = {}
    for role, child in workspace.ledger.children(sweep.id):
        record = workspace.ledger.get(child) if role == "sweep" else None
        if isinstance(record, Trial):
            found.setdefault(record.number, {}).setdefault(record.repeat, _read_run(record, workspace))
    return [
        TrialState(
            number=number,
            values=runs[min(runs)].trial.values,
            num_seeds=sweep.num_seeds,
            runs=tuple(run for repeat, run in sorted(runs.items()) if repeat < sweep.num_seeds),
            confirming=tuple(run for repeat, run in sorted(runs.items()) if repeat >= sweep.num_seeds),
        )
        for number, runs in sorted(found.items())
    ]


def _read_run(trial: Trial, workspace: Workspace) -> TrialRun:
    children = (workspace.ledger.get(child) for role, child in workspace.ledger.children(trial.id) if role == "trial")
    return TrialRun(trial, next((child for child in children if isinstance(child, TrialOutcome)), None))


def iter_runs(states: Sequence[TrialState]) -> Iterator[TrialRun]:
    """Every run of all trials, those that confirm included."""
    for state in states:
        yield from (*state.runs, *state.confirming)


# ── how it stands ─────────────────────────────────────────────────────────────────────────────────────────────────────
def read_status(
    sweep: Sweep, states: Sequence[TrialState], standings: Sequence[Standing], workspace: Workspace
) -> SweepStatus:
    """How a sweep stands."""
    if SweepFolder(sweep.id, workspace).is_locked():
        return "running"
    if len(states) == sweep.num_trials and all(state.status != "unfinished" for state in states):
        return "completed"
    return "budget-reached" if any(standing.is_reached for standing in standings) else "interrupted"


# ── what it spent ─────────────────────────────────────────────────────────────────────────────────────────────────────
def list_own_runs(states: Sequence[TrialState], workspace: Workspace) -> dict[str, str]:
    """{run: plan} of the runs that were trained for a sweep: what was there before costs it nothing."""
    plans = {run.trial.plan for run in iter_runs(states) if run.trial.plan is not None and run.trial.reused is None}
    return {run.id: plan for plan in sorted(plans) for run in find_runs(workspace, plan)}


def measure_spent(runs: Sequence[str], workspace: Workspace) -> Amounts:
    """What some runs used together, by their meters."""
    prices = find_prices(None, workspace)
    parts = []
    for run_id in runs:
        folder = None
        with suppress(UnknownRef, RunDamaged):  # without its folder there is what its meters wrote
            folder = workspace.find_run_folder(run_id)
        parts.append(read_spending(run_id, folder, workspace).sum_up(prices))
    return add_amounts(parts) if parts else sum_up([], prices)


def list_standings(limits: LimitsSection, spent: Amounts) -> list[Standing]:
    """How much of each limit is spent."""
    return [measure_standing(budget, spent) for budget in list_budgets(limits, "sweep")]


def find_own_run(trial: Trial, workspace: Workspace) -> Run | None:
    """The newest run of the trial's plan that was begun after the trial was put on record; None where none was."""
    if trial.plan is None:
        return None
    ids = [child for role, child in workspace.ledger.children(trial.plan) if role == "plan"]
    later = [workspace.ledger.get(child) for child in ids[ids.index(trial.id) + 1 :]] if trial.id in ids else []
    return next((record for record in reversed(later) if isinstance(record, Run)), None)
