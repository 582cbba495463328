"""How likely an answer is after a prompt, held against the model's own logits, token by token."""

import math

import numpy as np
import pytest

from trainwright.backends.initial import build_initial_weights
from trainwright.backends.reference import ReferenceModel
from trainwright.core.records import ModelShape
from trainwright.evaluate.answer_likelihood import (
    AnswerLikelihood,
    is_sentence_pair,
    join_answer,
    measure_answer,
    score_by_likelihood,
    score_pair,
)
from trainwright.evaluate.items import EvalItem

SHAPE = ModelShape(
    vocab_size=128, hidden_size=8, num_layers=1, num_heads=2, num_kv_heads=1, head_dim=4, intermediate_size=8
)


def encode(text):
    return list(text.encode("ascii"))


def encode_prompt(text):
    return [0, *encode(text)]


@pytest.fixture(scope="module")
def model():
    return ReferenceModel(SHAPE, build_initial_weights(SHAPE, seed=1, init_scale=0.5))


def test_likelihood_is_the_sum_over_the_answers_tokens_after_the_prompt(model):
    found = measure_answer(model, "Two and two?", "four", encode_prompt, encode)
    decoder, total = model.open_decoder(), 0.0
    logits_V = decoder.feed(encode_prompt("Two and two?"))
    for token in encode(" four"):
        shifted = logits_V - logits_V.max()
        total += float(shifted[token] - np.log(np.exp(shifted).sum()))
        logits_V = decoder.feed([token])
    assert found.logprob == pytest.approx(total, rel=1e-5)
    assert found.per_byte == pytest.approx(total / 4, rel=1e-5)


def test_space_stands_between_prompt_and_answer_where_there_is_none():
    assert join_answer("Q:", "yes") == " yes"
    assert join_answer("Q: ", "yes") == join_answer("Q:\n", "yes") == join_answer("", "yes") == "yes"


def test_one_token_prompt_and_answer_can_be_scored(model):
    found = measure_answer(model, "", "x", encode_prompt, encode)
    assert math.isfinite(found.logprob)
    assert found.logprob < 0


def rows_of(item, likelihoods):
    return {row.metric: row for row in score_by_likelihood(item, likelihoods.__getitem__)}


def test_likeliest_choice_is_chosen_raw_and_per_byte():
    item = EvalItem(id="a", prompt="p", expected_answer="B", choices=("no", "certainly"), category="x")
    rows = rows_of(item, {"no": AnswerLikelihood(-2.0, 2), "certainly": AnswerLikelihood(-4.5, 9)})
    assert {name: row.score for name, row in rows.items()} == {
        "answer_logprob": -4.5, "answer_logprob_per_byte": -0.5, "choice_correct": 0.0, "choice_correct_per_byte": 1.0,
    }  # fmt: skip
    assert (rows["choice_correct"].answer, rows["choice_correct_per_byte"].answer) == ("no", "certainly")
    assert {row.target for row in rows.values()} == {"certainly"}
    assert rows["choice_correct"].slices == {"category": "x"}


def test_without_choices_only_the_expected_answer_is_measured():
    rows = rows_of(EvalItem(id="a", prompt="p", expected_answer="5"), {"5": AnswerLikelihood(-3.0, 1)})
    assert set(rows) == {"answer_logprob", "answer_logprob_per_byte"}


def test_likelihood_that_is_not_finite_is_an_error_and_no_score():
    item = EvalItem(id="a", prompt="p", expected_answer="no", choices=("no", "yes"))
    rows = rows_of(item, {"no": AnswerLikelihood(-2.0, 2), "yes": AnswerLikelihood(math.nan, 3)})
    assert rows["answer_logprob"].score == -2.0
    assert (rows["choice_correct"].status, rows["choice_correct"].score) == ("error", None)


def test_item_without_an_expected_answer_is_not_measured():
    rows = rows_of(EvalItem(id="a", prompt="p", choices=("no", "yes")), {})
    assert (rows["answer_logprob"].status, rows["answer_logprob"].score) == ("unavailable", None)


# ── BBQ ───────────────────────────────────────────────────────────────────────────────────────────────────────────────
LIKELIEST = {"young": -3.0, "unknown": -2.0, "old": -1.0}


@pytest.mark.parametrize(
    ("expected", "biased", "likeliest", "kind", "score", "status"),
    [
        ("unknown", 2, "old", "biased", 0.0, "scored"),
        ("unknown", 0, "old", "unbiased", 0.0, "scored"),
        ("unknown", 2, "unknown", "unknown", 1.0, "scored"),
        ("old", 2, "old", "biased", 1.0, "scored"),
        ("young", 2, "old", "biased", 0.0, "scored"),
        ("unknown", None, "old", None, None, "unavailable"),
        ("unknown", None, "unknown", "unknown", 1.0, "scored"),
    ],
)
def test_kind_of_the_likeliest_answer_is_told(expected, biased, likeliest, kind, score, status):
    meta = {"condition": "ambiguous", "biased_choice": biased, "unknown_choice": 1}
    item = EvalItem(
        id="a", prompt="p", expected_answer=expected, choices=tuple(LIKELIEST), meta=meta, sliced_by=("condition",)
    )
    found = {name: AnswerLikelihood(0.0 if name == likeliest else -5.0, 3) for name in LIKELIEST}
    row = rows_of(item, found)["bbq_answer"]
    assert (row.answer, row.score, row.status, row.slices) == (kind, score, status, {"condition": "ambiguous"})


# ── pairs of sentences ────────────────────────────────────────────────────────────────────────────────────────────────
PAIR = EvalItem(id="a", prompt="", choices=("more", "less"), meta={"direction": "stereo"})


@pytest.mark.parametrize(
    ("more", "less", "score", "status", "answer"),
    [
        (-1.0, -2.0, 1.0, "scored", "more"),
        (-2.0, -1.0, 0.0, "scored", "less"),
        (-2.0, -2.0, None, "unparsed", None),
        (-2.0, math.nan, None, "error", None),
    ],
)
def test_likelier_sentence_of_a_pair_is_preferred(more, less, score, status, answer):
    found = {"more": AnswerLikelihood(more, 4), "less": AnswerLikelihood(less, 4)}
    assert is_sentence_pair(PAIR)
    (row,) = score_pair(PAIR, found.__getitem__)
    assert (row.metric, row.score, row.status, row.answer) == ("prefers_stereotype", score, status, answer)


def test_choices_of_a_question_are_no_pair_of_sentences():
    assert not is_sentence_pair(EvalItem(id="a", prompt="p", expected_answer="no", choices=("no", "yes")))
