"""`trainwright audit`: the log of changes through the service."""

import sys
from typing import Annotated

import typer

from trainwright.cli.options import Json, WorkspacePath, print_json, workspace_root

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.command()
def verify(workspace: WorkspacePath = None, as_json: Json = False) -> None:
    """Check that every line follows from the one before: none was changed, taken out or put in between."""
    from trainwright.store.audit import AUDIT_FILE, AuditLog

    log = AuditLog(workspace_root(workspace) / AUDIT_FILE)
    num_lines, digest = log.check()
    if as_json:
        print_json({"path": str(log.path.resolve()), "num_lines": num_lines, "last_digest": digest, "verified": True})
        return
    sys.stdout.write(f"{num_lines:,} lines, unbroken; the last is {digest}\n")


@app.command("list")
def list_rows(
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="Lines at most, the last ones.")] = 50,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Show the last changes: who asked for what, and how it was answered."""
    from collections import deque

    from trainwright.store.audit import AUDIT_FILE, AuditLog

    rows = list(deque(AuditLog(workspace_root(workspace) / AUDIT_FILE).iter_lines(), maxlen=limit))
    if as_json:
        print_json({"items": rows, "next": None})
        return
    for row in rows:
        entry = row["entry"]
        what = (
            f"{entry['method']} {entry['path']}" if entry["what"] == "asked" else f"of {entry['of']}: {entry['status']}"
        )
        sys.stdout.write(f"{row['seq']} {row['at']} {entry['who']} {entry['what']} {what}\n")
