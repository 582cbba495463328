"""A run while it spends: its meter, and the guard that says what was passed and stops it where nothing is left.

What is said about budgets goes into attempts.jsonl, not among the run's events: it depends on the clock, and the events of a
run that was stopped and went on equal those of one that was not.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from trainwright.core.errors import BudgetReached, InvalidValue, RunDamaged, UnknownRef
from trainwright.core.records import Run
from trainwright.pipeline.accounts import (
    Account,
    Spending,
    find_prices,
    iter_run_ids,
    locate_usage,
    read_account,
    read_project_limits,
    read_spending,
)
from trainwright.pipeline.journal import Journal
from trainwright.store.run_folder import RunFolder
from trainwright.store.workspace import Workspace
from trainwright.watch.budgets import Budget, Standing, list_budgets, measure_standing
from trainwright.watch.cost import Amounts, Prices, add_amounts, sum_up
from trainwright.watch.energy import EnergyCounter
from trainwright.watch.usage import HEARTBEAT_S, Meter, Usage, begin_usage, is_processor, read_now, read_user


class Guard:
    """Asked after every step whether the run may go on. Without a budget it answers at once.

    `find_budgets` says which there are; it is asked again at every heartbeat, so that a limit can be changed meanwhile.
    """

    def __init__(
        self,
        folder: RunFolder,
        find_budgets: Callable[[], Sequence[Budget]],
        measure: Callable[[Budget], Standing],
        announce: Callable[[str], None],
    ) -> None:
        self._folder, self._find_budgets, self._measure, self._announce = folder, find_budgets, measure, announce
        self._budgets, self._found_at = find_budgets(), time.monotonic()
        self._told: dict[Budget, float] = _read_told(folder) if self._budgets else {}
        self.reached: Standing | None = None

    def is_spent(self) -> bool:
        """Whether a budget is used up; what was passed on the way there is said once. Raises DiskFull, NotWritable."""
        if time.monotonic() - self._found_at >= HEARTBEAT_S:
            self._budgets, self._found_at = self._find_budgets(), time.monotonic()
        for budget in self._budgets:
            standing = self._measure(budget)
            if standing.band > self._told.get(budget, 0.0):
                self._told[budget] = standing.band
                self._tell(standing)
            if standing.is_reached:
                self.reached = standing
        return self.reached is not None

    def require_kept(self) -> None:
        """Raises InvalidValue for a limit that cannot be held against anything, BudgetReached where one is used up."""
        for budget in self._budgets:
            standing = self._measure(budget)
            if standing.spent.value is None:
                raise InvalidValue(
                    f"The limit on {budget.what} of the {budget.of} cannot be kept.",
                    why=f"What is spent of it is not known: {standing.spent.why_not}.",
                    next_step="Take the limit away, or provide what is missing (a price file for money).",
                )
        if self.is_spent():
            raise self.complaint("Nothing was trained", "")

    def complaint(self, what: str, run_id: str) -> BudgetReached:
        """The error that a run stops with; `what` is what became of it."""
        standing = self.reached
        assert standing is not None
        run_id = run_id or self._folder.path.name.rpartition("-")[2]
        target = run_id if standing.budget.of == "run" else f"--{standing.budget.of}"
        option = standing.budget.what.replace("_", "-")
        return BudgetReached(
            f"{what}: the budget of the {standing.budget.of} is reached ({_describe(standing)}).",
            why="A limit on what may be spent was set.",
            next_step=f"Raise it, and go on: trainwright budgets set {target} --{option} N; trainwright resume {run_id}",
        )

    def _tell(self, standing: Standing) -> None:
        budget = standing.budget
        self._folder.append_attempt(
            {
                "at": read_now(),
                "budget": budget.what,
                "of": budget.of,
                "limit": budget.limit,
                "spent": standing.spent.value,
                "unit": standing.spent.unit,
                "band": standing.band,
                "stops": standing.is_reached,
            }
        )
        self._announce(f"{standing.band:.0%} of the {budget.of}'s budget is spent ({_describe(standing)})")


@contextmanager
def keep_account(
    folder: RunFolder, run: Run, device: str, workspace: Workspace, journal: Journal
) -> Iterator[tuple[Meter, Guard]]:
    """Measure what this process uses for the run, on the `device` of its plan, while the block lasts.

    Raises InvalidValue for a limit that cannot be kept, BudgetReached where nothing is left to spend.
    """
    account = read_account(run.id, workspace)
    before = read_spending(run.id, folder, workspace)
    gpu = None if is_processor(device) else folder.read_environment()["gpu"]["name"]
    energy = EnergyCounter(has_gpu=not is_processor(device))
    with Meter(locate_usage(run.id, workspace), begin_usage(read_user(), device, gpu), energy) as meter:
        prices = account.prices or find_prices(None, workspace)
        others = _Others(run.id, account, workspace)

        def find_budgets() -> list[Budget]:
            budgets = list_budgets(read_account(run.id, workspace).limits, "run")
            if account.project is not None:
                budgets += list_budgets(read_project_limits(account.project, workspace), f"project {account.project}")
            return budgets

        def measure(budget: Budget) -> Standing:
            own = _sum_with(before, meter.read(), prices)
            return measure_standing(budget, own if budget.of == "run" else add_amounts([own, *others.read()]))

        guard = Guard(folder, find_budgets, measure, journal.screen.announce)
        guard.require_kept()
        yield meter, guard


def was_stopped_by_budget(folder: RunFolder) -> bool:
    """Whether the last thing that happened to a run's processes is that a budget stopped one."""
    lines = [line for line in folder.read_attempts() if "from_step" in line or line.get("stops")]
    return bool(lines) and "budget" in lines[-1]


class _Others:
    """What the other runs of a run's project have spent, looked up anew at every heartbeat."""

    def __init__(self, run_id: str, account: Account, workspace: Workspace) -> None:
        self._run_id, self._project, self._workspace = run_id, account.project, workspace
        self._read_at = -HEARTBEAT_S
        self._amounts: list[Amounts] = []

    def read(self) -> list[Amounts]:
        if time.monotonic() - self._read_at >= HEARTBEAT_S:
            spendings = list_project_spendings(self._project, self._workspace)
            prices = find_prices(None, self._workspace)
            self._amounts = [spending.sum_up(prices) for spending in spendings if spending.run_id != self._run_id]
            self._read_at = time.monotonic()
        return self._amounts


def list_project_spendings(name: str | None, workspace: Workspace) -> list[Spending]:
    """What each run of a project has spent, those whose folder is gone included. Raises RunDamaged."""
    spendings = []
    for run_id in iter_run_ids(workspace):
        if read_account(run_id, workspace).project == name:
            folder = None
            with suppress(UnknownRef, RunDamaged):  # without its folder there is what its meters wrote
                folder = workspace.find_run_folder(run_id)
            spendings.append(read_spending(run_id, folder, workspace))
    return spendings


def _sum_with(before: Spending, now: Usage, prices: Prices | None) -> Amounts:
    return sum_up([*before.usages, now], prices)


def _read_told(folder: RunFolder) -> dict[Budget, float]:
    """What was said before. A limit that was raised since is another one."""
    told: dict[Budget, float] = {}
    for line in folder.read_attempts():
        if "budget" in line:
            budget = Budget(line["of"], line["budget"], line["limit"])
            told[budget] = max(line["band"], told.get(budget, 0.0))
    return told


def _describe(standing: Standing) -> str:
    budget = standing.budget
    unit = standing.spent.unit or budget.what
    return f"{standing.spent.value:,.4g} of {budget.limit:,.4g} {unit}"
