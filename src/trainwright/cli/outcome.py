"""A finished run, as the JSON document and as the table that a person reads."""

from typing import TYPE_CHECKING, Any

from trainwright.cli.options import make_table_console, print_json
from trainwright.core.records import Check, Measure
from trainwright.pipeline.finetune import Completed
from trainwright.pipeline.run import Finished, require_passed

if TYPE_CHECKING:
    from trainwright.evaluate.comparison import Comparison


def report_finished(finished: Finished, *, as_json: bool) -> None:
    """Print a finished run. Raises BudgetExceeded or ValidationFailed where a check failed (that is then the document)."""
    if not as_json:
        render_finished(finished)
        require_passed(finished)
        return
    require_passed(finished)
    print_json(describe_finished(finished))


def report_completed(completed: Completed, *, as_json: bool) -> None:
    """Print all that a manifest asked for. Raises as `report_finished` does, for the first run whose checks failed."""
    if not as_json:
        for finished in completed.runs:
            render_finished(finished)
        if completed.comparison is not None:
            _render_gain(completed.comparison, completed.last)
    for finished in completed.runs:
        require_passed(finished)
    if as_json:
        print_json(describe_completed(completed))


def describe_completed(completed: Completed) -> dict[str, Any]:
    """What `run` and `resume` print with --json: the last run, and what came before and after it."""
    document = describe_finished(completed.last)
    if len(completed.runs) > 1:
        document["first_run"] = describe_finished(completed.runs[0])
    if completed.evaluation is not None:
        document["evaluation_id"] = completed.evaluation.id
    if completed.comparison is not None:
        document["comparison"] = completed.comparison.model_dump(mode="json", exclude={"items", "slices"})
    return document


def _render_gain(comparison: "Comparison", finished: Finished) -> None:
    """The answers before and after, with the interval of the difference."""
    from rich.table import Table

    table = Table(title=f"{finished.run.name}: before and after", title_justify="left", expand=False)
    for heading, justify in (("metric", "left"), ("before", "right"), ("after", "right"), ("difference", "left")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for delta in comparison.overall:
        interval = "not measured"
        if (
            delta.difference.value is not None
            and delta.difference.low is not None
            and delta.difference.high is not None
        ):
            interval = f"{delta.difference.value:+.1%} ({delta.difference.low:+.1%} to {delta.difference.high:+.1%})"
        table.add_row(
            delta.metric.replace("_", " "),
            *("not measured" if side.value is None else f"{side.value:.1%}" for side in (delta.a, delta.b)),
            interval,
        )
    console = make_table_console(100)
    console.print(table)
    console.print(f"delta   {finished.artefacts['delta.html']}", soft_wrap=True)


def describe_finished(finished: Finished) -> dict[str, Any]:
    """What `run` and `resume` print with --json."""
    plan = finished.prepared.plan
    return {
        "run_id": finished.run.id,
        "plan_id": plan.id,
        "status": "completed",
        "run_dir": str(finished.folder.path.resolve()),
        "weights_digest": finished.checkpoint.weights,
        "final_metrics": finished.metrics["final_metrics"],
        "phases": [phase.model_dump(mode="json", exclude_none=True) for phase in finished.journal.phases],
        "artefacts": finished.artefacts,
        "reused": finished.journal.reused,
    }


def render_finished(finished: Finished) -> None:
    """The closing table on standard output: quality, checks, a sample, where things are, what to type next."""
    from rich.markup import escape
    from rich.table import Table

    console = make_table_console(100)
    table = Table(title=f"{finished.run.name}: run {finished.run.id[:12]}", title_justify="left", expand=False)
    for heading, justify in (("check", "left"), ("measured", "right"), ("limit", "right"), ("", "left")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for name, unit in (("bits_per_byte", "held-out bits per byte"), ("perplexity", "held-out perplexity per token")):
        table.add_row(unit, format_measure(finished.report.metrics[name]), "", "")
    table.add_row("next-token accuracy", format_measure(finished.report.metrics["accuracy"]), "", "")
    for check in finished.report.checks:
        limit = "" if check.limit is None else format_measure(Measure(value=check.limit, unit=check.measured.unit))
        table.add_row(check.name, format_measure(check.measured), limit, verdict(check))
    console.print(table)
    for sample in finished.report.samples[:1]:
        console.print(f"\n[bold]{escape(sample.prompt)}[/bold]{escape(sample.text)}\n", soft_wrap=True)
    shown = finished.artefacts
    for label, name in (
        ("report", "report.html"),
        ("plot", "loss.png"),
        ("metrics", "training_metrics.json"),
        ("model", "model.safetensors"),
    ):
        if name in shown:
            console.print(f"{label:8}{shown[name]}", soft_wrap=True)
    prompt = finished.report.samples[0].prompt if finished.report.samples else "The"
    console.print(f'next    trainwright generate {finished.run.name}@latest "{escape(prompt)}"', soft_wrap=True)


def verdict(check: Check) -> str:
    """pass, fail, or why there is no verdict."""
    if check.passed is None:
        return check.why
    return "pass" if check.passed else "FAIL"


def format_measure(measure: Measure) -> str:
    """A figure with its unit as a person reads it; "not measured" with its reason where there is none."""
    if measure.value is None:
        return f"not measured: {measure.why_not}"
    if measure.unit == "bytes":
        return f"{measure.value / 1e6:.1f} MB"
    if measure.unit.startswith("share"):
        return f"{measure.value:.1%}"
    if measure.unit == "ms":
        return f"{measure.value:.0f} ms"
    return f"{measure.value:.3f}"
