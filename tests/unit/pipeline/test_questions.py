"""What is asked: a suite, or a file of items, as a person wants it; all of it, or a sample that is on record."""

import json

import pytest

from trainwright.core.errors import InvalidValue
from trainwright.evaluate.items import EvalItem
from trainwright.pipeline.questions import Question, Request, draw_items, settle


def make_question(num_items, pairs=False):
    return Question(
        "q",
        tuple(
            EvalItem(id=f"i{n}", prompt="p", expected_answer="a", meta={"pair": f"p{n // 2}"} if pairs else None)
            for n in range(num_items)
        ),
        "{prompt}",
    )


def test_sample_is_drawn_by_its_seed_and_stays_in_order():
    question = make_question(50)
    drawn = draw_items(question, 10, seed=3)
    assert drawn == draw_items(question, 10, seed=3)
    assert drawn.items != draw_items(question, 10, seed=4).items
    assert [item.id for item in drawn.items] == sorted(
        (item.id for item in drawn.items), key=lambda name: int(name[1:])
    )
    assert (drawn.sample.num_items, drawn.sample.out_of, drawn.sample.seed) == (10, 50, 3)


def test_sample_of_everything_is_none():
    question = make_question(5)
    assert draw_items(question, 5, seed=0) is question
    assert draw_items(question, 99, seed=0).sample is None


@pytest.mark.parametrize("limit", [1, 4, 5])
def test_pairs_are_drawn_together(limit):
    drawn = draw_items(make_question(20, pairs=True), limit, seed=1).items
    assert len(drawn) == max(2, limit // 2 * 2)
    names = [item.meta["pair"] for item in drawn]
    assert all(names.count(name) == 2 for name in names)


def test_suite_decides_unless_a_person_does():
    question, by, decoding = settle(Request(suite="arithmetic"))
    assert (by, question.name, question.template) == ("generation", "arithmetic", "Question: {prompt}\nAnswer:")
    assert (decoding.max_tokens, decoding.temperature, decoding.top_k, decoding.top_p) == (60, 0.0, 0, 1.0)
    changed, by, decoding = settle(
        Request(
            suite="arithmetic", by="likelihood", template="{prompt}\\n", max_tokens=5, temperature=1.0, seed=7, limit=3
        )
    )
    assert (by, changed.template, len(changed.items), changed.sample.seed) == ("likelihood", "{prompt}\n", 3, 7)
    assert (decoding.max_tokens, decoding.temperature, decoding.seed) == (5, 1.0, 7)
    assert changed.suite.digest == question.suite.digest


def test_texts_are_measured_as_they_stand(tmp_path):
    question, by, _ = settle(Request(suite="arithmetic", by="text"))
    assert (by, question.template) == ("text", "{prompt}")
    with pytest.raises(InvalidValue, match="cannot be used"):
        settle(Request(suite="arithmetic", by="text", template="Say {prompt}"))
    (tmp_path / "t.jsonl").write_text(json.dumps({"id": "a", "text": "Once."}), encoding="utf-8")
    question, by, _ = settle(Request(evalset=tmp_path / "t.jsonl", by="text"))
    assert (question.name, question.items[0].prompt) == ("t", "Once.")
