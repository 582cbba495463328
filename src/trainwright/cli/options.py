"""Options that several verbs share, and how every verb answers."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trainwright.core.errors import InvalidValue

if TYPE_CHECKING:
    from rich.console import Console

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
WorkspacePath = Annotated[
    Path | None,
    typer.Option("--workspace", help="Where runs, data and records live. Default: .trainwright", show_default=False),
]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Dotted overrides, for example train.batch_size=64.", show_default=False)
]
AllowDrift = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-drift",
        help="Go on although this changed and can change the results (repeatable).",
        metavar="NAME",
        show_default=False,
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an output folder that is there already.")]


def workspace_root(given: Path | None) -> Path:
    """The workspace folder: the option, else TRAINWRIGHT_WORKSPACE, else .trainwright in the current folder."""
    return given or Path(os.environ.get("TRAINWRIGHT_WORKSPACE") or ".trainwright")


def may_overwrite(output_dir: Path | None, overwrite: bool, yes: bool) -> bool:
    """Whether an output folder may be replaced: as said, or, at a terminal alone, as answered."""
    if overwrite or yes or output_dir is None:
        return overwrite or yes
    is_taken = output_dir.is_dir() and any(output_dir.iterdir())
    if not is_taken or not sys.stdin.isatty():
        return False
    return typer.confirm(f"{output_dir} is there already. Replace it?", err=True)


def who_asks() -> str:
    """The account that a command runs under, for what is put on record about who did it."""
    from trainwright.watch.usage import read_user

    return read_user()


def require_suffix(path: Path | None, *suffixes: str) -> None:
    """Raises InvalidValue where a file that is to be drawn into has a name of another kind."""
    if path is not None and path.suffix.lower() not in suffixes:
        raise InvalidValue(
            f"{path} cannot be drawn into.",
            why=f"The end of its name says what it is to be: {' or '.join(suffixes)}.",
            next_step=f"For example: --output {path.stem or 'curves'}{suffixes[0]}",
        )


def make_table_console(width: int) -> "Console":
    """A Rich console on standard output, `width` characters wide where that is no terminal."""
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else width)


def print_json(document: Any) -> None:
    """The one JSON document of a command."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()
