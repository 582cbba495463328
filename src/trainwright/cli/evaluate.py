"""`trainwright evaluate`: ask a model the items of an evalset, or score outputs that were recorded elsewhere."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from trainwright.cli.options import Json, WorkspacePath, make_table_console, print_json, workspace_root

if TYPE_CHECKING:
    from trainwright.core.records import Evaluation, ItemScore
    from trainwright.pipeline.evaluate import Evaluated, Question
    from trainwright.store.workspace import Workspace

app = typer.Typer(add_completion=False)


@app.command()
def evaluate(
    evalset: Annotated[Path, typer.Option("--evalset", help="The items: JSONL, or a GSM8K file.", metavar="FILE")],
    ref: Annotated[
        str, typer.Argument(help="name@latest, a run's id, RUN@STEP, or a checkpoint's id; none with --predictions.")
    ] = "",
    by: Annotated[
        Literal["generation", "likelihood"],
        typer.Option("--by", help="Score what the model writes, or how likely it finds the expected answer."),
    ] = "generation",
    template: Annotated[
        str, typer.Option("--template", help=r"What stands around a prompt, for example 'Question: {prompt}\n'.")
    ] = "{prompt}",
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", min=1, max=100_000, help="Tokens of one output at most.")
    ] = 200,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0, max=10, help="0 takes the likeliest token.")
    ] = 0.0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the draws, where the temperature is not 0.")] = 0,
    predictions: Annotated[
        Path | None,
        typer.Option("--predictions", help="Score these recorded outputs, without a model.", metavar="FILE"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="Also write the evaluation as one file, for `compare`.", metavar="FILE.json"),
    ] = None,
    write_predictions: Annotated[
        Path | None,
        typer.Option("--write-predictions", help="Also write the outputs as traces (JSONL).", metavar="FILE"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there already.")] = False,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Answer every item on its own, score it against the expected answer, and keep the table of all items."""
    from trainwright.core.errors import UsageError
    from trainwright.evaluate.generation import Decoding
    from trainwright.pipeline.evaluate import read_question, require_new, write_evaluation, write_prediction_traces
    from trainwright.store.workspace import open_workspace

    if bool(ref) == (predictions is not None):
        raise UsageError(
            "A model or --predictions is needed, and not both.", next_step="trainwright evaluate REF --evalset FILE"
        )
    if write_predictions is not None and by == "likelihood" and predictions is None:
        raise UsageError(
            "Scoring by likelihood writes no outputs.", next_step="Leave out --write-predictions, or --by likelihood."
        )
    for path in (output, write_predictions):
        require_new(path, overwrite=overwrite)
    question = read_question(evalset, template)
    opened = open_workspace(workspace_root(workspace))
    decoding = Decoding(max_tokens, temperature, top_k=0, top_p=1.0, seed=seed)
    evaluated = _answer(ref, by, predictions, question, decoding, opened)
    files: dict[str, str] = {}
    if output is not None:
        write_evaluation(evaluated, output, overwrite=overwrite)
        files["evaluation"] = str(output.resolve())
    if write_predictions is not None:
        num_written, num_empty = write_prediction_traces(evaluated, write_predictions, overwrite=overwrite)
        files["traces"] = str(write_predictions.resolve())
        sys.stderr.write(f"{num_written} traces written, {num_empty} items without an output left out\n")
    if as_json:
        print_json(_describe(evaluated.record, evaluated.rows, files))
        return
    _render(evaluated.record, evaluated.rows)


def _answer(
    ref: str, by: str, predictions: Path | None, question: "Question", decoding: Any, workspace: "Workspace"
) -> "Evaluated":
    from trainwright.pipeline.evaluate import evaluate_by_generation, evaluate_by_likelihood, evaluate_predictions

    if predictions is not None:
        return evaluate_predictions(predictions, question, workspace)
    if by == "likelihood":
        return evaluate_by_likelihood(ref, question, workspace, _show_progress)
    return evaluate_by_generation(ref, question, decoding, workspace, _show_progress)


def _show_progress(done: int, total: int) -> None:
    """On a terminal a counter, in a log a line for every tenth."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done:,} of {total:,} items" + "\n" * (done == total))
    elif done == total or done % max(1, total // 10) == 0:
        sys.stderr.write(f"{done:,} of {total:,} items\n")
    sys.stderr.flush()


def _describe(record: "Evaluation", rows: "list[ItemScore]", files: dict[str, str]) -> dict[str, Any]:
    """What `evaluate --json` prints: the record with its id, and each metric with its interval."""
    from trainwright.evaluate.comparison import estimate_table

    return {
        "evaluation_id": record.id,
        **record.model_dump(mode="json", exclude={"kind"}),
        "estimates": {name: estimate.model_dump(mode="json") for name, estimate in estimate_table(rows).items()},
        "artefacts": files,
    }


def _render(record: "Evaluation", rows: "list[ItemScore]") -> None:
    from rich.markup import escape
    from rich.table import Table

    from trainwright.evaluate.comparison import estimate_table
    from trainwright.evaluate.metrics import METRICS

    console = make_table_console(110)
    table = Table(title=escape(f"{record.evalset}: evaluation {record.id[:12]}"), title_justify="left", expand=False)
    for heading, justify in (("metric", "left"), ("value", "right"), ("95 % interval", "right"), ("items", "left")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for name, estimate in estimate_table(rows).items():
        form = ".1%" if METRICS[name].binary else ".3f"
        value = f"undefined: {estimate.why_not}" if estimate.value is None else format(estimate.value, form)
        interval = "" if estimate.low is None else f"{estimate.low:{form}} to {estimate.high:{form}}"
        counts = ", ".join(f"{count} {status}" for status, count in record.statuses[name].items())
        table.add_row(name.replace("_", " "), value, interval, counts)
    for name, measure in record.aggregates.items():
        if name not in METRICS:
            shown = f"not measured: {measure.why_not}" if measure.value is None else f"{measure.value:.1%}"
            table.add_row(name.replace("_", " "), shown, "", measure.unit)
    console.print(table)
    console.print(f"next    trainwright compare {record.id[:12]} OTHER --output delta.html", soft_wrap=True)
