"""A sweep as one document: what `sweep show --json` prints, the service answers, and the pages are made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainwright.core.errors import ObjectiveMissing
from trainwright.core.manifest import LimitsSection
from trainwright.core.records import Plan, Report, Sweep
from trainwright.store.workspace import Workspace
from trainwright.sweep.folder import SweepFolder
from trainwright.sweep.importance import Importance, measure_importance
from trainwright.sweep.pruning import is_better
from trainwright.sweep.ranking import Confirmation, Rank, find_confirmations, list_notes, rank_trials
from trainwright.sweep.record import (
    SweepStatus,
    TrialRun,
    TrialState,
    find_own_run,
    iter_runs,
    iter_sweeps,
    list_own_runs,
    list_standings,
    measure_spent,
    read_status,
    read_trials,
)
from trainwright.watch.budgets import Standing
from trainwright.watch.curves import Chart
from trainwright.watch.plots import Curve


@dataclass(frozen=True)
class SweepRow:
    """A sweep at a glance."""

    sweep: Sweep
    status: SweepStatus
    states: list[TrialState]
    standings: list[Standing]

    @property
    def num_ended(self) -> int:
        """Trials of which nothing is left to run."""
        return sum(state.status != "unfinished" for state in self.states)

    def count(self, status: str) -> int:
        """Trials that stand like that."""
        return sum(state.status == status for state in self.states)

    @property
    def best(self) -> TrialState | None:
        """The first in the ranking; None where no trial was completed."""
        ranks = rank_trials(self.sweep, self.states)
        first = next((rank for rank in ranks if rank.place == 1), None)
        return None if first is None else next(state for state in self.states if state.number == first.number)

    def as_document(self) -> dict[str, Any]:
        """One row of `sweep list --json`."""
        best = self.best
        return {
            "sweep_id": self.sweep.id,
            "name": self.sweep.name,
            "status": self.status,
            "sampler": self.sweep.sampler,
            "num_trials": self.sweep.num_trials,
            "num_seeds": self.sweep.num_seeds,
            "num_completed": self.count("completed"),
            "num_failed": self.count("failed"),
            "num_pruned": self.count("pruned"),
            "objective": self.sweep.objective.model_dump(),
            "best": None if best is None else {"number": best.number, "values": best.values, "value": best.value},
        }


@dataclass(frozen=True)
class SweepView:
    """All about a sweep."""

    row: SweepRow
    ranks: list[Rank]
    importance: Importance
    confirmations: list[Confirmation]
    notes: list[str]
    run_ids: dict[tuple[int, int], str]
    """{(number, repeat): run}, of those that have begun."""
    limits: LimitsSection

    @property
    def sweep(self) -> Sweep:
        """Its record."""
        return self.row.sweep

    def find_state(self, number: int) -> TrialState:
        """The trial of that number."""
        return next(state for state in self.row.states if state.number == number)

    def as_document(self) -> dict[str, Any]:
        """What `sweep show --json` prints."""
        sweep = self.sweep
        return {
            **self.row.as_document(),
            "dataset": sweep.dataset,
            "seed": sweep.seed,
            "manifest": sweep.manifest,
            "overrides": list(sweep.overrides),
            "search_space": [one.model_dump(mode="json") for one in sweep.space],
            "pruning": None if sweep.pruning is None else sweep.pruning.model_dump(),
            "limits": [standing.as_document() for standing in self.row.standings],
            "trials": [self._describe(rank) for rank in self.ranks],
            "importance": self.importance.model_dump(mode="json"),
            "confirmations": [one.model_dump(mode="json") for one in self.confirmations],
            "notes": self.notes,
        }

    def _describe(self, rank: Rank) -> dict[str, Any]:
        state = self.find_state(rank.number)
        return {
            **rank.model_dump(mode="json"),
            "values": state.values,
            "status": state.status,
            "value": state.value,
            "error": state.error,
            "runs": [self._describe_run(run) for run in (*state.runs, *state.confirming)],
        }

    def _describe_run(self, run: TrialRun) -> dict[str, Any]:
        trial, outcome = run.trial, run.outcome
        return {
            "trial_id": trial.id,
            "run_id": self.run_ids.get((trial.number, trial.repeat)),
            "plan_id": trial.plan,
            "seed": trial.seed,
            "confirms": trial.repeat >= self.sweep.num_seeds,
            "reused": trial.reused is not None,
            "proposed_by": trial.proposed_by,
            "status": "unfinished" if outcome is None else outcome.status,
            "value": None if outcome is None else outcome.value,
            "step": None if outcome is None else outcome.step,
            "error": None if outcome is None else outcome.error,
        }


def list_sweeps(workspace: Workspace, limit: int, after: str | None = None) -> tuple[list[SweepRow], str | None]:
    """A page of sweeps, the newest first, and the id to ask for the next page with (None on the last one)."""
    last_id = None if after is None else workspace.ledger.resolve(after)
    rows: list[SweepRow] = []
    for sweep in iter_sweeps(workspace, last_id):
        if len(rows) == limit:
            return rows, rows[-1].sweep.id
        rows.append(read_row(sweep, workspace))
    return rows, None


def read_row(sweep: Sweep, workspace: Workspace) -> SweepRow:
    """A sweep at a glance."""
    states = read_trials(sweep, workspace)
    limits = SweepFolder(sweep.id, workspace).read_limits()
    standings = []
    if limits != LimitsSection():
        standings = list_standings(limits, measure_spent(list(list_own_runs(states, workspace)), workspace))
    return SweepRow(sweep, read_status(sweep, states, standings, workspace), states, standings)


def view_sweep(sweep: Sweep, workspace: Workspace) -> SweepView:
    """All about a sweep: ranking, importance, what was confirmed, and what has to be known to read it."""
    row = read_row(sweep, workspace)
    ranks = rank_trials(sweep, row.states)
    notes = list_notes(sweep, row.states, ranks) + _list_notes_of_runs(row.states, workspace)
    return SweepView(
        row=row,
        ranks=ranks,
        importance=measure_importance(sweep, row.states),
        confirmations=find_confirmations(row.states),
        notes=notes,
        run_ids=_find_run_ids(row.states, workspace),
        limits=SweepFolder(sweep.id, workspace).read_limits(),
    )


def require_a_place(view: SweepView) -> TrialState:
    """The first trial of the ranking. Raises ObjectiveMissing where none was completed."""
    best = view.row.best
    if best is None:
        errors = [state.error for state in view.row.states if state.error is not None]
        raise ObjectiveMissing(
            f"None of the {len(view.row.states)} trials of the sweep {view.sweep.name} has a {view.sweep.objective.metric}.",
            why=f"The first of them ended with {errors[0]}" if errors else "None has ended yet.",
            next_step=f"trainwright sweep show {view.sweep.id[:12]} says what became of each.",
        )
    return best


def chart_progress(view: SweepView) -> Chart:
    """The objective of each completed trial by its number, and the best one so far."""
    completed = [state for state in view.row.states if state.status == "completed" and state.value is not None]
    numbers = tuple(state.number for state in completed)
    values = [float(state.value or 0.0) for state in completed]
    best: list[float] = []
    for value in values:
        is_ahead = not best or is_better(value, best[-1], view.sweep.objective.direction)
        best.append(value if is_ahead else best[-1])
    curves = {"trial": Curve(numbers, tuple(values)), "best so far": Curve(numbers, tuple(best))}
    return Chart("trials", f"{view.sweep.objective.metric.replace('_', ' ')} by trial", curves)


def _find_run_ids(states: Sequence[TrialState], workspace: Workspace) -> dict[tuple[int, int], str]:
    found: dict[tuple[int, int], str] = {}
    for run in iter_runs(states):
        place = run.trial.number, run.trial.repeat
        if run.outcome is not None and run.outcome.run is not None:
            found[place] = run.outcome.run
        elif run.outcome is None and (own := find_own_run(run.trial, workspace)) is not None:
            found[place] = own.id
    return found


def _list_notes_of_runs(states: Sequence[TrialState], workspace: Workspace) -> list[str]:
    """Where the arithmetic was not done alike, a part of the differences is its own; what does not pass its checks."""
    frameworks, unsound = set(), set()
    for run in iter_runs(states):
        plan = workspace.ledger.get(run.trial.plan) if run.trial.plan is not None else None
        if isinstance(plan, Plan):
            frameworks.add(f"{plan.compute.framework} {plan.compute.dtype}")
        named = run.outcome.report if run.outcome is not None else None
        report = None if named is None else workspace.ledger.get(named)
        if isinstance(report, Report) and any(check.passed is False for check in report.checks):
            unsound.add(run.trial.number)
    notes = []
    if len(frameworks) > 1:
        notes.append(
            f"The trials did not compute alike ({', '.join(sorted(frameworks))}); set compute.framework and compute.dtype "
            "in the manifest to keep that out of the differences."
        )
    if unsound:
        shown = ", ".join(str(number) for number in sorted(unsound))
        notes.append(
            f"Checks or budgets failed in trial {shown}; the ranking does not look at them, the runs' reports do."
        )
    return notes
