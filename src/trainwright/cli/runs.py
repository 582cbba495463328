"""`trainwright runs`: list, show, watch, compare, track, seeds."""

import contextlib
import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from trainwright.cli.options import Json, WorkspacePath, make_table_console, print_json, require_suffix, workspace_root

RunRef = Annotated[
    str, typer.Argument(help="A run's id, or the beginning of it, or a ref such as stories@latest.", metavar="RUN")
]

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.command("list")
def list_runs(
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="Rows at most.")] = 20,
    after: Annotated[
        str | None, typer.Option("--after", help="Go on after this run's id (`next` of the page before).")
    ] = None,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """List runs, newest first."""
    from trainwright.pipeline.inspect import list_states
    from trainwright.store.workspace import open_workspace

    states, following = list_states(open_workspace(workspace_root(workspace)), limit, after)
    if as_json:
        print_json({"items": [state.as_document() for state in states], "next": following})
        return
    from rich.table import Table

    if not states:
        sys.stdout.write("No runs yet. `trainwright run` makes one.\n")
        return
    table = Table(box=None)
    for heading, justify in (
        ("run", "left"),
        ("name", "left"),
        ("status", "left"),
        ("step", "right"),
        ("bits/byte", "right"),
        ("started", "left"),
    ):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for state in states:
        bits = "" if state.bits_per_byte is None else f"{state.bits_per_byte:.3f}"
        table.add_row(
            state.run.id[:12],
            state.run.name,
            state.status,
            f"{state.step:,}/{state.num_steps:,}",
            bits,
            state.run.started_at[:19],
        )
    make_table_console(120).print(table)


@app.command("show")
def show_run(
    run: RunRef,
    plot: Annotated[bool, typer.Option("--plot", help="Draw its curves.")] = False,
    layers: Annotated[
        bool, typer.Option("--layers", help="Gradient norms, update ratios and histograms by layer.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", help="Draw its curves into this .png file.", show_default=False)
    ] = None,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Show one run: how it stands, its metrics, its plan, its checkpoints; or its curves, or its layers."""
    from trainwright.pipeline.inspect import describe_run, read_events
    from trainwright.store.workspace import open_workspace
    from trainwright.watch.events import encode_nonfinite

    opened = open_workspace(workspace_root(workspace))
    require_suffix(output, ".png")
    events = read_events(run, opened) if plot or layers or output is not None else []
    if output is not None:
        from trainwright.watch.overlays import write_curves_png

        write_curves_png(output, events)
    if as_json:
        views = _describe_views(events, plot=plot, layers=layers)
        print_json(describe_run(run, opened) | encode_nonfinite(views))
    elif plot or layers:
        _print_views(events, plot=plot, layers=layers)
    elif output is None:
        sys.stdout.write(_render(describe_run(run, opened)))
    if output is not None and not as_json:
        sys.stdout.write(f"{output}\n")


def _describe_views(events: list[dict[str, Any]], *, plot: bool, layers: bool) -> dict[str, Any]:
    from trainwright.watch.curves import build_charts, describe_layers

    document: dict[str, Any] = {"curves": [chart.as_document() for chart in build_charts(events)]} if plot else {}
    return document | ({"layers": describe_layers(events)} if layers else {})


def _print_views(events: list[dict[str, Any]], *, plot: bool, layers: bool) -> None:
    from trainwright.watch.views import render_charts, render_layers

    console = make_table_console(100)
    if plot:
        console.print(render_charts(events, console))
    if layers:
        console.print(render_layers(events, console))


@app.command("watch")
def watch_run(run: RunRef, workspace: WorkspacePath = None, as_json: Json = False) -> None:
    """Watch a run until it ends, from any terminal. Ctrl-C ends the watching alone."""
    from trainwright.pipeline.inspect import find_run, follow, read_state
    from trainwright.store.workspace import open_workspace
    from trainwright.watch.events import encode_nonfinite
    from trainwright.watch.live import LineViewer, LiveViewer, Viewer
    from trainwright.watch.progress import make_console

    opened = open_workspace(workspace_root(workspace))
    found = find_run(run, opened)
    # Standard output is for the one document, where that is asked for.
    console = make_console() if as_json else make_table_console(100)
    with contextlib.ExitStack() as stack:
        viewer: Viewer = LineViewer(console)
        if console.is_interactive:
            viewer = stack.enter_context(LiveViewer(console, f"{found.name}: run {found.id[:12]}"))
        with contextlib.suppress(KeyboardInterrupt):
            follow(found, viewer, opened)
    state = read_state(found, opened)
    if as_json:
        print_json(encode_nonfinite(state.as_document() | viewer.so_far.as_document()))
        return
    going_on = " and goes on" if state.status == "running" else ""
    sys.stdout.write(
        f"run {found.id[:12]} is {state.status}{going_on}, at step {state.step:,} of {state.num_steps:,}\n"
    )


@app.command("compare")
def compare(
    runs: Annotated[list[str], typer.Argument(help="Two runs or more, as ids or refs.", metavar="RUN RUN…")],
    output: Annotated[
        Path | None, typer.Option("--output", help="Write a .html page or a .png picture.", show_default=False)
    ] = None,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Lay runs over each other: curves, final metrics, and what was set differently."""
    from trainwright.pipeline.compare_runs import compare_runs
    from trainwright.store.workspace import open_workspace
    from trainwright.watch.comparison import render_comparison, write_comparison
    from trainwright.watch.events import encode_nonfinite

    require_suffix(output, ".html", ".png")
    comparison = compare_runs(runs, open_workspace(workspace_root(workspace)))
    if output is not None:
        write_comparison(output, comparison)
    if as_json:
        print_json(encode_nonfinite(comparison.as_document()))
        return
    console = make_table_console(120)
    console.print(render_comparison(comparison, console))
    if output is not None:
        sys.stdout.write(f"{output}\n")


@app.command("track")
def track_run(
    run: RunRef,
    tracker: Annotated[
        Literal["tensorboard", "wandb", "mlflow"],
        typer.Option("--tracker", help="Which one: tensorboard, wandb, mlflow."),
    ],
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Where TensorBoard and W&B write.", show_default=False)
    ] = None,
    project: Annotated[
        str | None, typer.Option("--project", help="Project (W&B) or experiment (MLflow).", show_default=False)
    ] = None,
    uri: Annotated[str | None, typer.Option("--uri", help="The server's address.", show_default=False)] = None,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Bring a tracker up to date with a run; what it has already is not written again."""
    from trainwright.pipeline.track import track
    from trainwright.store.workspace import open_workspace

    given = {"folder": None if folder is None else str(folder), "project": project, "uri": uri}
    changes = {key: value for key, value in given.items() if value is not None}
    assignment, state = track(run, tracker, changes, open_workspace(workspace_root(workspace)))
    if as_json:
        print_json(
            {
                "run_dir": assignment.run_dir,
                "tracker": tracker,
                "num_events": state.num_events,
                "step": state.step,
                "where": state.where,
            }
        )
        return
    sys.stdout.write(f"{tracker} has all {state.num_events:,} events: {state.where}\n")


def _render(document: dict[str, Any]) -> str:
    """The document as indented text; the long parts are named by where they are."""
    import yaml

    shown = {key: value for key, value in document.items() if key not in ("environment", "phases", "checks")}
    return str(yaml.safe_dump(json.loads(json.dumps(shown)), sort_keys=False, allow_unicode=True))


@app.command("seeds")
def show_seeds(run: RunRef, workspace: WorkspacePath = None, as_json: Json = False) -> None:
    """Show how far the runs of one plan with other seeds lie apart."""
    from trainwright.pipeline.seed_spread import measure_seeds
    from trainwright.store.workspace import open_workspace

    with open_workspace(workspace_root(workspace)) as opened:
        found = measure_seeds(run, opened)
    if as_json:
        print_json(found.as_document())
        return
    from rich.table import Table

    seeds = ", ".join(str(seed) for seed in found.seeds.values())
    table = Table("figure", "runs", "mean", "deviation", "range", title=f"seeds {seeds}", title_justify="left")
    for name, spread in found.figures.items():
        deviation = "one run has none" if spread.deviation is None else f"{spread.deviation:.4g}"
        range_ = f"{spread.lowest:.4g} to {spread.highest:.4g}"
        table.add_row(name.replace("_", " "), str(spread.num_runs), f"{spread.mean:.4g}", deviation, range_)
    make_table_console(110).print(table)
