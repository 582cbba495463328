"""The model before and after a fine-tuning, asked the same held-out problems in the same form.

What was asked already is recalled; the delta report lies in the run's folder, in every form.
"""

from itertools import islice

from trainwright.core.hashing import digest_json
from trainwright.core.manifest import EvaluateSection
from trainwright.core.records import Evaluation, ImportedModel, ImportedShape
from trainwright.core.traces import Trace
from trainwright.data.dataset import VALIDATION
from trainwright.data.trace_dataset import iter_traces
from trainwright.evaluate.comparison import Comparison
from trainwright.evaluate.generation import Decoding
from trainwright.evaluate.items import EvalItem
from trainwright.evaluate.statistics import ALPHA
from trainwright.evaluate.suites import PLACE
from trainwright.pipeline.compare import compare, write_comparison
from trainwright.pipeline.evaluate import evaluate_by_generation
from trainwright.pipeline.inspect import find_run
from trainwright.pipeline.journal import Journal
from trainwright.pipeline.questions import Question
from trainwright.pipeline.recall import recall
from trainwright.pipeline.run import Finished
from trainwright.pipeline.subjects import Subject, find_subject, open_base
from trainwright.store.run_folder import RunFolder
from trainwright.store.workspace import Workspace

EVALUATION_SEMANTICS = 1
"""Grows when the same checkpoint and items would be asked otherwise."""
REPORTS = ("delta.html", "delta.md", "delta.json")


def ask_before_and_after(
    after: Finished, section: EvaluateSection, workspace: Workspace, journal: Journal
) -> tuple[Comparison | None, Evaluation]:
    """How a run's model compares with the one that it started from (None: it started from random weights); its answers."""
    with journal.phase("evaluation") as phase:
        question = build_question(after, section, workspace)
        later, is_known = _recall_or_ask(
            find_subject(after.checkpoint.id, workspace), after, question, section, workspace, journal
        )
        before = _find_before(after, workspace)
        if before is None:
            phase.detail = f"{len(question.items):,} held-out problems asked; there is no model before this one"
            return None, later
        earlier, was_known = _recall_or_ask(before, after, question, section, workspace, journal)
        comparison = _compare(earlier, later, after, workspace)
        if is_known and was_known:
            phase.reuse()
        phase.artefacts |= {"evaluation": later.id, "evaluation_before": earlier.id}
        phase.detail = _summarise(comparison)
    after.artefacts.update({name: str((after.folder.path / name).resolve()) for name in REPORTS})
    return comparison, later


def lacks_comparison(folder: RunFolder, section: EvaluateSection) -> bool:
    """Whether a run that ended still has to be compared with what it started from."""
    plan = folder.read_plan()
    has_before = plan.start is not None or isinstance(plan.model, ImportedShape)
    return section.items > 0 and has_before and not all((folder.path / name).exists() for name in REPORTS)


def _find_before(finished: Finished, workspace: Workspace) -> Subject | None:
    """The model that a run started from: a checkpoint of ours, or one that was made elsewhere. None: random weights."""
    start = finished.prepared.plan.start
    return open_base(finished.prepared, workspace) if start is None else find_subject(start.source, workspace)


def build_question(finished: Finished, section: EvaluateSection, workspace: Workspace) -> Question:
    """The first held-out traces as items: the prompt, and the final answer. Conversations have none, and are left out."""
    dataset = finished.prepared.dataset
    traces = (trace for trace in iter_traces(dataset, VALIDATION, workspace.objects) if isinstance(trace, Trace))
    items = [
        EvalItem(
            id=trace.id,
            prompt=trace.prompt,
            expected_answer=trace.final_answer,
            category=_read_meta(trace, "category"),
            difficulty=_read_meta(trace, "difficulty"),
            section=_read_meta(trace, "section"),
        )
        for trace in islice(traces, section.items)
    ]
    return Question(f"{dataset.name}@{dataset.version}", tuple(items), PLACE)


def _read_meta(trace: Trace, key: str) -> str | None:
    value = (trace.meta or {}).get(key)
    return None if value is None else str(value)


def _recall_or_ask(
    subject: Subject,
    after: Finished,
    question: Question,
    section: EvaluateSection,
    workspace: Workspace,
    journal: Journal,
) -> tuple[Evaluation, bool]:
    """The evaluation of a model on these items, and whether it was there already."""
    rendering = after.prepared.token_set.rendering
    key = digest_json(
        {
            "stage": "evaluation",
            "semantics": EVALUATION_SEMANTICS,
            "checkpoint": subject.checkpoint or subject.base,
            "items": [item.model_dump(mode="json") for item in question.items],
            "rendering": None if rendering is None else rendering.model_dump(mode="json"),
            "max_tokens": section.max_tokens,
        }
    )
    known = recall(workspace, key, Evaluation)
    if known is not None:
        return known, True
    decoding = Decoding(max_tokens=section.max_tokens, temperature=0.0, top_k=0, top_p=1.0)
    found = evaluate_by_generation(
        subject,
        question,
        decoding,
        workspace,
        lambda done, total: journal.screen.show_progress("problems answered", done, total),
        rendering,
    )
    workspace.ledger.remember(key, found.record.id)
    return found.record, False


def _compare(earlier: Evaluation, later: Evaluation, finished: Finished, workspace: Workspace) -> Comparison:
    """The delta report, in every form, in the folder of the run."""
    comparison, before, after = compare(earlier.id, later.id, workspace, ALPHA)
    named = earlier.checkpoint or earlier.imported_model
    record = workspace.ledger.get(str(named))
    name = record.name if isinstance(record, ImportedModel) else find_run(str(named), workspace).name
    before = before.model_copy(update={"label": name})
    after = after.model_copy(update={"label": finished.run.name})
    for name in REPORTS:
        write_comparison(comparison, before, after, finished.folder.path / name, overwrite=True)
    return comparison


def _summarise(comparison: Comparison) -> str:
    delta = comparison.overall[0]
    if delta.a.value is None or delta.b.value is None:
        return f"{delta.metric.replace('_', ' ')}: not measured"
    return (
        f"{delta.metric.replace('_', ' ')} {delta.a.value:.1%} before, {delta.b.value:.1%} after, "
        f"on {comparison.num_items:,} held-out problems"
    )
