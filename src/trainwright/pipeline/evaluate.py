"""From a checkpoint, or recorded outputs, and an evalset to an Evaluation: outputs, item table, record."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from trainwright.backends.catalogue import open_backend
from trainwright.backends.protocol import Model
from trainwright.core.durable import write_file
from trainwright.core.errors import InvalidValue, OutputExists, SourceUnreadable
from trainwright.core.hashing import canonical_json, digest_bytes, digest_json
from trainwright.core.records import (
    Compute,
    Evaluation,
    EvaluationSettings,
    ImportedShape,
    ItemScore,
    Rendering,
    Shape,
)
from trainwright.core.seeds import derive_seed
from trainwright.core.state import Weights
from trainwright.evaluate.answer_likelihood import AnswerLikelihood, measure_answer, score_by_likelihood
from trainwright.evaluate.generation import Decoding
from trainwright.evaluate.ground_truth import score_outputs
from trainwright.evaluate.items import EvalItem, read_items
from trainwright.evaluate.metrics import METRICS, order_metrics
from trainwright.evaluate.outputs import Output, read_predictions
from trainwright.evaluate.prediction_traces import build_trace
from trainwright.evaluate.rows import render_rows
from trainwright.evaluate.table import build_aggregates, count_statuses, digest_code, parse_table, render_table
from trainwright.pipeline.asking import Asking, open_asking, open_asking_as
from trainwright.pipeline.imported import locate_base, read_model_weights
from trainwright.pipeline.prepare import Prepared
from trainwright.pipeline.use import find_model
from trainwright.store.checkpoints import read_checkpoint
from trainwright.store.unfinished_answers import UnfinishedAnswers
from trainwright.store.workspace import Workspace

PLACE = "{prompt}"
Progress = Callable[[int, int], None]
"""Called with (items done, items in all)."""


@dataclass(frozen=True)
class Question:
    """What is asked: the items, and what stands around their prompts."""

    name: str
    items: tuple[EvalItem, ...]
    template: str

    @property
    def prompts(self) -> list[str]:
        """Each item's prompt as the model reads it."""
        return [self.template.replace(PLACE, item.prompt) for item in self.items]

    def asked(self, asking: Asking) -> "Question":
        """The same question in the form in which a model is asked."""
        return replace(self, template=asking.as_text.replace(PLACE, self.template))


@dataclass(frozen=True)
class Evaluated:
    """An evaluation with its table; `items` and `prompts` are those of the record."""

    record: Evaluation
    rows: list[ItemScore]
    items: list[EvalItem]
    prompts: list[str]


def read_question(evalset: Path, template: str = PLACE) -> Question:
    """The items of a file. In the template, `\\n` and `\\t` stand for a line end and a tab.

    Raises InvalidValue for a template without `{prompt}`; what `read_items` raises.
    """
    template = template.replace("\\n", "\n").replace("\\t", "\t")
    if template.count(PLACE) != 1:
        raise InvalidValue(
            f"The template {template!r} does not say where the prompt goes.",
            why=f"{PLACE} stands in it {template.count(PLACE)} times.",
            next_step=f"Write it once, for example: 'Question: {PLACE}\\n'",
        )
    return Question(evalset.stem, tuple(read_items(evalset)), template)


@dataclass(frozen=True)
class Subject:
    """Who is asked: a checkpoint of ours, or a model that was made elsewhere, as it came."""

    prepared: Prepared
    shape: Shape
    checkpoint: str | None
    base: str | None
    read_weights: Callable[[], Weights]


def find_subject(ref: str, workspace: Workspace) -> Subject:
    """The model that `ref` names. Raises what `find_model` raises."""
    model = find_model(ref, workspace)
    shape, checkpoint = model.prepared.plan.model, read_checkpoint(model.path).record.id
    return Subject(model.prepared, shape, checkpoint, None, lambda: read_model_weights(shape, model.path, workspace))


def open_base(prepared: Prepared, workspace: Workspace) -> Subject | None:
    """The model made elsewhere that a plan starts from, without what was trained; None where it starts otherwise."""
    shape = prepared.plan.model
    if not isinstance(shape, ImportedShape) or prepared.plan.start is not None:
        return None
    bare = shape.model_copy(update={"adapter": None})
    return Subject(prepared, bare, None, shape.base, locate_base(shape, workspace).read)


def evaluate_by_generation(
    asked_one: str | Subject,
    question: Question,
    decoding: Decoding,
    workspace: Workspace,
    progress: Progress,
    rendering: Rendering | None = None,
) -> Evaluated:
    """Let a model answer every item, each on its own, and score what it writes. Raises what `find_model` raises.

    It is asked as it was taught; or, to be compared with another one, in that one's form: `rendering`.
    """
    subject = find_subject(asked_one, workspace) if isinstance(asked_one, str) else asked_one
    prepared = subject.prepared
    asking = open_asking_as(rendering or prepared.token_set.rendering, prepared.tokenizer, workspace)
    settings = EvaluationSettings(
        by="generation",
        template=question.asked(asking).template,
        max_tokens=decoding.max_tokens,
        temperature=decoding.temperature,
        top_k=decoding.top_k,
        top_p=decoding.top_p,
        seed=decoding.seed,
    )
    asked = _open_asked(subject, asking, question, settings, workspace)

    def answer(item: EvalItem, prompt: str) -> dict[str, Any]:
        own = replace(decoding, seed=derive_seed(decoding.seed, "evaluate", item.id))
        ids = list(asking.iter_answer(asked.model, asking.encode(prompt), own))
        text = asking.finish(asking.tokenizer.decode(ids))
        finish: Literal["end", "length"] = "length" if len(ids) == own.max_tokens else "end"
        return Output(id=item.id, text=text, finish=finish).model_dump(mode="json")

    outputs = [Output.model_validate(document) for document in asked.iter_answers(answer, progress)]
    return asked.record(score_outputs(question.items, outputs), workspace)


def evaluate_by_likelihood(ref: str, question: Question, workspace: Workspace, progress: Progress) -> Evaluated:
    """Measure how likely a model finds the expected answers, each on its own. Raises what `find_model` raises."""
    subject = find_subject(ref, workspace)
    asking = open_asking(subject.prepared, workspace)
    settings = EvaluationSettings(by="likelihood", template=question.asked(asking).template)
    asked = _open_asked(subject, asking, question, settings, workspace)

    def answer(item: EvalItem, prompt: str) -> list[dict[str, Any]]:
        def measure(text: str) -> AnswerLikelihood:
            return measure_answer(asked.model, prompt, text, asking.encode, asking.tokenizer.encode)

        return [row.model_dump(mode="json") for row in score_by_likelihood(item, measure)]

    rows = [ItemScore.model_validate(row) for rows in asked.iter_answers(answer, progress) for row in rows]
    return asked.record(rows, workspace)


def evaluate_predictions(predictions: Path, question: Question, workspace: Workspace) -> Evaluated:
    """Score outputs that were recorded elsewhere, without any model. Raises what `read_predictions` raises."""
    outputs = read_predictions(predictions, question.items)
    digest = workspace.objects.put(render_rows(outputs))
    settings = EvaluationSettings(by="predictions", template=question.template)
    return _record(question, score_outputs(question.items, outputs), settings, workspace, predictions=digest)


def read_evaluation(record: Evaluation, workspace: Workspace) -> Evaluated:
    """An evaluation's table, items and prompts, verified. Raises ObjectMissing, ObjectDamaged."""
    items = [EvalItem.model_validate(document) for document in _read_lines(workspace.objects.get(record.items))]
    prompts = [str(document["prompt"]) for document in _read_lines(workspace.objects.get(record.prompts))]
    return Evaluated(record, parse_table(workspace.objects.get(record.table)), items, prompts)


# ── files ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def write_evaluation(evaluated: Evaluated, path: Path, *, overwrite: bool) -> None:
    """One JSON file with the record and all that it names, for `compare` on another machine."""
    require_new(path, overwrite=overwrite)
    document = {
        "evaluation": evaluated.record.model_dump(mode="json"),
        "items": [item.model_dump(mode="json") for item in evaluated.items],
        "prompts": _prompt_rows(evaluated.items, evaluated.prompts),
        "table": [row.model_dump(mode="json") for row in evaluated.rows],
    }
    write_file(path, canonical_json(document) + b"\n")


def read_evaluation_file(path: Path) -> Evaluated:
    """What `write_evaluation` wrote, verified by its digests. Raises SourceUnreadable."""
    try:
        document = json.loads(path.read_bytes())
        evaluated = Evaluated(
            Evaluation.model_validate(document["evaluation"]),
            [ItemScore.model_validate(row) for row in document["table"]],
            [EvalItem.model_validate(item) for item in document["items"]],
            [str(row["prompt"]) for row in document["prompts"]],
        )
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise SourceUnreadable(
            f"{path} is no evaluation.",
            why=" ".join(str(error).split())[:300],
            next_step="Write one with: trainwright evaluate … --output FILE.json",
        ) from error
    _require_unchanged(evaluated, path)
    return evaluated


def write_prediction_traces(evaluated: Evaluated, path: Path, *, overwrite: bool) -> tuple[int, int]:
    """The outputs as traces that can be imported. Returns how many were written, and how many were empty and left out."""
    require_new(path, overwrite=overwrite)
    answers = [row for row in evaluated.rows if row.metric.startswith("answer_") and row.output is not None]
    prompts = dict(zip((item.id for item in evaluated.items), evaluated.prompts, strict=True))
    traces = [build_trace(row, prompts[row.item_id], evaluated.record.id) for row in answers]
    kept = [trace for trace in traces if trace is not None]
    write_file(path, render_rows(kept))
    return len(kept), evaluated.record.num_items - len(kept)


def require_new(path: Path | None, *, overwrite: bool) -> None:
    """Raises OutputExists where something is there already that may not be replaced."""
    if path is not None and path.exists() and not (overwrite and path.is_file()):
        raise OutputExists(
            f"{path} is there already.",
            why="Nothing of yours is overwritten unasked.",
            next_step="Choose another name, or add --overwrite to replace the file.",
        )


# ── parts ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class _Asked:
    """A model that is being asked. What it answered is kept item by item until the evaluation is on record."""

    question: Question
    settings: EvaluationSettings
    subject: Subject
    compute: Compute
    model: Model
    asking: Asking
    answers: UnfinishedAnswers

    def iter_answers(self, answer: Callable[[EvalItem, str], Any], progress: Progress) -> Iterator[Any]:
        """What `answer` gives for every item, in order; what an interrupted evaluation gave already is taken from there."""
        items = self.question.items
        for number, (item, prompt) in enumerate(zip(items, self.question.prompts, strict=True), start=1):
            yield self.answers.get_or_add(item.id, lambda item=item, prompt=prompt: answer(item, prompt))  # type: ignore[misc]
            progress(number, len(items))

    def record(self, rows: list[ItemScore], workspace: Workspace) -> Evaluated:
        question = self.question.asked(self.asking)
        made = _record(
            question,
            rows,
            self.settings,
            workspace,
            checkpoint=self.subject.checkpoint,
            imported_model=self.subject.base,
            compute=self.compute,
        )
        self.answers.discard()
        return made


def _open_asked(
    subject: Subject, asking: Asking, question: Question, settings: EvaluationSettings, workspace: Workspace
) -> _Asked:
    compute = subject.prepared.plan.compute.for_writing()
    key = {
        "checkpoint": subject.checkpoint or subject.base,
        "items": [item.model_dump(mode="json") for item in question.items],
        "settings": settings.model_dump(mode="json"),
        "compute": compute.model_dump(mode="json"),
        "code": digest_code(),
    }
    return _Asked(
        question=question,
        settings=settings,
        subject=subject,
        compute=compute,
        model=open_backend(compute.framework).open_model(subject.shape, subject.read_weights(), compute),
        asking=asking,
        answers=UnfinishedAnswers(workspace.root / "evaluations" / f"{digest_json(key)}.jsonl"),
    )


def _record(
    question: Question,
    rows: list[ItemScore],
    settings: EvaluationSettings,
    workspace: Workspace,
    *,
    checkpoint: str | None = None,
    predictions: str | None = None,
    imported_model: str | None = None,
    compute: Compute | None = None,
) -> Evaluated:
    items, prompts = list(question.items), question.prompts
    record = Evaluation(
        checkpoint=checkpoint,
        predictions=predictions,
        evalset=question.name,
        items=workspace.objects.put(render_rows(items)),
        prompts=workspace.objects.put(render_rows(_prompt_rows(items, prompts))),
        num_items=len(items),
        settings=settings,
        compute=compute,
        metrics={name: METRICS[name].version for name in order_metrics(row.metric for row in rows)},
        code=digest_code(),
        statuses=count_statuses(rows),
        aggregates=build_aggregates(rows),
        table=workspace.objects.put(render_table(rows)),
        imported_model=imported_model,
    )
    workspace.ledger.put(record)
    return Evaluated(record, rows, items, prompts)


def _prompt_rows(items: Sequence[EvalItem], prompts: Sequence[str]) -> list[dict[str, str]]:
    return [{"id": item.id, "prompt": prompt} for item, prompt in zip(items, prompts, strict=True)]


def _read_lines(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def _require_unchanged(evaluated: Evaluated, path: Path) -> None:
    record = evaluated.record
    found = {
        "items": (record.items, render_rows(evaluated.items)),
        "prompts": (record.prompts, render_rows(_prompt_rows(evaluated.items, evaluated.prompts))),
        "table": (record.table, render_table(evaluated.rows)),
    }
    changed = [name for name, (digest, data) in found.items() if digest_bytes(data) != digest]
    if changed:
        raise SourceUnreadable(
            f"{path} is not what it was when it was written.",
            why=f"Changed: {', '.join(changed)}.",
            next_step="Evaluate again, and write it anew.",
        )
