"""`trainwright access`: tokens of the service."""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from trainwright.cli.options import Json, make_table_console, print_json

app = typer.Typer(add_completion=False, no_args_is_help=True)

TokensPath = Annotated[Path, typer.Option("--tokens", help="The file of tokens; made where there is none.")]


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Whose it is: it stands in histories and in the audit log.")],
    tokens: TokensPath,
    role: Annotated[
        str, typer.Option("--role", help="viewer (reads), operator (starts, stops), approver (promotes) or admin.")
    ] = "viewer",
    days: Annotated[
        int | None,
        typer.Option("--days", min=1, max=36_500, help="When it ends. Default: never.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a token and print it: the file has its hash alone, so it can be read nowhere again."""
    from trainwright.serve.tokens import add_token, parse_role

    expires_at = None if days is None else datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
    wanted = parse_role(role)
    token = add_token(tokens, name, wanted, expires_at)
    if as_json:
        ends = None if expires_at is None else expires_at.isoformat()
        print_json({"name": name, "role": wanted, "token": token, "expires_at": ends, "tokens": str(tokens.resolve())})
        return
    sys.stdout.write(f"{token}\n")


@app.command("list")
def list_rows(tokens: TokensPath, as_json: Json = False) -> None:
    """List who may use the service. To shut somebody out, take the row out of the file: it holds at once."""
    from trainwright.serve.tokens import read_tokens

    rows = [entry.model_dump(mode="json", exclude={"sha256"}) for entry in read_tokens(tokens)]
    if as_json:
        print_json({"items": rows, "next": None})
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None)
    for heading in ("name", "role", "ends"):
        table.add_column(heading)
    for row in rows:
        table.add_row(escape(row["name"]), row["role"], row["expires_at"] or "never")
    make_table_console(100).print(table)
