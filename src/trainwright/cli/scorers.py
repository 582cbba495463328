"""`trainwright scorers fit`, `list`, `show` and `calibrate`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trainwright.cli.options import Json, WorkspacePath, make_table_console, print_json, workspace_root

if TYPE_CHECKING:
    from trainwright.core.records import Estimate, TrainedScorer

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.command("fit")
def fit_scorer(
    name: Annotated[str, typer.Argument(help="What it is called: `toxicity:NAME` in a suite.")],
    labelled: Annotated[Path, typer.Argument(help="A CSV file with a header, one labelled text a row.")],
    text: Annotated[str, typer.Option("--text", help="The column of the texts.", metavar="COLUMN")] = "text",
    label: Annotated[str, typer.Option("--label", help="The column of the labels.", metavar="COLUMN")] = "label",
    group: Annotated[
        str | None,
        typer.Option("--group", help="The column that says which texts belong together.", metavar="COLUMN"),
    ] = None,
    positive: Annotated[
        str | None, typer.Option("--positive", help="Which of two labels counts. Default: 1, true or yes.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Of the folds and the fitting.")] = 0,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Train a scorer on labelled texts, and measure it on texts that it did not see."""
    from trainwright.pipeline.scorers import Columns, fit
    from trainwright.store.workspace import open_workspace

    with open_workspace(workspace_root(workspace)) as opened:
        scorer = fit(name, labelled, Columns(text, label, group), opened, positive=positive, seed=seed)
    _tell(scorer.record, as_json=as_json)


@app.command("list")
def list_all(workspace: WorkspacePath = None, as_json: Json = False) -> None:
    """List trained scorers, the last fitted first."""
    from rich.markup import escape
    from rich.table import Table

    from trainwright.evaluate.matchers import render_share
    from trainwright.pipeline.scorers import list_scorers
    from trainwright.store.workspace import open_workspace

    with open_workspace(workspace_root(workspace)) as opened:
        found = list_scorers(opened)
    if as_json:
        print_json({"items": [_describe(record) for record in found], "next": None})
        return
    if not found:
        sys.stdout.write("No scorers yet. `trainwright scorers fit NAME LABELLED.csv` trains one.\n")
        return
    table = Table("scorer", "name", "labels", "texts", "kappa", expand=False)
    for record in found:
        labels = ", ".join(record.classes)
        table.add_row(
            record.id[:12], escape(record.name), escape(labels), f"{record.num_rows:,}", render_share(record.kappa)
        )
    make_table_console(110).print(table)


@app.command("show")
def show(
    scorer: Annotated[str, typer.Argument(help="Its name, or its id.")],
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Show a trained scorer: what it learnt from, and how good it is. Its model is verified."""
    from trainwright.pipeline.scorers import find_scorer
    from trainwright.store.workspace import open_workspace

    with open_workspace(workspace_root(workspace)) as opened:
        found = find_scorer(scorer, opened)
    _tell(found.record, as_json=as_json)


@app.command("calibrate")
def calibrate_judge(
    rubric: Annotated[Path, typer.Argument(help="The rubric's file (YAML).")],
    labelled: Annotated[
        Path, typer.Argument(help="A CSV file with the columns prompt, output, label (and expected, for pairs).")
    ],
    model: Annotated[str, typer.Option("--judge-model", help="The judge's name.", metavar="NAME")],
    endpoint: Annotated[
        str | None, typer.Option("--judge-endpoint", help="Where it answers, OpenAI-compatible.", metavar="URL")
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option("--judge-record", help="Where its answers are kept, and taken from.", metavar="FILE"),
    ] = None,
    key_env: Annotated[
        str | None, typer.Option("--judge-key-env", help="The environment variable of its key.", metavar="NAME")
    ] = None,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Hold a judge against people's labels, so that a gate may rest on it."""
    from trainwright.pipeline.judging import JudgeOptions, calibrate, open_judge
    from trainwright.store.workspace import open_workspace

    with open_workspace(workspace_root(workspace)) as opened:
        judge = open_judge(JudgeOptions(model, endpoint, record, key_env), opened)
        found = calibrate(rubric, labelled, judge, opened)
    if as_json:
        print_json({"calibration_id": found.id, **found.model_dump(mode="json", exclude={"kind"})})
        return
    for name, estimate in (("kappa", found.kappa), ("verdicts that could be read", found.parse_rate)):
        sys.stdout.write(f"{name}: {' '.join(_render(estimate))}\n")
    sys.stdout.write(f"{found.num_rows:,} labelled outputs; calibration {found.id[:12]}\n")


def _describe(record: "TrainedScorer") -> dict[str, Any]:
    return {"scorer_id": record.id, **record.model_dump(mode="json", exclude={"kind"})}


def _tell(record: "TrainedScorer", *, as_json: bool) -> None:
    if as_json:
        print_json(_describe(record))
        return
    from rich.markup import escape
    from rich.table import Table

    console = make_table_console(110)
    title = escape(f"{record.name}: scorer {record.id[:12]}")
    table = Table("measured on texts not seen", "value", "95 % interval", title=title, title_justify="left")
    table.add_row("kappa", *_render(record.kappa))
    for label in record.classes:
        table.add_row(escape(f"precision of {label}"), *_render(record.precision[label]))
        table.add_row(escape(f"recall of {label}"), *_render(record.recall[label]))
    console.print(table)
    console.print(
        f"{record.num_rows:,} texts in {record.num_groups:,} groups, {record.num_folds} folds; labels of the file "
        f"{record.labelled[:12]}",
        soft_wrap=True,
    )


def _render(estimate: "Estimate") -> tuple[str, str]:
    value = "undefined" if estimate.value is None else f"{estimate.value:.3f}"
    has_interval = estimate.low is not None and estimate.high is not None
    return value, f"{estimate.low:.3f} to {estimate.high:.3f}" if has_interval else estimate.why_not
