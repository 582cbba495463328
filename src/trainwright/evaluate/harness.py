"""lm-evaluation-harness: our model in its tasks, and its logged samples in our item table.

The harness (github.com/EleutherAI/lm-evaluation-harness, the extra `lm-eval`) asks a model three things: how likely a
continuation is, how likely a whole text is, and what it writes until something stops it. Tasks come from local files; nothing
is downloaded for a task whose data is local too.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lm_eval import simple_evaluate
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager

from trainwright.backends.protocol import IGNORED, Batch, Model
from trainwright.core.errors import InvalidValue
from trainwright.core.records import ItemScore
from trainwright.evaluate.generation import Decoding
from trainwright.evaluate.items import EvalItem

METRIC_NAMES = {
    "acc": "choice_correct",
    "acc_norm": "choice_correct_per_character",
    "exact_match": "answer_correct",
    "f1": "answer_f1",
}
"""{the harness's metric of one sample: ours}. Others stay in the harness's own results."""
TEXT_METRIC = "bits_per_byte"
"""The harness logs (log-likelihood, bytes) of a text under it."""
DEFAULT_NUM_TOKENS = 256

Encode = Callable[[str], Sequence[int]]
Write = Callable[[str, Decoding, Callable[[str], bool]], str]
"""From a prompt, how to draw, and what says that the text so far is enough, to the text."""


@dataclass(frozen=True)
class Asked:
    """A model as the harness needs it: ids of a prompt and of what follows it, its window, and how it writes."""

    model: Model
    encode_prompt: Encode
    encode: Encode
    window: int
    write: Write


class BridgedModel(LM):  # type: ignore[misc]
    """The harness's three methods over a model of ours. Requests are answered one by one."""

    def __init__(self, asked: Asked) -> None:
        super().__init__()
        self.asked = asked

    def loglikelihood(self, requests: Iterable[Any]) -> list[tuple[float, bool]]:
        """(log-probability of the continuation in nats, whether each of its tokens is the likeliest) of each request."""
        return [self._score(*request.args) for request in requests]

    def _score(self, context: str, continuation: str) -> tuple[float, bool]:
        following = list(self.asked.encode(continuation))
        # A prompt that is too long loses its beginning, as everywhere in the harness.
        before = list(self.asked.encode_prompt(context))[-max(1, self.asked.window + 1 - len(following)) :]
        ids = np.array([*before, *following], np.int32)
        targets_BT = ids[None, 1:].copy()
        targets_BT[0, : len(before) - 1] = IGNORED
        scores = self.asked.model.score(Batch(ids[None, :-1].copy(), targets_BT))
        is_greedy = bool(scores.correct_BT[0, len(before) - 1 :].all())
        return -float(scores.nll_BT.sum(dtype=np.float64)), is_greedy

    def loglikelihood_rolling(self, requests: Iterable[Any]) -> list[float]:
        """Log-probability of each text in nats, in windows that do not overlap, each after the token before it."""
        return [self._score_text(request.args[0]) for request in requests]

    def _score_text(self, text: str) -> float:
        ids = np.array([*self.asked.encode_prompt("")[-1:], *self.asked.encode(text)], np.int32)
        total = 0.0
        for start in range(0, len(ids) - 1, self.asked.window):
            part = ids[start : start + self.asked.window + 1]
            scores = self.asked.model.score(Batch(part[None, :-1].copy(), part[None, 1:].copy()))
            total -= float(scores.nll_BT.sum(dtype=np.float64))
        return total

    def generate_until(self, requests: Iterable[Any]) -> list[str]:
        """What is written after each prompt, up to the first of its stops."""
        return [self._write(*request.args) for request in requests]

    def _write(self, context: str, settings: Mapping[str, Any]) -> str:
        until = settings.get("until") or []
        stops = [until] if isinstance(until, str) else [stop for stop in until if stop]
        temperature = float(settings.get("temperature") or 0.0) if settings.get("do_sample") else 0.0
        decoding = Decoding(
            max_tokens=int(settings.get("max_gen_toks") or DEFAULT_NUM_TOKENS), temperature=temperature, top_p=1.0
        )
        text = self.asked.write(context, decoding, lambda so_far: any(stop in so_far for stop in stops))
        for stop in stops:
            text = text.partition(stop)[0]
        return text


@dataclass(frozen=True)
class HarnessResult:
    """What the harness made of one task: its own figures, our items and rows of them, and metrics that we have no rows for."""

    figures: dict[str, float]
    items: list[EvalItem]
    rows: list[ItemScore]
    left_out: list[str]


def run_task(asked: Asked, task: str, include_path: Path, limit: int | None) -> HarnessResult:
    """One task of the files at `include_path`, by the harness's own code. Raises InvalidValue for a task that is not there."""
    tasks = TaskManager(include_path=str(include_path), include_defaults=False)
    if task not in tasks.all_tasks:
        raise InvalidValue(
            f"There is no task {task} in {include_path}.",
            why=f"It has {', '.join(tasks.all_tasks) or 'no tasks'}.",
            next_step="Name the folder of the task's YAML file with --include-path.",
        )
    found = simple_evaluate(
        model=BridgedModel(asked), tasks=[task], task_manager=tasks, limit=limit, bootstrap_iters=0, log_samples=True
    )
    figures = {
        name.partition(",")[0]: float(value)
        for name, value in found["results"][task].items()
        if isinstance(value, int | float) and "_stderr" not in name and math.isfinite(value)
    }
    return convert_samples(found["samples"][task], task, figures)


def convert_samples(samples: Sequence[Mapping[str, Any]], task: str, figures: dict[str, float]) -> HarnessResult:
    """The harness's logged samples as items and rows of an item table."""
    items: dict[str, EvalItem] = {}
    rows: list[ItemScore] = []
    left_out: set[str] = set()
    for sample in samples:
        item = _build_item(sample, task)
        items[item.id] = item
        for name in sample["metrics"]:
            made = _build_rows(item, sample, name)
            rows += made
            left_out |= set() if made else {name}
    return HarnessResult(figures, list(items.values()), rows, sorted(left_out))


def _build_item(sample: Mapping[str, Any], task: str) -> EvalItem:
    """The arguments are a list of tuples, or, where they were logged as JSON, {"gen_args_0": {"arg_0": …}}."""
    arguments = sample["arguments"]
    first = next(iter(arguments.values())) if isinstance(arguments, Mapping) else arguments[0]
    prompt = next(iter(first.values())) if isinstance(first, Mapping) else first[0]
    return EvalItem(id=f"{task}-{sample['doc_id']}", prompt=str(prompt), expected_answer=str(sample["target"]))


def _build_rows(item: EvalItem, sample: Mapping[str, Any], name: str) -> list[ItemScore]:
    value = sample[name]
    if name == TEXT_METRIC:
        log_likelihood, num_bytes = value
        return [_build_row(item, "text_nats", -log_likelihood), _build_row(item, "text_bytes", num_bytes)]
    if name not in METRIC_NAMES:
        return []
    said = sample["filtered_resps"][0]
    return [_build_row(item, METRIC_NAMES[name], float(value), said if isinstance(said, str) else None)]


def _build_row(item: EvalItem, metric: str, score: float, output: str | None = None) -> ItemScore:
    is_finite = math.isfinite(score)
    return ItemScore(
        item_id=item.id,
        cluster_id=None,
        slices={},
        metric=metric,
        score=float(score) if is_finite else None,
        output=output,
        answer=output,
        target=item.expected_answer,
        status="scored" if is_finite else "error",
        why="" if is_finite else "the harness's figure is not finite",
    )
