"""`trainwright compare`: two evaluations of the same items, before and after."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainwright.cli.options import Json, WorkspacePath, make_table_console, print_json, workspace_root

if TYPE_CHECKING:
    from trainwright.evaluate.comparison import Comparison
    from trainwright.evaluate.delta_report import Side

app = typer.Typer(add_completion=False)


@app.command()
def compare(
    a: Annotated[
        str, typer.Argument(help="Before: an evaluation's id, a model that was evaluated, or a file of `evaluate`.")
    ],
    b: Annotated[str, typer.Argument(help="After: likewise.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", help="Write the delta report: .md, .html or .json.", metavar="FILE", show_default=False
        ),
    ] = None,
    alpha: Annotated[
        float, typer.Option("--alpha", min=0.0001, max=0.5, help="Chance of an error that is put up with.")
    ] = 0.05,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a report that is there already.")] = False,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Pair every item with itself: what got better, what got worse, and whether it can be told from chance."""
    from trainwright.evaluate.delta_report import build_document
    from trainwright.pipeline.compare import compare as compare_evaluations
    from trainwright.pipeline.compare import require_report_name, write_comparison
    from trainwright.pipeline.evaluate import require_new
    from trainwright.store.workspace import open_workspace

    if output is not None:
        require_report_name(output)
        require_new(output, overwrite=overwrite)
    comparison, first, second = compare_evaluations(a, b, open_workspace(workspace_root(workspace)), alpha)
    if output is not None:
        write_comparison(comparison, first, second, output, overwrite=overwrite)
    if as_json:
        print_json(build_document(comparison, first, second))
        return
    _render(comparison, first, second)
    if output is not None:
        make_table_console(110).print(f"report  {output.resolve()}", soft_wrap=True)


def _render(comparison: "Comparison", a: "Side", b: "Side") -> None:
    from rich.markup import escape
    from rich.table import Table

    from trainwright.evaluate.delta_report import DELTA_HEADS, describe_method, list_delta_rows
    from trainwright.evaluate.table import OUTCOMES

    console = make_table_console(150)
    title = f"{comparison.evalset}, {comparison.num_items:,} items: A {a.label}, B {b.label}"
    table = Table(title=escape(title), title_justify="left", expand=False)
    for number, heading in enumerate(DELTA_HEADS):
        table.add_column(heading, justify="left" if number in (0, 7) else "right")
    for row in list_delta_rows(comparison):
        table.add_row(*map(escape, row))
    console.print(table)
    for name, (before, after) in comparison.outcomes.items():
        console.print(f"{OUTCOMES[name]}: {before} → {after}")
    for warning in comparison.warnings:
        console.print(f"[bold]{escape(warning)}[/bold]", soft_wrap=True)
    console.print(escape(describe_method(comparison)), soft_wrap=True)
