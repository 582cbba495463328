"""`trainwright budgets`: list, set."""

import sys
from typing import Annotated, Any

import typer

from trainwright.cli.options import Json, WorkspacePath, make_table_console, print_json, workspace_root

app = typer.Typer(no_args_is_help=True, add_completion=False)


def _limit(name: str, what: str) -> Any:
    return typer.Option(name, help=f"{what}; 0 takes the limit away.", min=0, show_default=False)


@app.command("list")
def list_budgets(workspace: WorkspacePath = None, as_json: Json = False) -> None:
    """List the budgets of projects and runs, and what is spent of each."""
    from trainwright.pipeline.costs import list_standings
    from trainwright.store.workspace import open_workspace

    with open_workspace(workspace_root(workspace)) as opened:
        standings = list_standings(opened)
    if as_json:
        print_json({"items": [{"target": target, **standing.as_document()} for target, standing in standings]})
        return
    if not standings:
        sys.stdout.write("There is no budget. `trainwright budgets set` sets one.\n")
        return
    from rich.table import Table

    table = Table("of", "what", "spent", "limit", "share", box=None)
    for target, standing in standings:
        budget, share = standing.budget, standing.share
        spent = standing.spent.why_not if standing.spent.value is None else f"{standing.spent.value:,.4g}"
        of = f"run {target[:12]}" if budget.of == "run" else budget.of
        table.add_row(of, budget.what, spent, f"{budget.limit:,.4g}", "" if share is None else f"{share:.0%}")
    make_table_console(110).print(table)


@app.command("set")
def set_budget(
    run: Annotated[str | None, typer.Argument(help="A run's id or ref.", show_default=False)] = None,
    project: Annotated[
        str | None, typer.Option("--project", help="A project: all its runs together.", show_default=False)
    ] = None,
    money: Annotated[float | None, _limit("--money", "Money, in the price file's currency")] = None,
    hours: Annotated[float | None, _limit("--hours", "Hours that processes work")] = None,
    energy_kwh: Annotated[float | None, _limit("--energy-kwh", "Energy, in kWh")] = None,
    tokens: Annotated[int | None, _limit("--tokens", "Tokens that are learnt from")] = None,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Set, raise or take away what a run, or a project, may spend. A run that works takes it over within seconds."""
    from trainwright.pipeline.costs import set_limits
    from trainwright.store.workspace import open_workspace

    given = {"money": money, "hours": hours, "energy_kwh": energy_kwh, "tokens": tokens}
    changes = {name: value or None for name, value in given.items() if value is not None}
    with open_workspace(workspace_root(workspace)) as opened:
        limits = set_limits(run, project, changes, opened)
    if as_json:
        print_json({"run": run, "project": project, "limits": limits.model_dump()})
        return
    shown = ", ".join(f"{name} {value:,.4g}" for name, value in limits.model_dump().items() if value is not None)
    sys.stdout.write(f"{run or f'project {project}'}: {shown or 'no limits'}\n")
