"""`trainwright data`: dataset versions of traces."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from trainwright.cli.options import (
    Json,
    Overwrite,
    WorkspacePath,
    make_table_console,
    print_json,
    who_asks,
    workspace_root,
)

if TYPE_CHECKING:
    from trainwright.pipeline.datasets import Built
    from trainwright.store.workspace import Workspace

app = typer.Typer(no_args_is_help=True, add_completion=False)

Key = Annotated[str, typer.Argument(help="NAME@VERSION of the version to make, for example dev@v1.")]
Ref = Annotated[str, typer.Argument(help="NAME@VERSION, a dataset's id, or the beginning of it.")]
TokenizerRef = Annotated[
    str | None,
    typer.Option(
        "--tokenizer", help="Count the tokens of each trace with this tokenizer's record.", show_default=False
    ),
]


@app.command()
def build(
    key: Key,
    select: Annotated[
        Literal["latest", "random", "stratified", "top"],
        typer.Option("--select", help="Which come first; stratified and top need --by."),
    ] = "latest",
    by: Annotated[
        str | None,
        typer.Option("--by", help="The field of stratified or top, such as meta.category.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of random, stratified and the split.")] = 0,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Traces at most. Default: all that match.", show_default=False)
    ] = None,
    filters: Annotated[
        list[str] | None,
        typer.Option("--filter", help="FIELD=VALUE or FIELD=LOW..HIGH; all must match.", show_default=False),
    ] = None,
    dedup: Annotated[
        Literal["none", "exact", "near"],
        typer.Option("--dedup", help="Leave out what says the same (exact), or nearly the same (near)."),
    ] = "exact",
    split: Annotated[
        float, typer.Option("--split", min=0.0, max=0.9, help="The share held out for validation; 0: nothing.")
    ] = 0.1,
    source: Annotated[
        str | None,
        typer.Option("--from", help="Take over this version, without what was forgotten since.", show_default=False),
    ] = None,
    tokenizer: TokenizerRef = None,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Build a version: select traces, divide them, keep them for good under NAME@VERSION."""
    from trainwright.core.errors import InvalidValue
    from trainwright.data.selection import Selection, parse_filter
    from trainwright.pipeline.datasets import build_version, rebuild_version
    from trainwright.store.workspace import open_workspace
    from trainwright.watch.background import open_screen

    selection = Selection(select, by, seed, limit, tuple(parse_filter(text) for text in filters or ()), dedup)
    if source is not None and (selection, split) != (Selection(), 0.1):
        raise InvalidValue(
            "--from takes a version over as it is.",
            why="Selecting, filtering and splitting are for traces that come from the trace store.",
            next_step="Leave the other options out, or leave --from out.",
        )
    with open_workspace(workspace_root(workspace)) as opened, open_screen() as screen:
        if source is not None:
            built = rebuild_version(key, source, opened, tokenizer=tokenizer, screen=screen)
        else:
            built = build_version(key, selection, opened, share=split, tokenizer=tokenizer, screen=screen)
        _report_built(built, opened, as_json=as_json)


@app.command()
def merge(
    key: Key,
    sources: Annotated[list[str], typer.Argument(help="Two or more versions; what is in several comes once.")],
    tokenizer: TokenizerRef = None,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Build a version of all traces of several versions."""
    from trainwright.pipeline.datasets import merge_versions
    from trainwright.store.workspace import open_workspace
    from trainwright.watch.background import open_screen

    with open_workspace(workspace_root(workspace)) as opened, open_screen() as screen:
        built = merge_versions(key, sources, opened, tokenizer=tokenizer, screen=screen)
        _report_built(built, opened, as_json=as_json)


@app.command("list")
def list_rows(
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="Rows at most.")] = 20,
    after: Annotated[
        str | None, typer.Option("--after", help="Go on after this dataset's id (`next` of the page before).")
    ] = None,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """List versions, the last built first."""
    from trainwright.pipeline.datasets import list_versions, summarise_version
    from trainwright.store.workspace import open_workspace

    with open_workspace(workspace_root(workspace)) as opened:
        found, following = list_versions(opened, limit, after)
        rows = [summarise_version(dataset, opened) for dataset in found]
    if as_json:
        print_json({"items": rows, "next": following})
        return
    from rich.table import Table

    if not rows:
        sys.stdout.write("No versions yet. `trainwright data build NAME@VERSION` makes one.\n")
        return
    table = Table(box=None)
    for heading in ("version", "dataset", "traces", "from", ""):
        table.add_column(heading, justify="right" if heading == "traces" else "left")
    for row in rows:
        state = "" if row["usable"] else "withdrawn"
        table.add_row(row["key"], row["dataset_id"][:12], f"{row['num_records']:,}", row["source"], state)
    make_table_console(120).print(table)


@app.command()
def show(ref: Ref, workspace: WorkspacePath = None, as_json: Json = False) -> None:
    """Show one version: recipe, splits, statistics, and whether it can still be used."""
    from trainwright.pipeline.datasets import describe_version, find_dataset
    from trainwright.store.workspace import open_workspace

    with open_workspace(workspace_root(workspace)) as opened:
        document = describe_version(find_dataset(ref, opened), opened)
    _print(document, as_json=as_json)


@app.command()
def diff(
    before: Annotated[str, typer.Argument(help="A version.")],
    after: Annotated[str, typer.Argument(help="Another one.")],
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Compare two versions: traces that came, went or changed their split, and settings that differ."""
    from trainwright.pipeline.datasets import diff_versions, find_dataset
    from trainwright.store.workspace import open_workspace

    with open_workspace(workspace_root(workspace)) as opened:
        document = diff_versions(find_dataset(before, opened), find_dataset(after, opened), opened)
    # How every count and distribution changed is for programs; `data show` and `data card` read better.
    _print(
        document if as_json else {key: value for key, value in document.items() if key != "statistics"}, as_json=as_json
    )


@app.command()
def card(ref: Ref, workspace: WorkspacePath = None, as_json: Json = False) -> None:
    """Print a version's data card, in Markdown."""
    from trainwright.pipeline.datasets import find_dataset, render_version_card
    from trainwright.store.workspace import open_workspace

    with open_workspace(workspace_root(workspace)) as opened:
        dataset = find_dataset(ref, opened)
        text = render_version_card(dataset, opened)
    if as_json:
        print_json({"dataset_id": dataset.id, "card": text})
    else:
        sys.stdout.write(text)


@app.command()
def verify(ref: Ref, workspace: WorkspacePath = None, as_json: Json = False) -> None:
    """Read and hash everything of a version again."""
    from trainwright.pipeline.datasets import find_dataset, verify_version
    from trainwright.store.workspace import open_workspace

    with open_workspace(workspace_root(workspace)) as opened:
        document = verify_version(find_dataset(ref, opened), opened)
    if as_json:
        print_json(document)
    else:
        sys.stdout.write(f"{document['num_records']:,} traces, every byte is what the record says\n")


@app.command()
def export(
    ref: Ref,
    output: Annotated[str, typer.Argument(help="The file to write; - is standard output.")],
    form: Annotated[
        Literal["trace", "messages", "tunix_sft", "chatml", "training_example", "parquet", "csv"],
        typer.Option("--format", help="See docs/files.md for what a row of each is."),
    ] = "trace",
    split: Annotated[
        str | None,
        typer.Option("--split", help="One split alone. Default: all, in manifest order.", show_default=False),
    ] = None,
    overwrite: Overwrite = False,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Write a version as one file: the same version gives the same bytes."""
    from trainwright.core.errors import InvalidValue
    from trainwright.pipeline.datasets import export_version, find_dataset
    from trainwright.store.workspace import open_workspace

    path = None if output == "-" else Path(output)
    if path is None and as_json:
        raise InvalidValue(
            "--json and an export to standard output would mix.",
            why="Both are written there.",
            next_step="Name a file, or leave --json out.",
        )
    with open_workspace(workspace_root(workspace)) as opened:
        dataset = find_dataset(ref, opened)
        document = export_version(dataset, form, path, opened, split=split, overwrite=overwrite)
    if as_json:
        print_json(document)
    elif path is not None:
        sys.stdout.write(f"{document['num_records']:,} traces, {document['num_bytes']:,} bytes, {path}\n")


@app.command()
def forget(
    trace: Annotated[str, typer.Argument(help="A trace's id, or the beginning of it.")],
    why: Annotated[str, typer.Option("--why", help="The reason, kept in the receipt.")] = "asked for",
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Destroy a trace's content everywhere, list what used it, and say how to go on. This cannot be undone."""
    from trainwright.pipeline.forget import forget_trace
    from trainwright.store.workspace import open_workspace

    with open_workspace(workspace_root(workspace)) as opened:
        document = forget_trace(trace, opened, who=who_asks(), why=why).as_document()
    if as_json:
        print_json(document)
        return
    lines = [f"forgotten {document['trace_id'][:12]}; receipt {document['receipt_id'][:12]}"]
    lines += [
        f"  was in {one['key']} (dataset {one['id'][:12]}), which can no longer be used" for one in document["datasets"]
    ]
    lines += [f"  was used by {one['kind']} {one['id'][:12]}  {one['label']}" for one in document["affected"]]
    if document["rebuild"]:
        lines += ["to go on without it:", *(f"  {command}" for command in document["rebuild"])]
    if document["retrain"]:
        lines.append(f"then train again on the new version: {', '.join(document['retrain'])}")
    sys.stdout.write("\n".join(lines) + "\n")


def _report_built(built: "Built", workspace: "Workspace", *, as_json: bool) -> None:
    from trainwright.pipeline.datasets import describe_version

    document = describe_version(built.dataset, workspace)
    if as_json:
        print_json({**document, "reused": not built.is_new})
        return
    parts = ", ".join(f"{count:,} {name}" for name, count in document["num_by_split"].items())
    state = "built" if built.is_new else "was there already, with the same content"
    sys.stdout.write(f"{document['key']} {state}: {parts} (dataset {document['dataset_id'][:12]})\n")


def _print(document: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(document)
        return
    import yaml

    sys.stdout.write(str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True)))
