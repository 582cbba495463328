"""`trainwright verify`: compute a run, or a part of it, again, and compare."""

from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from trainwright.cli.options import Json, WorkspacePath, make_table_console, print_json, workspace_root

if TYPE_CHECKING:
    from trainwright.pipeline.verify import Verification

app = typer.Typer(add_completion=False)

MEANINGS = {
    "verified": "Plan and data give these checkpoints again, bit for bit, on this machine.",
    "differs": "What is on record is not what plan and data give, or what is stored was changed.",
    "cannot-verify": "This says nothing against the run: it could not be computed again as it was.",
}


@app.command()
def verify(
    run: Annotated[str, typer.Argument(help="A run's id, or the beginning of it, or a ref such as stories@latest.")],
    sample: Annotated[
        float | None,
        typer.Option("--sample", min=0.001, max=1.0, help="About this share of the steps. Default: all of them."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Which ones: equal seeds draw equal samples.")] = 0,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Compute a run again from its plan and data, in a clean process, and compare every checkpoint."""
    from trainwright.pipeline.journal import Journal
    from trainwright.pipeline.verify import require_verified
    from trainwright.pipeline.verify import verify as verify_run
    from trainwright.store.workspace import open_workspace
    from trainwright.watch.background import open_screen

    with open_screen() as progress:
        opened = open_workspace(workspace_root(workspace))
        verification = verify_run(run, opened, Journal(progress), sample=sample, seed=seed)
    if as_json:
        require_verified(verification)
        print_json(verification.as_document())
        return
    _render(verification)
    require_verified(verification)


def _render(verification: "Verification") -> None:
    """A row for each group of neighbouring intervals that have the same to say, then the verdict."""
    from rich.markup import escape
    from rich.table import Table

    console = make_table_console(100)
    table = Table(title=f"run {verification.run.id[:12]}", title_justify="left", expand=False)
    for heading, justify in (("steps", "right"), ("checkpoints", "right"), ("found", "left"), ("", "left")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for (found, why), group in groupby(verification.rows, key=lambda row: (row.found, row.why)):
        rows = list(group)
        steps = f"{rows[0].first_step + 1:,}–{rows[-1].last_step:,}"
        table.add_row(steps, f"{len(rows):,}", found, escape(why))
    console.print(table)
    verdict = verification.verdict
    console.print(f"{verdict.status}: {escape(verdict.why)}", soft_wrap=True)
    console.print(MEANINGS[verdict.status], soft_wrap=True)
