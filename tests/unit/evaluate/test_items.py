"""Evalsets are read as they stand, and every fault is named by its line."""

import json

import pytest

from trainwright.core.errors import InvalidEncoding, InvalidRow, PredictionsIncomplete, SourceEmpty, SourceNotFound
from trainwright.evaluate.items import EvalItem, read_items
from trainwright.evaluate.outputs import read_predictions

GOOD = {"id": "a", "prompt": "What is 2 + 3?", "expected_answer": "5"}


@pytest.fixture
def write(tmp_path):
    def call(*rows, name="set.jsonl"):
        path = tmp_path / name
        path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
        return path

    return call


def test_items_are_read_with_everything_they_say(write):
    full = GOOD | {
        "id": "b", "category": "sums", "difficulty": "easy", "section": "A", "cluster_id": "t1", "choices": ["4", "5"],
        "scorer": "numeric:0.5", "meta": {"anything": [1]},
    }  # fmt: skip
    first, second = read_items(write(GOOD, "", full))
    assert first == EvalItem(id="a", prompt="What is 2 + 3?", expected_answer="5")
    assert first.slices == {}
    assert first.open_scorer().name == "numeric"
    assert second.slices == {"category": "sums", "difficulty": "easy", "section": "A"}
    assert (second.cluster_id, second.find_choice(), second.open_scorer().parameter) == ("t1", 1, "0.5")


def test_number_is_taken_as_it_is_written(write):
    (item,) = read_items(write('{"id": 7, "prompt": "What is 1/4?", "expected_answer": 0.25, "difficulty": 2}'))
    assert (item.id, item.expected_answer, item.difficulty) == ("7", "0.25", "2")


def test_choice_is_named_by_its_text_or_its_letter(write):
    by_letter = GOOD | {"expected_answer": "C", "choices": ["one", "two", "three"]}
    assert read_items(write(by_letter))[0].find_choice() == 2
    assert read_items(write(GOOD))[0].find_choice() is None


def test_item_may_have_no_expected_answer_where_none_is_needed(write):
    document = {"id": "a", "text": "Once upon a time.", "category": "story"}
    (item,) = read_items(write(document), need_answers=False)
    assert (item.prompt, item.expected_answer, item.find_choice()) == ("Once upon a time.", None, None)
    with pytest.raises(InvalidRow, match="line 1: expected_answer is missing"):
        read_items(write(document))
    with pytest.raises(InvalidRow, match="line 1: it has a prompt and a text"):
        read_items(write(document | {"prompt": "p"}), need_answers=False)


def test_item_is_sliced_by_what_it_names():
    item = EvalItem(
        id="a",
        prompt="p",
        category="c",
        section="s",
        meta={"kind": "k", "number": 1},
        sliced_by=("kind", "section", "number"),
    )
    assert item.slices == {"kind": "k", "section": "s"}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{", "line 2: it is not JSON"),
        ("[1]", "line 2: it is not a JSON object"),
        ('{"id": "b", "prompt": "p", "expected_answer": NaN}', "line 2: it cannot be read"),
        ('{"id": "b", "prompt": "p", "expected_answer": "\\ud800"}', "line 2: it holds half a character"),
        (GOOD, "line 2: the id 'a' is there twice"),
        (GOOD | {"id": ""}, "line 2: id is not a text, or empty"),
        (GOOD | {"id": "b", "prompt": " "}, "line 2: prompt is not a text, or empty"),
        (GOOD | {"id": "b", "prompt": "x" * 50_001}, "line 2: prompt has 50,001 characters"),
        (GOOD | {"id": "b", "expected_answer": None}, "line 2: expected_answer is missing"),
        (GOOD | {"id": "b", "expected_answer": True}, "line 2: expected_answer is not a text"),
        (GOOD | {"id": "b", "categry": "x"}, "line 2: there is no key 'categry'"),
        (GOOD | {"id": "b", "category": ["x"]}, "line 2: category is not a text"),
        (GOOD | {"id": "b", "scorer": "fuzzy"}, "line 2: scorer 'fuzzy' cannot be used"),
        (GOOD | {"id": "b", "choices": ["5"]}, "line 2: choices are 2 to 26 different texts"),
        (GOOD | {"id": "b", "choices": ["5", "5"]}, "line 2: choices are 2 to 26 different texts"),
        (GOOD | {"id": "b", "choices": ["5", 6]}, "line 2: choices is not a list of texts"),
        (GOOD | {"id": "b", "choices": ["6", "7"]}, "line 2: the expected answer '5' is none of the choices"),
        ({"question": "q", "answer": "#### 5"}, "line 2: there is no key 'question'"),
    ],
)
def test_fault_is_named_by_its_line(write, row, said):
    with pytest.raises(InvalidRow, match=said):
        read_items(write(GOOD, row))


def test_misspelt_key_is_answered_with_the_nearest(write):
    with pytest.raises(InvalidRow) as refused:
        read_items(write(GOOD | {"expected": "5"}))
    assert "expected_answer" in refused.value.why


def test_file_that_is_not_there_is_empty_or_is_no_text_is_refused(tmp_path, write):
    with pytest.raises(SourceNotFound):
        read_items(tmp_path / "none.jsonl")
    with pytest.raises(SourceEmpty):
        read_items(write("", "  "))
    (tmp_path / "bad.jsonl").write_bytes(json.dumps(GOOD).encode() + b"\n\xff")
    with pytest.raises(InvalidEncoding, match=r"bad\.jsonl is not UTF-8"):
        read_items(tmp_path / "bad.jsonl")


# ── recorded outputs ──────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def items():
    return [EvalItem(id=name, prompt="p", expected_answer="5") for name in ("a", "b")]


def test_outputs_come_in_the_order_of_the_items(write, items):
    path = write({"id": "b", "error": "timed out"}, {"id": "a", "output": "5", "finish": "end", "refused": False})
    first, second = read_predictions(path, items)
    assert (first.id, first.text, first.finish) == ("a", "5", "end")
    assert (second.text, second.error) == (None, "timed out")


def test_missing_and_foreign_outputs_are_named(write, items):
    with pytest.raises(PredictionsIncomplete) as refused:
        read_predictions(write({"id": "a", "output": "5"}, {"id": "z", "output": "5"}), items)
    assert "1 items have no output: b; 1 outputs are of no item: z" in refused.value.why


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"id": "a"}, "neither an output nor an error"),
        ({"id": "a", "output": "5", "error": "x"}, "neither an output nor an error, or both"),
        ({"id": "a", "output": 5}, "neither an output nor an error"),
        ({"id": "a", "output": 5, "error": "x"}, "neither an output nor an error, or both"),
        ({"output": "5"}, "id is missing"),
        ({"id": "a", "output": "5", "finish": "stop"}, "finish is 'end' or 'length'"),
        ({"id": "a", "output": "5", "refused": 1}, "refused is true or false"),
        ({"id": "a", "output": "5", "score": 1}, "there is no key 'score'"),
    ],
)
def test_malformed_output_is_named_by_its_line(write, items, row, said):
    with pytest.raises(InvalidRow, match=f"line 1: .*{said}"):
        read_predictions(write(row), items)


def test_repeated_output_is_named_by_its_line(write, items):
    with pytest.raises(InvalidRow, match="line 2: the id 'a' is there twice"):
        read_predictions(write({"id": "a", "output": "5"}, {"id": "a", "output": "6"}), items)
