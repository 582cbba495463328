"""`trainwright runs list` and `trainwright runs show`."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from trainwright.cli.options import Json, WorkspacePath, make_table_console, print_json, workspace_root

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
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Show one run: how it stands, its metrics, its plan, its checkpoints."""
    from trainwright.pipeline.inspect import describe_run
    from trainwright.store.workspace import open_workspace

    document = describe_run(run, open_workspace(workspace_root(workspace)))
    if as_json:
        print_json(document)
        return
    sys.stdout.write(_render(document))


@app.command("track")
def track_run(
    run: RunRef,
    tracker: Annotated[
        Literal["tensorboard", "wandb", "mlflow"], typer.Option("--tracker", help="Which one: tensorboard, wandb, mlflow.")
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
