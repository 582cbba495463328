"""Options that several verbs share, and how every verb answers."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
WorkspacePath = Annotated[
    Path | None,
    typer.Option("--workspace", help="Where runs, data and records live.  [default: .trainwright]", show_default=False),
]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Dotted overrides, for example train.batch_size=64.", show_default=False)
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an output folder that is there already.")]


def workspace_root(given: Path | None) -> Path:
    """The workspace folder: the option, else TRAINWRIGHT_WORKSPACE, else .trainwright in the current folder."""
    return given or Path(os.environ.get("TRAINWRIGHT_WORKSPACE") or ".trainwright")


def print_json(document: Any) -> None:
    """The one JSON document of a command."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()
