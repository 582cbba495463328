"""Answers of an interrupted evaluation are there again; torn and changed ones are asked anew."""

import pytest

from trainwright.store.unfinished_answers import UnfinishedAnswers


@pytest.fixture
def path(tmp_path):
    return tmp_path / "evaluations" / "key.jsonl"


def fail():
    raise AssertionError("asked again")


def test_answers_are_there_again(path):
    first = UnfinishedAnswers(path)
    assert first.get_or_add("a", lambda: {"text": "eins"}) == {"text": "eins"}
    first.get_or_add("b", lambda: [1, "zwei\u2028"])
    again = UnfinishedAnswers(path)
    assert again.get_or_add("a", fail) == {"text": "eins"}
    assert again.get_or_add("b", fail) == [1, "zwei\u2028"]


@pytest.mark.parametrize("num_bytes", [1, 40, 70, 100])
def test_torn_line_is_asked_again_and_does_not_spoil_the_next(path, num_bytes):
    answers = UnfinishedAnswers(path)
    answers.get_or_add("a", lambda: "one")
    answers.get_or_add("b", lambda: "two")
    path.write_bytes(path.read_bytes()[:-num_bytes])
    again = UnfinishedAnswers(path)
    again.get_or_add("c", lambda: "three")
    assert again.get_or_add("b", lambda: "two, again") in ("two", "two, again")
    final = UnfinishedAnswers(path)
    assert (final.get_or_add("a", lambda: "one"), final.get_or_add("c", fail)) == ("one", "three")


def test_changed_line_is_asked_again(path):
    UnfinishedAnswers(path).get_or_add("a", lambda: "one")
    path.write_bytes(path.read_bytes().replace(b"one", b"two"))
    assert UnfinishedAnswers(path).get_or_add("a", lambda: "asked") == "asked"


def test_discarded_answers_are_gone(path):
    answers = UnfinishedAnswers(path)
    answers.discard()
    answers.get_or_add("a", lambda: "one")
    answers.discard()
    assert not path.exists()
