"""From a model, an endpoint or recorded outputs, and what is asked, to an Evaluation: outputs, item table, record."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from trainwright.backends.catalogue import open_backend
from trainwright.backends.protocol import Model
from trainwright.core.errors import InvalidValue, OutputExists
from trainwright.core.hashing import digest_json
from trainwright.core.records import Compute, Evaluation, EvaluationSettings, ItemScore, Rendering
from trainwright.core.seeds import derive_seed
from trainwright.evaluate.answer_likelihood import (
    AnswerLikelihood,
    is_sentence_pair,
    measure_answer,
    score_by_likelihood,
    score_pair,
)
from trainwright.evaluate.generation import Decoding
from trainwright.evaluate.items import EvalItem
from trainwright.evaluate.judge import Judge
from trainwright.evaluate.metrics import METRICS, order_metrics
from trainwright.evaluate.outputs import Output, read_predictions
from trainwright.evaluate.rows import render_rows
from trainwright.evaluate.table import build_aggregates, count_statuses, digest_code, parse_table, render_table
from trainwright.evaluate.text_likelihood import score_text
from trainwright.pipeline.asking import Asking, open_asking_as
from trainwright.pipeline.questions import Question
from trainwright.pipeline.scoring import Scoring, open_scoring
from trainwright.pipeline.subjects import Subject
from trainwright.store.unfinished_answers import UnfinishedAnswers
from trainwright.store.workspace import Workspace

Progress = Callable[[int, int], None]
"""Called with (items done, items in all)."""


@dataclass(frozen=True)
class Evaluated:
    """An evaluation with its table; `items` and `prompts` are those of the record."""

    record: Evaluation
    rows: list[ItemScore]
    items: list[EvalItem]
    prompts: list[str]


def evaluate_by_generation(
    subject: Subject,
    question: Question,
    decoding: Decoding,
    workspace: Workspace,
    progress: Progress,
    rendering: Rendering | None = None,
    judge: Judge | None = None,
) -> Evaluated:
    """Let a model answer every item, each on its own, and score what it writes.

    It is asked as it was taught; or, to be compared with another one, in that one's form: `rendering`.
    """
    scoring = open_scoring(question, workspace, judge)
    asking = open_asking_as(rendering or subject.rendering, subject.tokenizer, workspace)
    settings = describe_generation(question.asked(asking), decoding)
    asked = _open_asked(subject, asking, question, settings, workspace)

    def answer(item: EvalItem, prompt: str) -> dict[str, Any]:
        own = replace(decoding, seed=derive_seed(decoding.seed, "evaluate", item.id))
        ids = list(asking.iter_answer(asked.model, asking.encode(prompt), own))
        text = asking.finish(asking.tokenizer.decode(ids))
        finish: Literal["end", "length"] = "length" if len(ids) == own.max_tokens else "end"
        return Output(id=item.id, text=text, finish=finish).model_dump(mode="json")

    outputs = [Output.model_validate(document) for document in asked.iter_answers(answer, progress)]
    return asked.record(scoring.score(question, outputs), workspace, scoring.judge)


def evaluate_by_likelihood(subject: Subject, question: Question, workspace: Workspace, progress: Progress) -> Evaluated:
    """Measure how likely a model finds the expected answers, each on its own; of pairs of sentences, each sentence by itself.

    Raises InvalidValue where some items are pairs of sentences and some are not.
    """
    are_pairs = _require_one_kind(question)
    asking = open_asking_as(None if are_pairs else subject.rendering, subject.tokenizer, workspace)
    settings = EvaluationSettings(by="likelihood", template=question.asked(asking).template, sample=question.sample)
    asked = _open_asked(subject, asking, question, settings, workspace)

    def answer(item: EvalItem, prompt: str) -> list[dict[str, Any]]:
        def measure(text: str) -> AnswerLikelihood:
            before = "" if are_pairs else prompt
            return measure_answer(asked.model, before, text, asking.encode, asking.tokenizer.encode)

        return [
            row.model_dump(mode="json") for row in (score_pair if are_pairs else score_by_likelihood)(item, measure)
        ]

    return asked.record(_flatten(asked.iter_answers(answer, progress)), workspace)


def evaluate_by_text(subject: Subject, question: Question, workspace: Workspace, progress: Progress) -> Evaluated:
    """Measure how well a model predicts each item as a text of its own, however it is asked otherwise."""
    asking = open_asking_as(None, subject.tokenizer, workspace)
    settings = EvaluationSettings(by="text", template=question.template, window=subject.window, sample=question.sample)
    asked = _open_asked(subject, asking, question, settings, workspace)
    first = asking.tokenizer.special_tokens.end or 0

    def answer(item: EvalItem, _: str) -> list[dict[str, Any]]:
        rows = score_text(item, asked.model, asking.tokenizer.encode, window=subject.window, first_context=first)
        return [row.model_dump(mode="json") for row in rows]

    return asked.record(_flatten(asked.iter_answers(answer, progress)), workspace)


def evaluate_predictions(
    predictions: Path, question: Question, workspace: Workspace, judge: Judge | None = None
) -> Evaluated:
    """Score outputs that were recorded elsewhere, without any model. Raises what `read_predictions` raises."""
    scoring = open_scoring(question, workspace, judge)
    outputs = read_predictions(predictions, question.items)
    settings = EvaluationSettings(by="predictions", template=question.template, sample=question.sample)
    return record_outputs(question, outputs, scoring, settings, workspace)


def read_evaluation(record: Evaluation, workspace: Workspace) -> Evaluated:
    """An evaluation's table, items and prompts, verified. Raises ObjectMissing, ObjectDamaged."""
    items = [EvalItem.model_validate(document) for document in _read_lines(workspace.objects.get(record.items))]
    prompts = [str(document["prompt"]) for document in _read_lines(workspace.objects.get(record.prompts))]
    return Evaluated(record, parse_table(workspace.objects.get(record.table)), items, prompts)


# ── what is shared with other ways of asking ──────────────────────────────────────────────────────────────────────────
def describe_generation(question: Question, decoding: Decoding) -> EvaluationSettings:
    """How outputs were asked for; `question` in the form in which it was read."""
    return EvaluationSettings(
        by="generation",
        template=question.template,
        max_tokens=decoding.max_tokens,
        temperature=decoding.temperature,
        top_k=decoding.top_k,
        top_p=decoding.top_p,
        seed=decoding.seed,
        sample=question.sample,
    )


def record_outputs(
    question: Question,
    outputs: Sequence[Output],
    scoring: Scoring,
    settings: EvaluationSettings,
    workspace: Workspace,
) -> Evaluated:
    """Put outputs on record that no model of ours wrote, with their scores."""
    digest = workspace.objects.put(render_rows(outputs))
    rows = scoring.score(question, outputs)
    return _record(question, rows, settings, workspace, predictions=digest, judge=scoring.judge)


def build_prompt_rows(items: Sequence[EvalItem], prompts: Sequence[str]) -> list[dict[str, str]]:
    """Each item's id with the prompt as it was read."""
    return [{"id": item.id, "prompt": prompt} for item, prompt in zip(items, prompts, strict=True)]


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

    def record(self, rows: list[ItemScore], workspace: Workspace, judge: str | None = None) -> Evaluated:
        question = self.question.asked(self.asking)
        made = _record(
            question,
            rows,
            self.settings,
            workspace,
            checkpoint=self.subject.checkpoint,
            imported_model=self.subject.base,
            compute=self.compute,
            judge=judge,
        )
        self.answers.discard()
        return made


def _open_asked(
    subject: Subject, asking: Asking, question: Question, settings: EvaluationSettings, workspace: Workspace
) -> _Asked:
    compute = subject.compute
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
    judge: str | None = None,
) -> Evaluated:
    items, prompts = list(question.items), question.prompts
    suite = None if question.suite is None else workspace.objects.put(question.suite.content)
    record = Evaluation(
        checkpoint=checkpoint,
        predictions=predictions,
        evalset=question.name,
        items=workspace.objects.put(render_rows(items)),
        prompts=workspace.objects.put(render_rows(build_prompt_rows(items, prompts))),
        num_items=len(items),
        settings=settings,
        compute=compute,
        metrics={name: METRICS[name].version for name in order_metrics(row.metric for row in rows)},
        code=digest_code(),
        statuses=count_statuses(rows),
        aggregates=build_aggregates(rows),
        table=workspace.objects.put(render_table(rows)),
        imported_model=imported_model,
        suite=suite,
        judge=judge,
    )
    workspace.ledger.put(record)
    return Evaluated(record, rows, items, prompts)


def _read_lines(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def _flatten(answers: Iterator[Any]) -> list[ItemScore]:
    return [ItemScore.model_validate(row) for rows in answers for row in rows]


def _require_one_kind(question: Question) -> bool:
    """Whether the items are pairs of sentences. Raises InvalidValue where some are, and some are not."""
    kinds = {is_sentence_pair(item) for item in question.items}
    if len(kinds) > 1:
        raise InvalidValue(
            f"{question.name} has pairs of sentences and other items.",
            why="Sentences are measured as they stand, answers after a prompt.",
            next_step="Put them into files of their own.",
        )
    return kinds.pop()
