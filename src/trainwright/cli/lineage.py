"""`trainwright lineage`: what a record came from, and what came of it."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from trainwright.cli.options import Json, WorkspacePath, print_json, require_suffix, workspace_root

app = typer.Typer(add_completion=False)


@app.command()
def lineage(
    ref: Annotated[
        str,
        typer.Argument(help="Any record, or a trace: an id, the beginning of one, or a ref such as stories@latest."),
    ],
    check: Annotated[bool, typer.Option("--check", help="Re-hash everything that the records name.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="Draw it: .svg or .html.", metavar="FILE", show_default=False),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a picture that is there already.")] = False,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Show where a record stands between its data and its reports; of a trace, every model that it came into."""
    from trainwright.pipeline.evaluate import require_new
    from trainwright.pipeline.lineage import (
        PICTURES,
        check_everything,
        describe_lineage,
        find_lineage,
        require_sound,
        summarise_use,
        write_picture,
    )
    from trainwright.store.workspace import open_workspace

    require_suffix(output, *PICTURES)
    require_new(output, overwrite=overwrite)
    with open_workspace(workspace_root(workspace)) as opened:
        found = find_lineage(ref, opened)
        findings = check_everything(found, opened) if check else None
    if output is not None:
        write_picture(found, output, overwrite=overwrite)
    document = describe_lineage(found, findings) | {"picture": None if output is None else str(output.resolve())}
    if as_json:
        require_sound(findings)
        print_json(document)
        return
    sys.stdout.write(document["tree"] + "\n")
    for line in (summarise_use(found), None if output is None else f"picture: {document['picture']}"):
        if line is not None:
            sys.stdout.write(f"{line}\n")
    if check:
        require_sound(findings)
        sys.stdout.write("every byte is what its record says\n")
