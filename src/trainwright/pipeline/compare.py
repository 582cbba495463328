"""Two evaluations side by side: found by id, by model or by file, made sure to be comparable, compared, written."""

from pathlib import Path

from trainwright.core.durable import write_file
from trainwright.core.errors import AmbiguousRef, InvalidValue, UnknownRef
from trainwright.core.records import Checkpoint, Evaluation, Run
from trainwright.evaluate.comparability import require_same_items, require_same_metrics, require_same_prompts
from trainwright.evaluate.comparison import Comparison, compare_tables
from trainwright.evaluate.delta_report import Side, render_html, render_json, render_markdown
from trainwright.pipeline.evaluate import Evaluated, read_evaluation, require_new
from trainwright.pipeline.evaluation_files import read_evaluation_file
from trainwright.pipeline.inspect import outcome_of
from trainwright.store.lineage import label_record
from trainwright.store.workspace import Workspace

SUFFIXES = {".md": render_markdown, ".html": render_html, ".json": render_json}


def compare(a: str, b: str, workspace: Workspace, alpha: float) -> tuple[Comparison, Side, Side]:
    """Compare what `a` and `b` name: an evaluation's id, a model that was evaluated, or a file of `evaluate --output`.

    Raises UnknownRef, AmbiguousRef (a model with several evaluations that fit); ItemsDiffer, PromptsDiffer, MetricsDiffer.
    """
    first, second = _choose_pair(a, _find_evaluations(a, workspace), b, _find_evaluations(b, workspace))
    documents = [
        {item.id: item.model_dump(mode="json", exclude={"id"}) for item in evaluated.items}
        for evaluated in (first, second)
    ]
    require_same_items(*documents)
    prompts = [
        dict(zip((item.id for item in evaluated.items), evaluated.prompts, strict=True))
        for evaluated in (first, second)
    ]
    require_same_prompts(*prompts)
    require_same_metrics(first.record, second.record)
    comparison = compare_tables(first.record, first.rows, second.record, second.rows, alpha)
    return comparison, _describe(a, first), _describe(b, second)


def write_comparison(comparison: Comparison, a: Side, b: Side, path: Path, *, overwrite: bool) -> None:
    """Write the delta report in the form that the file's name asks for."""
    require_report_name(path)
    require_new(path, overwrite=overwrite)
    write_file(path, SUFFIXES[path.suffix.lower()](comparison, a, b).encode("utf-8"))


def require_report_name(path: Path) -> None:
    """Raises InvalidValue for a name that asks for no form of report."""
    if path.suffix.lower() not in SUFFIXES:
        raise InvalidValue(
            f"{path.name} does not say what to write.",
            why=f"A delta report ends in {', '.join(SUFFIXES)}.",
            next_step="Name the file, for example: delta.html",
        )


# ── finding ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def _find_evaluations(ref: str, workspace: Workspace) -> list[Evaluated]:
    """The evaluations that a text may mean; one, unless it names a model."""
    path = Path(ref)
    if path.suffix.lower() == ".json" and path.is_file():
        return [read_evaluation_file(path)]
    run_ref, _, step = ref.partition("@")
    record = workspace.ledger.get(workspace.ledger.resolve(run_ref if step.isdigit() else ref))
    if isinstance(record, Evaluation):
        return [read_evaluation(record, workspace)]
    if isinstance(record, Run):
        record = _find_checkpoint(record, int(step) if step.isdigit() else None, workspace) or record
    if not isinstance(record, Checkpoint):
        raise UnknownRef(
            f"{ref} does not name an evaluation.",
            why=f"It names a {record.kind}.",
            next_step="Name an evaluation's id, a model that was evaluated, or a file of `evaluate --output`.",
        )
    children = [workspace.ledger.get(child) for role, child in workspace.ledger.children(record.id)]
    found = [read_evaluation(child, workspace) for child in children if isinstance(child, Evaluation)]
    if not found:
        raise UnknownRef(
            f"{ref} was not evaluated yet.",
            why=f"Nothing is on record about checkpoint {record.id[:12]} and an evalset.",
            next_step=f"trainwright evaluate {ref} --evalset FILE",
        )
    return found


def _find_checkpoint(run: Run, step: int | None, workspace: Workspace) -> Checkpoint | None:
    """The run's checkpoint of a step, or the one that it ended with."""
    if step is None:
        outcome = outcome_of(run, workspace)
        record = workspace.ledger.get(outcome.checkpoint) if outcome is not None and outcome.checkpoint else None
        return record if isinstance(record, Checkpoint) else None
    for _, child_id in workspace.ledger.children(run.id):
        child = workspace.ledger.get(child_id)
        if isinstance(child, Checkpoint) and child.step == step:
            return child
    return None


def _choose_pair(a: str, firsts: list[Evaluated], b: str, seconds: list[Evaluated]) -> tuple[Evaluated, Evaluated]:
    """The two that are meant: where a model has several evaluations, the only pair of one set of items asked in one way."""
    if len(firsts) == 1 and len(seconds) == 1:
        return firsts[0], seconds[0]
    fitting = [(first, second) for first in firsts for second in seconds if _way_of(first) == _way_of(second)]
    if len(fitting) == 1:
        return fitting[0]
    listed = {
        name: ", ".join(f"{found.record.id[:12]} ({label_record(found.record)})" for found in evaluations)
        for name, evaluations in ((a, firsts), (b, seconds))
    }
    raise AmbiguousRef(
        f"{a} and {b} can be compared in {len(fitting)} ways." if fitting else f"No evaluations of {a} and {b} fit.",
        why="; ".join(f"{name} has {found}" for name, found in listed.items()) + ".",
        next_step="Name two evaluations by their ids.",
    )


def _way_of(evaluated: Evaluated) -> tuple[object, ...]:
    record = evaluated.record
    return record.items, record.prompts, tuple(record.metrics.items()), record.settings


def _describe(name: str, evaluated: Evaluated) -> Side:
    record = evaluated.record
    label = name if not record.id.startswith(name) else f"evaluation {record.id[:12]}"
    return Side(
        label=Path(label).name,
        evaluation=record.id,
        checkpoint=record.checkpoint,
        settings={key: value for key, value in record.settings.model_dump().items() if value is not None},
        aggregates=record.aggregates,
        statuses=record.statuses,
    )
