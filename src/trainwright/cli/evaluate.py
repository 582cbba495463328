"""`trainwright evaluate`: ask a model the items of a suite or an evalset, or score outputs that were recorded elsewhere."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from trainwright.cli.options import Json, WorkspacePath, make_table_console, print_json, workspace_root

if TYPE_CHECKING:
    from trainwright.core.records import Evaluation, ItemScore
    from trainwright.evaluate.endpoint import Endpoint
    from trainwright.evaluate.generation import Decoding
    from trainwright.evaluate.judge import Judge
    from trainwright.pipeline.evaluate import Evaluated
    from trainwright.pipeline.questions import Question
    from trainwright.store.workspace import Workspace

app = typer.Typer(add_completion=False)


@app.command()
def evaluate(
    ref: Annotated[
        str,
        typer.Argument(
            help="name@latest, a run's id, RUN@STEP, a checkpoint's id, or a model folder in the Hugging Face format.",
            show_default=False,
        ),
    ] = "",
    evalset: Annotated[
        Path | None, typer.Option("--evalset", help="The items: JSONL, or a GSM8K file.", metavar="FILE")
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            "--suite", help="What is asked, and how: a suite that comes along, or a file.", metavar="NAME|FILE"
        ),
    ] = None,
    by: Annotated[
        Literal["generation", "likelihood", "text"] | None,
        typer.Option(
            "--by",
            help="Score what the model writes, how likely it finds the expected answer, or each item as a text. "
            "Default: as the suite says, else generation.",
        ),
    ] = None,
    chat: Annotated[
        bool, typer.Option("--chat", help="Ask a model folder in the chat template that its tokenizer carries.")
    ] = False,
    template: Annotated[
        str | None,
        typer.Option("--template", help=r"What stands around a prompt, for example 'Question: {prompt}\n'."),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-tokens", min=1, max=100_000, help="Tokens of one output at most. Default: the suite's, else 200."
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option("--temperature", min=0, max=10, help="0 takes the likeliest token. Default: the suite's, else 0."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Of all draws. Default: the suite's, else 0.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="Ask only so many of the items, drawn by the seed.", metavar="N"),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option("--predictions", help="Score these recorded outputs, without a model.", metavar="FILE"),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option("--endpoint", help="Ask a model behind an OpenAI-compatible endpoint.", metavar="URL"),
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="What the endpoint calls the model.")] = None,
    api_key_env: Annotated[
        str | None,
        typer.Option("--api-key-env", help="The environment variable that holds the endpoint's key.", metavar="NAME"),
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.1, max=3600, help="Seconds until an endpoint's answer is given up.")
    ] = 120.0,
    judge_model: Annotated[
        str | None,
        typer.Option("--judge-model", help="The name of the judge that a suite's scorers ask.", metavar="NAME"),
    ] = None,
    judge_endpoint: Annotated[
        str | None, typer.Option("--judge-endpoint", help="Where it answers, OpenAI-compatible.", metavar="URL")
    ] = None,
    judge_record: Annotated[
        Path | None,
        typer.Option("--judge-record", help="Where its answers are kept, and taken from.", metavar="FILE"),
    ] = None,
    judge_key_env: Annotated[
        str | None, typer.Option("--judge-key-env", help="The environment variable of its key.", metavar="NAME")
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
    """Ask every item of a suite or an evalset on its own, score what comes, and keep the table of all items."""
    from trainwright.pipeline.evaluate import require_new
    from trainwright.pipeline.evaluation_files import write_evaluation, write_prediction_traces
    from trainwright.pipeline.questions import Request, settle
    from trainwright.store.workspace import open_workspace

    asked = _Asked(ref, chat, predictions, _parse_endpoint(endpoint, model, api_key_env, timeout))
    _require_one_of_each(asked, evalset, suite)
    for path in (output, write_predictions):
        require_new(path, overwrite=overwrite)
    question, settled_by, decoding = settle(Request(evalset, suite, by, template, max_tokens, temperature, seed, limit))
    _require_outputs(asked, settled_by, write_predictions)
    opened = open_workspace(workspace_root(workspace))
    judge = _open_judge(judge_model, judge_endpoint, judge_record, judge_key_env, opened)
    evaluated = _answer(asked, settled_by, question, decoding, opened, judge)
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


@dataclass(frozen=True)
class _Asked:
    """Who answers: a model, a file of what was recorded, or an endpoint."""

    ref: str
    chat: bool
    predictions: Path | None
    endpoint: "Endpoint | None"


def _parse_endpoint(
    url: str | None, model: str | None, key_variable: str | None, timeout_s: float
) -> "Endpoint | None":
    from trainwright.core.errors import UsageError
    from trainwright.evaluate.endpoint import Endpoint, read_key, require_endpoint_url

    if url is None:
        if model is not None or key_variable is not None:
            raise UsageError(
                "--model and --api-key-env belong to an endpoint.", next_step="Add --endpoint URL, or leave them out."
            )
        return None
    if not model:
        raise UsageError("An endpoint needs the name of the model to ask.", next_step="Add --model NAME.")
    return Endpoint(require_endpoint_url(url), model, read_key(key_variable), timeout_s)


def _require_one_of_each(asked: _Asked, evalset: Path | None, suite: str | None) -> None:
    from trainwright.core.errors import UsageError

    if [bool(asked.ref), asked.predictions is not None, asked.endpoint is not None].count(True) != 1:
        raise UsageError(
            "A model, --predictions or --endpoint is needed, and only one of them.",
            next_step="trainwright evaluate REF --evalset FILE",
        )
    if asked.chat and not asked.ref:
        raise UsageError(
            "--chat belongs to a model folder.",
            why="An endpoint lays prompts out by itself, and recorded outputs were asked for elsewhere.",
            next_step="Leave out --chat.",
        )
    if (evalset is None) == (suite is None):
        raise UsageError(
            "--evalset or --suite is needed, and not both.",
            next_step="trainwright evaluate REF --suite NAME; `trainwright suites list` shows those that come along.",
        )


def _require_outputs(asked: _Asked, by: str, write_predictions: Path | None) -> None:
    """Raises UsageError where outputs are wanted of a way of measuring that has none."""
    from trainwright.core.errors import UsageError

    if by == "generation" or asked.predictions is not None:
        return
    if asked.endpoint is not None:
        raise UsageError(
            f"An endpoint cannot be measured by {by}.",
            why="It answers prompts; it does not say how likely it finds a text.",
            next_step="Add --by generation, or name a model that is here.",
        )
    if write_predictions is not None:
        raise UsageError(
            f"Measuring by {by} writes no outputs.", next_step=f"Leave out --write-predictions, or --by {by}."
        )


def _open_judge(
    model: str | None, endpoint: str | None, record: Path | None, key_env: str | None, workspace: "Workspace"
) -> "Judge | None":
    from trainwright.core.errors import UsageError

    if model is None:
        if (endpoint, record, key_env) != (None, None, None):
            raise UsageError("A judge needs a name.", next_step="Add --judge-model NAME.")
        return None
    from trainwright.pipeline.judging import JudgeOptions, open_judge

    return open_judge(JudgeOptions(model, endpoint, record, key_env), workspace)


def _answer(
    asked: _Asked,
    by: str,
    question: "Question",
    decoding: "Decoding",
    workspace: "Workspace",
    judge: "Judge | None",
) -> "Evaluated":
    from trainwright.pipeline.endpoint import evaluate_endpoint
    from trainwright.pipeline.evaluate import (
        evaluate_by_generation,
        evaluate_by_likelihood,
        evaluate_by_text,
        evaluate_predictions,
    )
    from trainwright.pipeline.subjects import find_subject

    if asked.predictions is not None:
        return evaluate_predictions(asked.predictions, question, workspace, judge)
    if asked.endpoint is not None:
        return evaluate_endpoint(asked.endpoint, question, decoding, workspace, _show_progress, judge)
    subject = find_subject(asked.ref, workspace, chat=asked.chat)
    if by == "generation":
        return evaluate_by_generation(subject, question, decoding, workspace, _show_progress, judge=judge)
    evaluate_without_outputs = evaluate_by_likelihood if by == "likelihood" else evaluate_by_text
    return evaluate_without_outputs(subject, question, workspace, _show_progress)


def _show_progress(done: int, total: int) -> None:
    """On a terminal a counter, in a log a line for every tenth."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done:,} of {total:,} items" + "\n" * (done == total))
    elif done == total or done % max(1, total // 10) == 0:
        sys.stderr.write(f"{done:,} of {total:,} items\n")
    sys.stderr.flush()


def _describe(record: "Evaluation", rows: "list[ItemScore]", files: dict[str, str]) -> dict[str, Any]:
    """What `evaluate --json` prints: the record with its id, and each metric with its interval."""
    from trainwright.evaluate.figures import list_notes, measure_all

    return {
        "evaluation_id": record.id,
        **record.model_dump(mode="json", exclude={"kind"}),
        "estimates": {name: estimate.model_dump(mode="json") for name, estimate in measure_all(rows).items()},
        "notes": list_notes(rows),
        "artefacts": files,
    }


def _render(record: "Evaluation", rows: "list[ItemScore]") -> None:
    from rich.markup import escape
    from rich.table import Table

    from trainwright.evaluate.figures import list_notes, measure_all
    from trainwright.evaluate.metrics import METRICS

    console = make_table_console(110)
    table = Table(title=escape(f"{record.evalset}: evaluation {record.id[:12]}"), title_justify="left", expand=False)
    for heading, justify in (("metric", "left"), ("value", "right"), ("95 % interval", "right"), ("items", "left")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    estimates = measure_all(rows)
    for name, estimate in estimates.items():
        if estimate.value is None and _is_beside_the_point(name):
            continue
        form = ".1%" if name in METRICS and METRICS[name].binary else ".3f"
        value = f"undefined: {estimate.why_not}" if estimate.value is None else format(estimate.value, form)
        interval = "" if estimate.low is None else f"{estimate.low:{form}} to {estimate.high:{form}}"
        counts = ", ".join(f"{count} {status}" for status, count in record.statuses.get(name, {}).items())
        table.add_row(escape(name.replace("_", " ")), value, interval, counts or f"{estimate.n} counted")
    for name, measure in record.aggregates.items():
        if name not in METRICS and name not in estimates:
            shown = f"not measured: {measure.why_not}" if measure.value is None else f"{measure.value:.1%}"
            table.add_row(name.replace("_", " "), shown, "", measure.unit)
    console.print(table)
    for name, note in list_notes(rows).items():
        console.print(escape(f"{name.replace('_', ' ')}: {note}"), soft_wrap=True)
    sample = record.settings.sample
    if sample is not None:
        console.print(f"a sample: {sample.num_items:,} of {sample.out_of:,} items, drawn by the seed {sample.seed}")
    console.print(f"next    trainwright compare {record.id[:12]} OTHER --output delta.html", soft_wrap=True)


def _is_beside_the_point(name: str) -> bool:
    """Whether a figure is one of those that any answers or outputs may have: undefined, it is told by --json alone."""
    from trainwright.evaluate.table_metrics import TABLE_METRICS

    return name in TABLE_METRICS and TABLE_METRICS[name].needs in ((), ("answer_correct",))
