"""`trainwright models`: which models there are, where they stand, and what is on record about each."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from trainwright.cli.options import Json, Overwrite, WorkspacePath, make_table_console, print_json, workspace_root

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.command("list")
def list_all(workspace: WorkspacePath = None, as_json: Json = False) -> None:
    """List models with where they stand, what was decided, and when."""
    from trainwright.pipeline.models import list_models
    from trainwright.store.workspace import open_workspace

    rows = list_models(open_workspace(workspace_root(workspace)))
    if as_json:
        print_json({"items": rows, "next": None})
        return
    make_table_console(110).print(_build_table(rows) if rows else "no model yet: trainwright run --corpus FILE")


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A name, or NAME@STAGE.")],
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Show where a model stands, what its gates said, who signed it, and every move."""
    from rich.markup import escape

    from trainwright.pipeline.models import show_model
    from trainwright.store.workspace import open_workspace

    document = show_model(name, open_workspace(workspace_root(workspace)))
    if as_json:
        print_json(document)
        return
    console = make_table_console(110)
    console.print(_build_table(document["places"]))
    for place in document["places"]:
        for gate in (place["decision"] or {}).get("gates", ()):
            part = f" {gate['part']}" if gate["part"] else ""
            what = f"{gate['gate']['metric']} of {gate['gate']['suite']}{part}"
            console.print(escape(f"{place['stage']}: gate {what}: {gate['outcome']}. {gate['why']}"), soft_wrap=True)
        if place["override"] is not None:
            console.print(
                escape(f"{place['stage']}: override by {place['override']['who']}: {place['override']['why']}")
            )
        if place["attestation"] is not None:
            signer = place["attestation"]["signer"][:12]
            console.print(f"{place['stage']}: signed by {signer}, {place['attestation']['at']}", soft_wrap=True)
    for move in document["history"]:
        console.print(
            escape(f"{move['ref']} #{move['number']} {move['at']} {move['who']}: {move['to'][:12]} ({move['why']})"),
            soft_wrap=True,
        )


@app.command("card")
def card(
    ref: Annotated[str, typer.Argument(help="NAME@STAGE, a release's id, or any model: name@latest, RUN@STEP.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", help="A file to write, .md or .html. Default: Markdown to standard output.", show_default=False
        ),
    ] = None,
    overwrite: Overwrite = False,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Write the model card: data, training, evaluation, gates, limits, lineage, as far as they are on record."""
    from trainwright.pipeline.models import build_model_card, write_card
    from trainwright.release.document import render_markdown
    from trainwright.store.workspace import open_workspace

    document = build_model_card(ref, open_workspace(workspace_root(workspace)))
    if output is not None:
        write_card(document, output, overwrite=overwrite)
    if as_json:
        print_json({"ref": ref, "card": render_markdown(document), "path": str(output.resolve()) if output else None})
        return
    sys.stdout.write(f"{output}\n" if output is not None else render_markdown(document))


def _build_table(rows: list[dict[str, Any]]) -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="models", title_justify="left", expand=False)
    for heading in ("name", "stage", "release", "checkpoint", "decision", "signed", "since"):
        table.add_column(heading)
    for row in rows:
        signed = {True: "yes", False: "UNSIGNED", None: ""}[row["signed"]]
        release = (row["release"] or "")[:12]
        since = (row["at"] or "")[:16].replace("T", " ")
        table.add_row(escape(row["name"]), row["stage"], release, row["checkpoint"][:12], row["outcome"], signed, since)
    return table
