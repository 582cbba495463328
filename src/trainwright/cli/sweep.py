"""`trainwright sweep`: run, resume, confirm, list, show."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trainwright.cli.options import (
    AllowDrift,
    Json,
    Overrides,
    WorkspacePath,
    make_table_console,
    print_json,
    workspace_root,
)

if TYPE_CHECKING:
    from rich.console import Console

    from trainwright.core.records import Estimate
    from trainwright.sweep.ranking import Rank
    from trainwright.sweep.show import SweepView

SweepRef = Annotated[str, typer.Argument(help="A sweep's name, its id, or the beginning of it.", metavar="SWEEP")]
MAX_KEYS_SHOWN = 6

app = typer.Typer(no_args_is_help=True, add_completion=False)


def _limit(name: str, what: str) -> Any:
    return typer.Option(name, help=f"{what}, all runs of the sweep together; 0: no limit.", min=0, show_default=False)


@app.command("run")
def run_sweep(
    file: Annotated[Path, typer.Argument(help="The sweep file (YAML).", metavar="FILE", show_default=False)],
    overrides: Overrides = None,
    allow_drift: AllowDrift = None,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Try the values that a sweep file asks for, one run after the other, and rank what comes of it."""
    from trainwright.store.workspace import open_workspace
    from trainwright.sweep.folder import SweepFolder
    from trainwright.sweep.search import Hands, begin_sweep, carry_out
    from trainwright.sweep.show import require_a_place, view_sweep
    from trainwright.sweep.sweep_file import read_sweep_file
    from trainwright.watch.background import open_screen

    search = read_sweep_file(file, overrides or ())
    with open_workspace(workspace_root(workspace)) as opened:
        with open_screen() as progress:
            hands = Hands(opened, progress, (progress,), tuple(allow_drift or ()))
            sweep = begin_sweep(search, hands)
            SweepFolder(sweep.id, opened).write_limits(search.limits)
            carry_out(sweep, hands)
        view = view_sweep(sweep, opened)
    if not as_json:
        _print_view(view, as_json=False)
    require_a_place(view)
    if as_json:
        _print_view(view, as_json=True)


@app.command("resume")
def resume_sweep(
    sweep: SweepRef,
    money: Annotated[float | None, _limit("--money", "Money, in the price file's currency")] = None,
    hours: Annotated[float | None, _limit("--hours", "Hours that processes work")] = None,
    energy_kwh: Annotated[float | None, _limit("--energy-kwh", "Energy, in kWh")] = None,
    tokens: Annotated[int | None, _limit("--tokens", "Tokens that are learnt from")] = None,
    allow_drift: AllowDrift = None,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Go on with a sweep that was stopped, killed or out of budget: no run is done twice."""
    from trainwright.store.workspace import open_workspace
    from trainwright.sweep.folder import SweepFolder
    from trainwright.sweep.record import find_sweep
    from trainwright.sweep.search import Hands, carry_out
    from trainwright.sweep.show import require_a_place, view_sweep
    from trainwright.watch.background import open_screen

    given = {"money": money, "hours": hours, "energy_kwh": energy_kwh, "tokens": tokens}
    changes = {name: value or None for name, value in given.items() if value is not None}
    with open_workspace(workspace_root(workspace)) as opened:
        found = find_sweep(sweep, opened)
        if changes:
            folder = SweepFolder(found.id, opened)
            folder.write_limits(folder.read_limits().model_copy(update=changes))
        with open_screen() as progress:
            carry_out(found, Hands(opened, progress, (progress,), tuple(allow_drift or ())))
        view = view_sweep(found, opened)
    if not as_json:
        _print_view(view, as_json=False)
    require_a_place(view)
    if as_json:
        _print_view(view, as_json=True)


@app.command("confirm")
def confirm_trial(
    sweep: SweepRef,
    trial: Annotated[
        int | None, typer.Option("--trial", min=1, help="Its number; without one, the first.", show_default=False)
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=100, help="Fresh seeds to run it with.")] = 3,
    allow_drift: AllowDrift = None,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Run the best trial again with seeds that took no part in choosing it."""
    from trainwright.store.workspace import open_workspace
    from trainwright.sweep.record import find_sweep
    from trainwright.sweep.search import Hands, confirm
    from trainwright.sweep.show import require_a_place, view_sweep
    from trainwright.watch.background import open_screen

    with open_workspace(workspace_root(workspace)) as opened:
        found = find_sweep(sweep, opened)
        number = trial or require_a_place(view_sweep(found, opened)).number
        with open_screen() as progress:
            confirm(found, number, seeds, Hands(opened, progress, (progress,), tuple(allow_drift or ())))
        view = view_sweep(found, opened)
    _print_view(view, as_json=as_json)


@app.command("list")
def list_all(
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="Rows at most.")] = 20,
    after: Annotated[
        str | None, typer.Option("--after", help="Go on after this sweep's id (`next` of the page before).")
    ] = None,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """List sweeps, newest first."""
    from trainwright.store.workspace import open_workspace
    from trainwright.sweep.show import list_sweeps

    with open_workspace(workspace_root(workspace)) as opened:
        rows, following = list_sweeps(opened, limit, after)
    if as_json:
        print_json({"items": [row.as_document() for row in rows], "next": following})
        return
    if not rows:
        sys.stdout.write("No sweeps yet. `trainwright sweep run FILE` makes one.\n")
        return
    from rich.table import Table

    table = Table("sweep", "name", "status", "sampler", box=None)
    for heading in ("trials", "best"):
        table.add_column(heading, justify="right")
    for row in rows:
        best = "" if row.best is None or row.best.value is None else f"{row.best.value:.4f}"
        trials = f"{row.num_ended}/{row.sweep.num_trials}"
        table.add_row(row.sweep.id[:12], row.sweep.name, row.status, row.sweep.sampler, trials, best)
    make_table_console(110).print(table)


@app.command("show")
def show_sweep(
    sweep: SweepRef,
    plot: Annotated[bool, typer.Option("--plot", help="Draw the objective by trial, and the best so far.")] = False,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Show the trials in their order with intervals, how much each key matters, and what may be concluded."""
    from trainwright.store.workspace import open_workspace
    from trainwright.sweep.record import find_sweep
    from trainwright.sweep.show import view_sweep

    with open_workspace(workspace_root(workspace)) as opened:
        view = view_sweep(find_sweep(sweep, opened), opened)
    _print_view(view, as_json=as_json, plot=plot)


# ── as text ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def _print_view(view: "SweepView", *, as_json: bool, plot: bool = False) -> None:
    from trainwright.sweep.show import chart_progress

    if as_json:
        print_json(view.as_document() | ({"curves": [chart_progress(view).as_document()]} if plot else {}))
        return
    console = make_table_console(120)
    row = view.row
    console.print(
        f"[bold]{view.sweep.name}[/bold]: sweep {view.sweep.id[:12]}, {row.status}, "
        f"{row.num_ended} of {view.sweep.num_trials} trials by {view.sweep.sampler}"
    )
    if view.ranks:
        console.print(_render_ranks(view))
    if plot and row.count("completed"):
        from trainwright.watch.views import draw_chart

        console.print(draw_chart(chart_progress(view), console))
    _print_importance(view, console)
    for one in view.confirmations:
        failed = f", {one.num_failed} failed" if one.num_failed else ""
        console.print(
            f"trial {one.number} with {one.figure.n} fresh seeds: {_format(one.figure)}; "
            f"chosen by {one.chosen_by:.4f}{failed}"
        )
    for standing in row.standings:
        spent = standing.spent.why_not if standing.spent.value is None else f"{standing.spent.value:,.4g}"
        console.print(f"{standing.budget.what.replace('_', ' ')}: {spent} of {standing.budget.limit:,.4g}")
    for note in view.notes:
        console.print(f"• {note}", soft_wrap=False, markup=False)


def _render_ranks(view: "SweepView") -> Any:
    """The trials in their order; of many keys, the first ones."""
    from rich.table import Table

    keys = [one.key for one in view.sweep.space][:MAX_KEYS_SHOWN]
    table = Table(box=None)
    table.add_column("", justify="right")
    table.add_column("trial", justify="right")
    for key in keys:
        table.add_column(key.rpartition(".")[2].replace("_", " "), justify="right")
    for heading in (view.sweep.objective.metric.replace("_", " "), "behind the first", "p", "run"):
        table.add_column(heading)
    for rank in view.ranks:
        state = view.find_state(rank.number)
        shown = _format(rank.figure) if rank.figure is not None else state.status
        values = [_shorten(state.values[key]) for key in keys]
        table.add_row(
            "" if rank.place is None else str(rank.place),
            str(rank.number),
            *values,
            shown,
            _describe_difference(rank, state.error),
            "" if rank.p_adjusted is None else f"{rank.p_adjusted:.2g}",
            view.run_ids.get((rank.number, 0), "")[:12],
        )
    return table


def _describe_difference(rank: "Rank", error: str | None) -> str:
    from rich.markup import escape

    if rank.place is None:
        return escape(error or "")
    if rank.difference is None:
        return ""
    if rank.difference.low is None:
        return f"{rank.difference.value:+.4f}"
    return f"{rank.difference.value:+.4f} ({rank.difference.low:+.4f} to {rank.difference.high:+.4f})"


def _print_importance(view: "SweepView", console: "Console") -> None:
    importance = view.importance
    if importance.why_not:
        console.print(f"importance: not measured: {importance.why_not}", markup=False)
        return
    from rich.table import Table

    table = Table("key", "importance", "95 % interval", "p", box=None, title=importance.method, title_justify="left")
    for one in importance.keys:
        interval = f"{one.share.low:.0%} to {one.share.high:.0%}"
        table.add_row(one.key, f"{one.share.value:.0%}", interval, f"{one.p_value:.2g}")
    console.print(table)


def _format(estimate: "Estimate") -> str:
    if estimate.value is None:
        return f"not measured: {estimate.why_not}"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.4f}"
    return f"{estimate.value:.4f} ({estimate.low:.4f} to {estimate.high:.4f})"


def _shorten(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
