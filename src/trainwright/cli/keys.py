"""`trainwright keys`: the keys that releases are signed with, and whose signatures are believed."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from trainwright.cli.options import Json, WorkspacePath, make_table_console, print_json, workspace_root

app = typer.Typer(add_completion=False, no_args_is_help=True)

KeysFolder = Annotated[
    Path | None,
    typer.Option(
        "--keys",
        help="The folder of your own keys. Default: TRAINWRIGHT_KEYS, else trainwright/keys below the user's configuration.",
        show_default=False,
    ),
]


@app.command("create")
def create_own(
    name: Annotated[
        str | None,
        typer.Option(
            "--name", help="What others see beside your signatures. Default: the user's name.", show_default=False
        ),
    ] = None,
    keys: KeysFolder = None,
    as_json: Json = False,
) -> None:
    """Make keys to sign with; the first signing does it too where there are none."""
    from trainwright.pipeline.keys import describe_signer, locate_keys, make_keys

    folder = locate_keys(keys)
    made = make_keys(folder, name)
    if as_json:
        print_json({**describe_signer(made.public), "path": str(folder.resolve())})
        return
    sys.stdout.write(f"{made.public.name} {made.public.id}\nkept in {folder}: keep it, and keep it to yourself\n")


@app.command("show")
def show_signer(
    signer: Annotated[
        str | None,
        typer.Argument(
            help="A trusted signer: a name, or the beginning of an id. Default: your own.", show_default=False
        ),
    ] = None,
    keys: KeysFolder = None,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Show a signer's public keys."""
    from trainwright.pipeline.keys import describe_signer, find_trusted, locate_keys, open_keys
    from trainwright.store.workspace import open_workspace

    if signer is None:
        public = open_keys(locate_keys(keys)).public
    else:
        public = find_trusted(signer, open_workspace(workspace_root(workspace)))
    if as_json:
        print_json(describe_signer(public))
        return
    sys.stdout.write(f"{public.name} {public.id}\n\nstatements (Ed25519)\n{public.statement_key}\n")
    sys.stdout.write(f"models (ECDSA, P-256)\n{public.model_key}")


@app.command("list")
def list_signers(keys: KeysFolder = None, workspace: WorkspacePath = None, as_json: Json = False) -> None:
    """List your own keys and the signers that are trusted in the workspace."""
    from rich.markup import escape
    from rich.table import Table

    from trainwright.core.errors import SigningKeyMissing
    from trainwright.pipeline.keys import list_trusted, locate_keys, open_keys
    from trainwright.store.workspace import open_workspace

    trusted = {signer.id: signer for signer in list_trusted(open_workspace(workspace_root(workspace)))}
    try:
        own = open_keys(locate_keys(keys)).public
    except SigningKeyMissing:
        own = None
    signers = trusted | ({own.id: own} if own is not None else {})
    items = [
        {
            "signer_id": signer.id,
            "name": signer.name,
            "own": own is not None and signer.id == own.id,
            "trusted": signer.id in trusted,
        }
        for signer in signers.values()
    ]
    if as_json:
        print_json({"items": items, "next": None})
        return
    table = Table(title="signers", title_justify="left", expand=False)
    for heading in ("name", "id", "own", "trusted here"):
        table.add_column(heading)
    for item in items:
        marks = ("yes" if item[key] else "no" for key in ("own", "trusted"))
        table.add_row(escape(str(item["name"])), str(item["signer_id"])[:12], *marks)
    console = make_table_console(100)
    console.print(table if items else "no keys yet: trainwright keys create")


@app.command("trust")
def trust_signer(
    file: Annotated[Path, typer.Argument(help="What the signer's `keys export` wrote.")],
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Believe a signer in this workspace. Compare the id with theirs first, by another way than the file came."""
    from trainwright.pipeline.keys import describe_signer, read_public_keys, trust
    from trainwright.store.workspace import open_workspace

    signer = read_public_keys(file)
    is_new = trust(signer, open_workspace(workspace_root(workspace)))
    if as_json:
        print_json({**describe_signer(signer), "new": is_new})
        return
    sys.stdout.write(f"{signer.name} {signer.id} is trusted{'' if is_new else ' already'}\n")


@app.command("export")
def export_own(
    file: Annotated[Path, typer.Argument(help="The file to write; it holds nothing secret.")],
    keys: KeysFolder = None,
    as_json: Json = False,
) -> None:
    """Write your public keys to a file, for those who are to believe what you sign."""
    from trainwright.core.durable import write_file
    from trainwright.pipeline.evaluate import require_new
    from trainwright.pipeline.keys import describe_signer, locate_keys, open_keys

    public = open_keys(locate_keys(keys)).public
    require_new(file, overwrite=False)
    write_file(file, public.render())
    if as_json:
        print_json({**describe_signer(public), "path": str(file.resolve())})
        return
    sys.stdout.write(f"{public.name} {public.id}\n{file}\n")
