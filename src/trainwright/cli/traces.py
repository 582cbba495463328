"""`trainwright traces import`, `list`, `show`, `search` and `stats`."""

import json
import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from trainwright.cli.options import Json, WorkspacePath, make_table_console, print_json, workspace_root

if TYPE_CHECKING:
    from trainwright.pipeline.traces import BadRecord
    from trainwright.store.traces import StoredTrace

app = typer.Typer(no_args_is_help=True, add_completion=False)

Limit = Annotated[int, typer.Option("--limit", min=1, max=1000, help="Rows at most.")]
After = Annotated[str | None, typer.Option("--after", help="Go on after this trace's id (`next` of the page before).")]


@app.command("import")
def import_files(
    files: Annotated[list[str], typer.Argument(help="JSONL, JSON or Parquet, also .gz or .zst; - is standard input.")],
    adapter: Annotated[
        str | None,
        typer.Option(
            "--adapter",
            help="trace, messages, openai, alpaca, sharegpt or gsm8k. Default: found by each file's first record.",
            show_default=False,
        ),
    ] = None,
    on_error: Annotated[
        Literal["stop", "skip"],
        typer.Option("--on-error", help="A bad record: import nothing at all, or the others."),
    ] = "stop",
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Import traces and conversations: all or nothing, each once, however often it comes."""
    from trainwright.pipeline.traces import import_traces
    from trainwright.store.workspace import open_workspace
    from trainwright.watch.background import open_screen

    with open_workspace(workspace_root(workspace)) as opened, open_screen() as screen:

        def report(bad: "BadRecord") -> None:
            screen.announce(str(bad))

        result = import_traces(
            files,
            opened.traces,
            adapter=adapter,
            on_error=on_error,
            on_progress=screen.show_progress,
            on_bad=report,
        )
    if as_json:
        print_json(result.as_document())
        return
    states = result.states
    sys.stdout.write(
        f"{states['new']:,} imported, {states['known']:,} were here already, "
        f"{states['repeated']:,} repeated within the import, {result.num_bad:,} bad\n"
    )


@app.command("list")
def list_rows(limit: Limit = 20, after: After = None, workspace: WorkspacePath = None, as_json: Json = False) -> None:
    """List traces, the last imported first."""
    from trainwright.pipeline.traces import list_traces
    from trainwright.store.workspace import open_workspace

    with open_workspace(workspace_root(workspace)) as opened:
        found, following = list_traces(opened.traces, limit, after)
    _print_rows(
        found, following, as_json=as_json, nothing="No traces yet. `trainwright traces import FILE` takes some in.\n"
    )


@app.command()
def search(
    words: Annotated[str, typer.Argument(help="Words, all of which must occur, whole, in either case.")],
    limit: Limit = 20,
    after: After = None,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Find traces by the words of their prompt, steps, answer or messages."""
    from trainwright.pipeline.traces import list_traces
    from trainwright.store.workspace import open_workspace

    with open_workspace(workspace_root(workspace)) as opened:
        found, following = list_traces(opened.traces, limit, after, words)
    _print_rows(found, following, as_json=as_json, nothing="No trace has all of these words.\n")


@app.command()
def show(
    trace: Annotated[str, typer.Argument(help="A trace's id, or the beginning of it.")],
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Show one trace."""
    from trainwright.pipeline.traces import show_trace
    from trainwright.store.workspace import open_workspace

    with open_workspace(workspace_root(workspace)) as opened:
        document = show_trace(opened.traces, trace)
    if as_json:
        print_json(document)
        return
    import yaml

    sys.stdout.write(str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True)))


@app.command()
def stats(workspace: WorkspacePath = None, as_json: Json = False) -> None:
    """Count what there is: kinds, steps, characters, step types, meta."""
    from trainwright.pipeline.traces import measure_traces
    from trainwright.store.workspace import open_workspace

    with open_workspace(workspace_root(workspace)) as opened:
        document = measure_traces(opened.traces)
    if as_json:
        print_json(document)
        return
    import yaml

    sys.stdout.write(str(yaml.safe_dump(json.loads(json.dumps(document)), sort_keys=False, allow_unicode=True)))


def _print_rows(found: "list[StoredTrace]", following: str | None, *, as_json: bool, nothing: str) -> None:
    from trainwright.pipeline.traces import describe_stored

    rows = [describe_stored(stored) for stored in found]
    if as_json:
        print_json({"items": rows, "next": following})
        return
    from rich.markup import escape
    from rich.table import Table

    if not rows:
        sys.stdout.write(nothing)
        return
    table = Table(box=None)
    for heading in ("trace", "begins", "steps", "characters", "imported"):
        table.add_column(heading, no_wrap=heading != "begins")
    for row in rows:
        steps = row["num_steps"] if row["num_steps"] is not None else f"{row['num_messages']} messages"
        table.add_row(
            row["id"][:12], escape(row["begins"]), str(steps), f"{row['num_characters']:,}", row["added_at"][:19]
        )
    make_table_console(120).print(table)
    if following:
        sys.stdout.write(f"more: --after {following[:12]}\n")
