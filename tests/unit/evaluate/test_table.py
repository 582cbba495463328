"""From outputs to rows, from rows to bytes and back, and to figures that can be counted by hand."""

import pytest
from pydantic import ValidationError

from trainwright.core.errors import ObjectDamaged
from trainwright.core.records import ItemScore
from trainwright.evaluate.ground_truth import score_outputs
from trainwright.evaluate.items import EvalItem
from trainwright.evaluate.metrics import METRICS, read_value
from trainwright.evaluate.outputs import Output
from trainwright.evaluate.prediction_traces import build_trace
from trainwright.evaluate.table import (
    SCORING_MODULES,
    build_aggregates,
    classify_outcomes,
    count_statuses,
    digest_code,
    parse_table,
    render_table,
)

SAID = {
    "both right": "1. Add: 12 + 5 = 17.\nAnswer: 17",
    "steps wrong": "1. Add: 12 + 5 = 18.\nAnswer: 17",
    "both wrong": "1. Add: 12 + 5 = 18.\nAnswer: 18",
    "no steps": "17",
    "nothing": "",
    "words": "I cannot\nsay.",
}


@pytest.fixture(scope="module")
def rows():
    items = [EvalItem(id=name, prompt="What is 12 + 5?", expected_answer="17", category="sum") for name in SAID]
    return score_outputs(items, [Output(id=name, text=text, finish="end") for name, text in SAID.items()])


def find(rows, item_id, metric):
    return next(row for row in rows if (row.item_id, row.metric) == (item_id, metric))


def test_right_answer_by_wrong_steps_is_told_apart_from_both_right(rows):
    assert classify_outcomes(rows) == {
        "both right": "right_steps_right",
        "steps wrong": "right_steps_wrong",
        "both wrong": "not_right",
        "no steps": "right_steps_unknown",
        "nothing": "not_right",
        "words": "not_right",
    }
    wrong = find(rows, "steps wrong", "steps_correct")
    assert (wrong.score, wrong.why) == (0.0, "not so: 12 + 5 = 18")
    assert find(rows, "steps wrong", "answer_correct").score == 1.0


def test_what_could_not_be_read_has_no_score_and_says_why(rows):
    assert find(rows, "nothing", "answer_correct").why == "the output is empty"
    unread = find(rows, "words", "answer_correct")
    assert (unread.status, unread.score, unread.why) == ("unparsed", None, "no number was found in the output")
    assert find(rows, "no steps", "steps_correct").status == "unparsed"


def test_figures_are_those_counted_by_hand(rows):
    assert count_statuses(rows) == {
        "answer_correct": {"scored": 4, "unparsed": 2}, "steps_correct": {"scored": 3, "unparsed": 3},
    }  # fmt: skip
    found = {name: measure.value for name, measure in build_aggregates(rows).items()}
    assert found["answer_correct"] == pytest.approx(3 / 6)  # an answer that cannot be read is not right
    assert found["steps_correct"] == pytest.approx(1 / 3)  # of those whose steps can be checked
    assert found["right_steps_right"] == found["right_steps_wrong"] == found["right_steps_unknown"] == 1 / 6
    assert (found["not_right"], found["empty_rate"], found["truncated_rate"]) == (0.5, 1 / 6, 0.0)


def test_errors_and_refusals_are_no_wrong_answers_in_silence():
    items = [EvalItem(id=name, prompt="p", expected_answer="5") for name in ("late", "shy", "right")]
    outputs = [
        Output(id="late", text=None, error="timed out"),
        Output(id="shy", text="I would rather not.", refused=True),
        Output(id="right", text="5"),
    ]
    rows = score_outputs(items, outputs)
    late, shy = find(rows, "late", "answer_correct"), find(rows, "shy", "answer_correct")
    assert (late.status, late.why, read_value(late)) == ("error", "timed out", None)
    assert (shy.status, read_value(shy)) == ("refused", 0.0)
    found = build_aggregates(rows)
    assert found["answer_correct"].value == 1 / 2
    assert found["truncated_rate"].why_not == "nobody recorded how every output ended"


def test_properties_of_outputs_are_those_counted_by_hand(make_row):
    rows = [
        make_row("a", 1.0, output="a b a b a b", finish="length"),
        make_row("b", 0.0, output="", finish="end"),
        make_row("b", 0.0, metric="steps_correct", output="", finish="end"),  # the same output, counted once
    ]
    found = {name: measure.value for name, measure in build_aggregates(rows).items()}
    assert found["distinct_1"] == pytest.approx(2 / 6)
    assert found["distinct_2"] == pytest.approx(2 / 5)
    assert found["repetition"] == pytest.approx(1 / 3)  # abab, baba, abab
    assert (found["empty_rate"], found["truncated_rate"]) == (0.5, 0.5)
    short = build_aggregates([make_row("a", 1.0, output="yes", finish="end")])
    assert short["repetition"].why_not == "no output has 4 words"


def test_table_comes_back_as_it_was_and_equal_rows_give_equal_bytes(rows):
    data = render_table(rows)
    assert parse_table(data) == rows
    assert render_table([ItemScore.model_validate(row.model_dump()) for row in rows]) == data


@pytest.mark.parametrize("data", [b"{", b"[]\n", b'{"item_id": "a"}\n'])
def test_table_that_is_none_is_damaged(data):
    with pytest.raises(ObjectDamaged):
        parse_table(data)


@pytest.mark.parametrize(
    ("score", "status", "why"), [(None, "scored", "x"), (1.0, "unparsed", "x"), (None, "error", "")]
)
def test_row_has_a_score_or_says_why_not(make_row, score, status, why):
    with pytest.raises(ValidationError):
        make_row("a", score, status=status, why=why)


def test_scores_of_every_scorer_belong_to_a_metric():
    from trainwright.evaluate.scorers import SCORERS, parse_scorer

    names = {parse_scorer("json:a" if name == "json" else name).metric for name in SCORERS}
    assert names <= METRICS.keys()


def test_digest_of_the_code_is_of_modules_that_are_there():
    assert len(digest_code()) == 64
    assert set(SCORING_MODULES) >= {"scorers", "extraction", "steps", "metrics"}


# ── traces ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_output_becomes_a_trace(rows):
    trace = build_trace(find(rows, "steps wrong", "answer_correct"), "What is 12 + 5?", "e" * 64)
    assert trace["steps"] == [{"i": 0, "type": "generated", "content": "Add: 12 + 5 = 18."}]
    assert (trace["prompt"], trace["final_answer"]) == ("What is 12 + 5?", "17")
    assert trace["meta"]["source"] == "evaluation"
    assert (trace["meta"]["evaluation"], trace["meta"]["score"], trace["meta"]["category"]) == ("e" * 64, 1.0, "sum")


def test_output_without_steps_or_answer_is_one_step_and_its_own_answer(rows):
    trace = build_trace(find(rows, "words", "answer_correct"), "p", "e" * 64)
    assert trace["final_answer"] == "I cannot\nsay."
    assert [step["content"] for step in trace["steps"]] == ["I cannot", "say."]
    assert (trace["meta"]["status"], trace["meta"]["score"]) == ("unparsed", None)
    assert build_trace(find(rows, "nothing", "answer_correct"), "p", "e" * 64) is None
