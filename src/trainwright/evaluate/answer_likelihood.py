"""How likely a model finds an answer after a prompt: log P(answer | prompt), raw and per UTF-8 byte of the answer.

Prompt and answer are encoded apart, as in generation, where the prompt is fixed before anything is written. Where the
prompt does not end in white space, one space stands before the answer.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from trainwright.backends.protocol import IGNORED, Batch, Model
from trainwright.core.records import ItemScore
from trainwright.evaluate.items import EvalItem

Encode = Callable[[str], Sequence[int]]


@dataclass(frozen=True)
class AnswerLikelihood:
    """Log-probability in nats, summed over the answer's tokens, and the answer's length in UTF-8 bytes."""

    logprob: float
    num_bytes: int

    @property
    def per_byte(self) -> float:
        """Nats per byte: comparable between answers of different length, and across tokenizers."""
        return self.logprob / self.num_bytes


def measure_answer(model: Model, prompt: str, answer: str, encode_prompt: Encode, encode: Encode) -> AnswerLikelihood:
    """Score one answer after one prompt, in a batch of its own."""
    prompt_ids = encode_prompt(prompt)
    answer_ids = encode(join_answer(prompt, answer))
    ids = np.array([*prompt_ids, *answer_ids], np.int32)
    targets_BT = ids[None, 1:].copy()
    targets_BT[0, : len(prompt_ids) - 1] = IGNORED
    scores = model.score(Batch(ids[None, :-1].copy(), targets_BT))
    return AnswerLikelihood(-float(scores.nll_BT.sum(dtype=np.float64)), len(answer.encode("utf-8")))


def join_answer(prompt: str, answer: str) -> str:
    """The answer as it follows the prompt."""
    return answer if not prompt or prompt[-1].isspace() else f" {answer}"


def score_by_likelihood(item: EvalItem, measure: Callable[[str], AnswerLikelihood]) -> list[ItemScore]:
    """The rows of one item; `measure` gives the likelihood of an answer to it."""
    expected = item.find_choice()
    answers = item.choices if item.choices is not None and expected is not None else (item.expected_answer,)
    target = answers[expected or 0]
    found = [measure(answer) for answer in answers]
    rows = [
        _make_row(item, "answer_logprob", found[expected or 0].logprob, target),
        _make_row(item, "answer_logprob_per_byte", found[expected or 0].per_byte, target),
    ]
    if expected is None:
        return rows
    for metric, values in (
        ("choice_correct", [one.logprob for one in found]),
        ("choice_correct_per_byte", [one.per_byte for one in found]),
    ):
        if all(map(math.isfinite, values)):
            chosen = max(range(len(values)), key=values.__getitem__)
            rows.append(_make_row(item, metric, float(chosen == expected), target, answers[chosen]))
        else:
            rows.append(_make_row(item, metric, math.nan, target))
    return rows


def _make_row(item: EvalItem, metric: str, score: float, target: str, chosen: str | None = None) -> ItemScore:
    is_finite = math.isfinite(score)
    return ItemScore(
        item_id=item.id,
        cluster_id=item.cluster_id,
        slices=item.slices,
        metric=metric,
        score=score if is_finite else None,
        output=None,
        answer=chosen,
        target=target,
        status="scored" if is_finite else "error",
        why="" if is_finite else "the model's log-probability is not finite",
    )
