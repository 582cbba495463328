"""`trainwright lineage`: what a record came from, and what came of it."""

import sys
from typing import Annotated

import typer

from trainwright.cli.options import Json, WorkspacePath, print_json, workspace_root

app = typer.Typer(add_completion=False)


@app.command()
def lineage(
    ref: Annotated[
        str, typer.Argument(help="Any record: an id, the beginning of one, or a ref such as stories@latest.")
    ],
    check: Annotated[bool, typer.Option("--check", help="Re-hash everything that the records name.")] = False,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Show where a record stands between its data and its reports."""
    from trainwright.pipeline.inspect import describe_lineage, require_sound
    from trainwright.store.workspace import open_workspace

    opened = open_workspace(workspace_root(workspace))
    document = describe_lineage(ref, opened, check=check)
    if as_json:
        require_sound(document)
        print_json(document)
        return
    sys.stdout.write(document["tree"] + "\n")
    if check:
        require_sound(document)
        sys.stdout.write("every byte is what its record says\n")
