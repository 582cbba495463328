"""What runs cost so far and will have cost, one by one or summed up; what budgets there are, and what is left of them."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trainwright.core.errors import InvalidValue, RunDamaged, UnknownRef
from trainwright.core.manifest import LimitsSection
from trainwright.core.records import Measure, Run
from trainwright.pipeline.accounts import (
    Account,
    Spending,
    find_prices,
    list_projects,
    read_account,
    read_project_limits,
    read_spending,
    write_account,
    write_project_limits,
)
from trainwright.pipeline.inspect import Status, find_run, find_runs, outcome_of, status_of
from trainwright.pipeline.spending import list_project_spendings
from trainwright.store.run_folder import RunFolder
from trainwright.store.workspace import Workspace
from trainwright.watch.budgets import Standing, list_budgets, measure_standing
from trainwright.watch.cost import Amounts, Prices, add_amounts, price_storage, project, sum_up
from trainwright.watch.events import iter_events

By = Literal["run", "project", "user", "tag"]


@dataclass(frozen=True)
class RunCosts:
    """What one run costs. `folder` None: it was deleted, and what it used is on record all the same."""

    run: Run
    status: Status | Literal["deleted"]
    folder: RunFolder | None
    spending: Spending
    so_far: Amounts
    projected: Amounts
    storage: Measure
    storage_price: Measure
    prices: Prices | None

    @property
    def account(self) -> Account:
        """Its project, tags, prices and limits."""
        return self.spending.account

    @property
    def users(self) -> list[str]:
        """The accounts that worked on it, as far as they are known."""
        return sorted({usage.who for usage in self.spending.usages if usage.who is not None})

    def as_document(self) -> dict[str, Any]:
        """One row of `costs --json`."""
        budgets = list_budgets(self.account.limits, "run")
        return {
            "run_id": self.run.id,
            "name": self.run.name,
            "status": self.status,
            "project": self.account.project,
            "tags": list(self.account.tags),
            "users": self.users,
            "num_processes": len(self.spending.usages),
            "region": None if self.prices is None else self.prices.region,
            "so_far": self.so_far.as_document(),
            "projected": self.projected.as_document(),
            "storage": self.storage.model_dump(),
            "storage_price": self.storage_price.model_dump(),
            "budgets": [measure_standing(budget, self.so_far).as_document() for budget in budgets],
        }


@dataclass(frozen=True)
class GroupCosts:
    """What several runs cost together. `name` None: those that have no project, or no tag, or whose user is not known."""

    by: By
    name: str | None
    num_runs: int
    so_far: Amounts
    projected: Amounts | None
    """None where runs are divided, as between users: there is nothing to project."""

    def as_document(self) -> dict[str, Any]:
        """One row of `costs --by … --json`."""
        return {
            self.by: self.name,
            "num_runs": self.num_runs,
            "so_far": self.so_far.as_document(),
            "projected": None if self.projected is None else self.projected.as_document(),
        }


def list_costs(workspace: Workspace, prices_path: Path | None = None) -> list[RunCosts]:
    """What each run costs, newest first. Prices that are given here come before a run's own. Raises like `read_prices`."""
    given = None if prices_path is None else find_prices(prices_path, workspace)
    usual = find_prices(None, workspace)
    return [_measure_run(run, workspace, given, usual) for run in find_runs(workspace)]


def page_costs(workspace: Workspace, limit: int, after: str | None = None) -> tuple[list[RunCosts], str | None]:
    """A page of runs with their costs, newest first, and the id to ask for the next page with (None on the last one).

    Raises UnknownRef, AmbiguousRef where `after` names no run.
    """
    runs = find_runs(workspace)
    if after is not None:
        last_id = find_run(after, workspace).id
        runs = runs[[run.id for run in runs].index(last_id) + 1 :]
    usual = find_prices(None, workspace)
    page = [_measure_run(run, workspace, None, usual) for run in runs[:limit]]
    return page, page[-1].run.id if len(runs) > limit else None


def read_costs(ref: str, workspace: Workspace, prices_path: Path | None = None) -> RunCosts:
    """What one run costs. Raises UnknownRef, AmbiguousRef, and like `read_prices`."""
    given = None if prices_path is None else find_prices(prices_path, workspace)
    return _measure_run(find_run(ref, workspace), workspace, given, find_prices(None, workspace))


def group_costs(costs: Sequence[RunCosts], by: By) -> list[GroupCosts]:
    """The runs' costs summed up, by name. A run counts under each of its tags; between users its processes are divided."""
    if by == "user":
        return _group_by_user(costs)
    groups: dict[str | None, list[RunCosts]] = {}
    for run in costs:
        for name in _names_of(run, by):
            groups.setdefault(name, []).append(run)
    return [
        GroupCosts(
            by, name, len(runs), add_amounts([run.so_far for run in runs]), add_amounts([run.projected for run in runs])
        )
        for name, runs in sorted(groups.items(), key=lambda group: (group[0] is None, group[0] or ""))
    ]


# ── budgets ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def list_standings(workspace: Workspace) -> list[tuple[str, Standing]]:
    """(the run's id or the project's name, how it stands) of every budget in the workspace, projects first."""
    usual = find_prices(None, workspace)
    standings = []
    for name in list_projects(workspace):
        if budgets := list_budgets(read_project_limits(name, workspace), f"project {name}"):
            parts = [spending.sum_up(usual) for spending in list_project_spendings(name, workspace)]
            spent = add_amounts(parts) if parts else sum_up([], usual)
            standings += [(name, measure_standing(budget, spent)) for budget in budgets]
    for run in find_runs(workspace):
        if budgets := list_budgets(read_account(run.id, workspace).limits, "run"):
            spent = read_spending(run.id, _find_folder(run, workspace), workspace).sum_up(usual)
            standings += [(run.id, measure_standing(budget, spent)) for budget in budgets]
    return standings


def set_limits(
    ref: str | None, project_name: str | None, changes: dict[str, float | None], workspace: Workspace
) -> LimitsSection:
    """Set (None: take away) limits of a run or a project; returns all that there are now.

    Raises InvalidValue where neither or both are named; UnknownRef, AmbiguousRef, RunDamaged.
    """
    if (ref is None) == (project_name is None):
        raise InvalidValue(
            "A budget is that of one run or of one project.",
            next_step="For example: trainwright budgets set RUN --hours 2, or --project NAME --money 100",
        )
    if project_name is not None:
        limits = read_project_limits(project_name, workspace).model_copy(update=changes)
        write_project_limits(project_name, limits, workspace)
        return limits
    run = find_run(str(ref), workspace)
    account = read_account(run.id, workspace)
    limits = account.limits.model_copy(update=changes)
    write_account(run.id, account.model_copy(update={"limits": limits.model_dump()}), workspace)
    return limits


# ── one run ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def _measure_run(run: Run, workspace: Workspace, given: Prices | None, usual: Prices | None) -> RunCosts:
    folder = _find_folder(run, workspace)
    spending = read_spending(run.id, folder, workspace)
    prices = given or spending.account.prices or usual
    so_far = sum_up(spending.usages, prices)
    projected = so_far
    status: Status | Literal["deleted"] = "deleted"
    storage = Measure(value=0.0, unit="bytes")
    if folder is not None:
        outcome = outcome_of(run, workspace)
        status = status_of(outcome, folder)
        storage = Measure(value=_measure_folder(folder.path), unit="bytes")
        if outcome is None:
            events = iter_events(folder.events_path) if folder.events_path.exists() else ()
            projected = project(so_far, events, folder.read_plan().training.num_steps)
    price = price_storage(int(storage.value or 0), prices)
    return RunCosts(run, status, folder, spending, so_far, projected, storage, price, prices)


def _find_folder(run: Run, workspace: Workspace) -> RunFolder | None:
    with suppress(UnknownRef, RunDamaged):
        return workspace.find_run_folder(run.id)
    return None


def _measure_folder(path: Path) -> int:
    """Bytes of all files below `path`; one that vanishes meanwhile has none."""
    total = 0
    for file in path.rglob("*"):
        with suppress(OSError):
            total += file.stat().st_size if file.is_file() else 0
    return total


def _names_of(run: RunCosts, by: By) -> list[str | None]:
    if by == "project":
        return [run.account.project]
    return list(dict.fromkeys(run.account.tags)) or [None] if by == "tag" else [run.run.id]


def _group_by_user(costs: Sequence[RunCosts]) -> list[GroupCosts]:
    users: dict[str | None, list[Amounts]] = {}
    for run in costs:
        for who in dict.fromkeys(usage.who for usage in run.spending.usages):
            theirs = [usage for usage in run.spending.usages if usage.who == who]
            users.setdefault(who, []).append(sum_up(theirs, run.prices))
    return [
        GroupCosts("user", who, len(parts), add_amounts(parts), None)
        for who, parts in sorted(users.items(), key=lambda user: (user[0] is None, user[0] or ""))
    ]
