"""`trainwright tokens preview`: one sample, token by token, and what of it is to be learnt."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from trainwright.cli.options import Json, WorkspacePath, make_table_console, print_json, workspace_root

if TYPE_CHECKING:
    from rich.text import Text

    from trainwright.pipeline.preview import Preview

app = typer.Typer(no_args_is_help=True, add_completion=False)

_BETWEEN = "│"
_LEARNT = ("⟦", "⟧")


@app.callback()
def tokens() -> None:
    """Look at what a model is shown, token by token."""


@app.command()
def preview(
    source: Annotated[str, typer.Argument(help="A file of traces or conversations, or a dataset NAME@VERSION.")],
    tokenizer: Annotated[
        str,
        typer.Option(
            "--tokenizer", help="A Hugging Face folder; or a tokenizer, token set, run or ref such as stories@latest."
        ),
    ],
    index: Annotated[int, typer.Option("--index", min=0, help="The sample's place, from 0.")] = 0,
    trace_id: Annotated[
        str | None, typer.Option("--id", help="The sample's id, or the beginning of it.", show_default=False)
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            "--template",
            help="gemma, chatml, trace, or tokenizer (the one it carries). Default: tokenizer where it carries one, else "
            "gemma.",
            show_default=False,
        ),
    ] = None,
    system: Annotated[
        str | None, typer.Option("--system", help="System text put before the conversation.", show_default=False)
    ] = None,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Show one sample as it is tokenized, with the tokens that are to be learnt marked."""
    from trainwright.pipeline.preview import preview_sample

    found = preview_sample(
        source,
        tokenizer,
        workspace_root(workspace),
        index=index,
        trace_id=trace_id,
        template_name=template,
        system=system,
    )
    if as_json:
        print_json(found.as_document())
        return
    console = make_table_console(120)
    is_coloured = console.is_terminal and not console.no_color
    console.print(_colour(found) if is_coloured else _mark(found), soft_wrap=True, markup=False)
    num_tokens, num_targets = len(found.encoded.ids), found.encoded.num_targets
    legend = "in green" if is_coloured else f"between {_LEARNT[0]} and {_LEARNT[1]}"
    sys.stdout.write(
        f"\nsample {found.index}, {found.trace.id[:12]}, template {found.template}, "
        f"tokenizer {found.tokenizer.id[:12]}\n"
        f"{num_tokens} tokens, {num_targets} to be learnt ({legend})\n"
    )


def _mark(found: "Preview") -> str:
    """Every token between bars, the ones to be learnt between double brackets."""
    parts = []
    learning = False
    for number, text in enumerate(_iter_shown(found)):
        is_target = bool(found.encoded.targets[number])
        if is_target != learning:
            parts.append(_LEARNT[0] if is_target else _LEARNT[1])
        elif number:
            parts.append(_BETWEEN)
        parts.append(text)
        learning = is_target
    return "".join([*parts, _LEARNT[1] if learning else ""])


def _colour(found: "Preview") -> "Text":
    """Every other token on a shade of its own, the ones to be learnt in green."""
    from rich.text import Text

    text = Text()
    for number, shown in enumerate(_iter_shown(found)):
        colour = "green" if found.encoded.targets[number] else "bright_black"
        text.append(shown, f"{colour}{' reverse' if number % 2 else ''}")
    return text


def _iter_shown(found: "Preview") -> list[str]:
    """Each token as a person reads it: special tokens by name, line ends and what has no glyph made visible."""
    rows = zip(found.encoded.texts, found.names, found.controls, strict=True)
    return [name if is_control else _make_visible(text) for text, name, is_control in rows]


def _make_visible(text: str) -> str:
    shown = (
        "↵\n" if character == "\n" else character if character.isprintable() else ascii(character)[1:-1]
        for character in text
    )
    return "".join(shown)
