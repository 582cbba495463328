"""Pages of costs: budgets and how much of each is spent; what runs used and cost, one by one, summed up, or one alone."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Query, Request, Response
from starlette.datastructures import URL

from trainwright.core.records import Measure, Run
from trainwright.pipeline.accounts import PRICES_FILE, find_prices
from trainwright.pipeline.costs import (
    GroupCosts,
    RunCosts,
    group_costs,
    list_costs,
    list_standings,
    page_costs,
    read_costs,
)
from trainwright.serve.context import Opened
from trainwright.serve.pages import build_router, render_page
from trainwright.store.workspace import Workspace
from trainwright.watch.budgets import BANDS, Standing, list_budgets, measure_standing
from trainwright.watch.cost import Amounts
from trainwright.watch.report import render_measure, render_number

PAGE_SIZE = 50
WAYS = ("run", "project", "user", "tag")
AMOUNTS = (
    ("wall_hours", "hours"),
    ("cpu_hours", "CPU hours"),
    ("gpu_hours", "GPU hours"),
    ("energy", "energy"),
    ("tokens", "tokens"),
    ("money", "cost so far"),
)
"""The amounts of a row, and what their columns are called."""

router = build_router()


@dataclass(frozen=True)
class Cell:
    """A figure in a table; where there is none, which of the page's `Reasons` says why."""

    text: str
    reason: int | None = None


class Reasons:
    """Why figures are missing: each said once below the table, by its number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def tell(self, measure: Measure) -> Cell:
        """The measure as a cell."""
        if measure.value is None:
            number = self._numbers.setdefault(measure.why_not, len(self._numbers) + 1)
            return Cell(measure.why_not.partition(":")[0], number)
        return Cell(_render(measure))

    def list(self) -> list[tuple[int, str]]:
        """(number, why)"""
        return [(number, why) for why, number in self._numbers.items()]


@router.get("/costs")
def show_costs(
    request: Request,
    workspace: Opened,
    by: Annotated[Literal["run", "project", "user", "tag"], Query()] = "run",
    after: str | None = None,
) -> Response:
    """Budgets, and costs by run, project, user or tag."""
    reasons = Reasons()
    rows, older = [], None
    if by == "run":
        found, following = page_costs(workspace, PAGE_SIZE, after)
        rows = [_describe_run(one, reasons) for one in found]
        older = URL("/costs").include_query_params(after=following) if following else None
    else:
        rows = [_describe_group(one, reasons) for one in group_costs(list_costs(workspace), by)]
    values = {
        "rows": rows,
        "older": older,
        "reasons": reasons.list(),
        "by": by,
        "ways": WAYS,
        "amounts": AMOUNTS,
        "budgets": [_describe_standing(target, one, workspace) for target, one in list_standings(workspace)],
        "bands": BANDS,
        "prices": find_prices(None, workspace),
        "prices_file": PRICES_FILE,
        "is_first": after is None,
    }
    return render_page(request, "costs.html.j2", values, title="Costs")


@router.get("/costs/{ref}")
def show_run_costs(request: Request, workspace: Opened, ref: str) -> Response:
    """One run: each amount so far and projected, its budgets, and every process that worked on it."""
    costs = read_costs(ref, workspace)
    budgets = list_budgets(costs.account.limits, "run")
    values = {
        "costs": costs,
        "amounts": list(_compare_amounts(costs)),
        "budgets": [
            _describe_standing(costs.run.id, measure_standing(one, costs.so_far), workspace) for one in budgets
        ],
        "bands": BANDS,
        "usages": costs.spending.usages,
        "is_over": costs.status in ("completed", "failed", "deleted"),
    }
    return render_page(request, "run_costs.html.j2", values, title=f"Costs of {costs.run.name}")


# ── rows ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _describe_run(costs: RunCosts, reasons: Reasons) -> dict[str, Any]:
    about = [costs.account.project or "", ", ".join(costs.account.tags), ", ".join(costs.users)]
    return {
        "name": costs.run.name,
        "address": f"/costs/{costs.run.id}",
        "status": costs.status,
        "about": " · ".join(one for one in about if one),
        "cells": _list_cells(costs.so_far, reasons),
        "projected": reasons.tell(costs.projected.money),
        "is_live": costs.status == "running",
    }


def _describe_group(group: GroupCosts, reasons: Reasons) -> dict[str, Any]:
    return {
        "name": group.name if group.name is not None else _name_nobody(group),
        "address": None,
        "is_nameless": group.name is None,
        "num_runs": group.num_runs,
        "cells": _list_cells(group.so_far, reasons),
        "projected": None if group.projected is None else reasons.tell(group.projected.money),
    }


def _name_nobody(group: GroupCosts) -> str:
    return "user not known" if group.by == "user" else f"without a {group.by}"


def _list_cells(amounts: Amounts, reasons: Reasons) -> list[Cell]:
    return [reasons.tell(getattr(amounts, name)) for name, _ in AMOUNTS]


def _compare_amounts(costs: RunCosts) -> Iterable[tuple[str, str, str]]:
    """(what, so far, projected) of every amount, and of storage, which is not projected."""
    names = (*AMOUNTS[:3], ("peak_memory", "peak memory"), *AMOUNTS[3:5], ("money", "money"))
    for name, title in names:
        so_far, projected = getattr(costs.so_far, name), getattr(costs.projected, name)
        yield title, _say(so_far), _say(projected)
    yield "storage", f"{_say(costs.storage)}; {_say(costs.storage_price)}", "–"


def _describe_standing(target: str, standing: Standing, workspace: Workspace) -> dict[str, Any]:
    """A budget as its bar: how much is spent, and which mark was passed."""
    budget = standing.budget
    is_run = budget.of == "run"
    run = workspace.ledger.get(target) if is_run else None
    return {
        "target": run.name if isinstance(run, Run) else target,
        "address": f"/costs/{target}" if is_run else None,
        "of": "run" if is_run else "project",
        "what": budget.what.replace("_kwh", "").replace("_", " "),
        "limit": _render(Measure(value=budget.limit, unit=standing.spent.unit)),
        "spent": _render(standing.spent) if standing.spent.value is not None else None,
        "why_not": standing.spent.why_not,
        "share": standing.share,
        "width": None if standing.share is None else round(min(1.0, standing.share) * 100, 1),
        "band": round(standing.band * 100),
    }


def _say(measure: Measure) -> str:
    """A figure with its unit, or why there is none."""
    return measure.why_not if measure.value is None else _render(measure)


def _render(measure: Measure) -> str:
    if measure.unit == "hours":
        return f"{measure.value:,.3g} h"
    if measure.unit == "tokens":
        return render_number(round(measure.value or 0))
    return render_measure(measure)
