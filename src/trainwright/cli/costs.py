"""`trainwright costs`: what runs cost so far, and will have cost."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from trainwright.cli.options import Json, WorkspacePath, make_table_console, print_json, workspace_root

if TYPE_CHECKING:
    from trainwright.core.records import Measure
    from trainwright.watch.cost import Amounts

app = typer.Typer(add_completion=False)


@app.command()
def costs(
    run: Annotated[str | None, typer.Argument(help="A run's id or ref; without one, all runs.")] = None,
    by: Annotated[
        Literal["run", "project", "user", "tag"], typer.Option("--by", help="Sum up by run, project, user or tag.")
    ] = "run",
    prices: Annotated[
        Path | None, typer.Option("--prices", help="A price file, instead of the runs' own.", show_default=False)
    ] = None,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Show what runs used and what that costs, so far and projected."""
    from trainwright.pipeline.costs import group_costs, list_costs, read_costs
    from trainwright.store.workspace import open_workspace

    with open_workspace(workspace_root(workspace)) as opened:
        found = list_costs(opened, prices) if run is None else [read_costs(run, opened, prices)]
    groups = group_costs(found, by)
    if as_json:
        print_json({"by": by, "items": [row.as_document() for row in (found if by == "run" else groups)]})
        return
    if not found:
        sys.stdout.write("No runs yet. `trainwright run` makes one.\n")
        return
    from rich.table import Table

    table = Table(box=None)
    for heading, justify in (
        (by, "left"),
        ("hours", "right"),
        ("CPU hours", "right"),
        ("GPU hours", "right"),
        ("energy", "right"),
        ("tokens", "right"),
        ("cost", "right"),
        ("projected", "right"),
    ):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    if by == "run":
        for one in found:
            table.add_row(f"{one.run.id[:12]} {one.run.name}", *_cells(one.so_far), _show(one.projected.money))
    else:
        for group in groups:
            projected = "" if group.projected is None else _show(group.projected.money)
            table.add_row(group.name or "(none)", *_cells(group.so_far), projected)
    make_table_console(120).print(table)
    for why in sorted({why for row in groups for why in _reasons(row.so_far)}):
        sys.stdout.write(f"{why}\n")


def _cells(amounts: "Amounts") -> list[str]:
    shown = (amounts.wall_hours, amounts.cpu_hours, amounts.gpu_hours, amounts.energy, amounts.tokens, amounts.money)
    return [_show(measure) for measure in shown]


def _show(measure: "Measure") -> str:
    """A figure with its unit; what there is none of says so in words, and its reason stands below the table."""
    if measure.value is None:
        return measure.why_not.partition(":")[0]
    if measure.unit == "hours":
        return f"{measure.value:.4f}"
    return f"{measure.value:,.0f}" if measure.unit == "tokens" else f"{measure.value:,.4f} {measure.unit}"


def _reasons(amounts: "Amounts") -> list[str]:
    return [measure.why_not for measure in (amounts.cpu_hours, amounts.energy, amounts.money) if measure.why_not]
