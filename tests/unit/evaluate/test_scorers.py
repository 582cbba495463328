"""Each way of holding an output against the expected answer, and how one is chosen."""

import sys

import pytest

from trainwright.evaluate.scorers import SCORERS, choose_scorer, normalise, parse_scorer


def score(name, output, target):
    judged = parse_scorer(name).score(output, target)
    return judged.score if judged.status == "scored" else judged.status


@pytest.mark.parametrize(
    ("name", "output", "target", "expected"),
    [
        ("exact", "Answer: Paris", "Paris", 1),
        ("exact", "Answer: paris", "Paris", 0),
        ("normalised", "The answer is: the  ＰＡＲＩＳ!", "Paris", 1),
        ("normalised", "Answer: Pari", "Paris", 0),
        ("normalised", "Answer: !", "?", 0),
        ("normalised", "Answer: ?", "?", 1),
        ("normalised", "one\ntwo", "Paris", "unparsed"),
        ("numeric", "so $1,250.00 in all", "1250", 1),
        ("numeric", "Answer: 18 eggs and 2 hens", "2", 1),
        ("numeric", "Answer: 0.1", "1/10", 1),
        ("numeric", "Answer: 31.49", "31.5", 0),
        ("numeric:0.01", "Answer: 31.49", "31.5", 1),
        ("numeric:1%", "Answer: 99", "100", 1),
        ("numeric:1%", "Answer: 98.9", "100", 0),
        ("numeric", "no idea", "5", "unparsed"),
        ("numeric", "Answer: 5", "five", "error"),
        ("letter", "Answer: (b) because it is", "B", 1),
        ("letter", "C. Paris", "C", 1),
        ("letter", "Answer: B", "C", 0),
        ("letter", "Berlin", "B", "unparsed"),
        ("regex:^yes\\b", "yes, of course", "anything", 1),
        ("regex", "it was 12", "\\b1[0-9]\\b", 1),
        ("regex", "it was 2", "\\b1[0-9]\\b", 0),
        ("json:answer.value", 'So: {"answer": {"value": 5.0}}', "5", 1),
        ("json:answer", 'x {no} {"answer": "the cat"}', "Cat", 1),
        ("json:answer", '{"other": 1}', "5", "unparsed"),
        ("json:answer", "5", "5", "unparsed"),
        ("set", "Answer: red, Blue; green", "green, red", 0.8),
        ("set", "Answer: red, red", "red", 1),
        ("set", "Answer: pink", "red", 0),
        ("math", "Answer: 0.50", "1/2", 1),
    ],
)
def test_outputs_are_scored_as_the_scorer_says(name, output, target, expected):
    assert score(name, output, target) == expected


def test_answer_that_was_read_is_kept_and_a_missing_one_says_why():
    right = parse_scorer("numeric").score("Answer: 18 eggs", "18")
    assert (right.answer, right.why) == ("18 eggs", "")
    assert parse_scorer("numeric").score("none", "18").why == "no number was found in the output"


def test_mathematics_without_its_package_is_unavailable_with_the_command_that_provides_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "math_verify", None)
    judged = parse_scorer("math").score("Answer: \\frac{1}{2}", "2^{-1}")
    assert (judged.status, judged.score) == ("unavailable", None)
    assert "trainwright[math]" in judged.why


@pytest.mark.extra
def test_mathematics_is_left_to_its_package():
    pytest.importorskip("math_verify", reason="the optional package math-verify is not installed")
    assert score("math", "Answer: \\frac{1}{2}", "2^{-1}") == 1
    assert score("math", "Answer: \\frac{1}{3}", "2^{-1}") == 0


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("18", "numeric"),
        ("$1,200", "numeric"),
        ("-3.5", "numeric"),
        ("B", "letter"),
        ("(C)", "letter"),
        ("Paris", "normalised"),
        ("18 eggs", "normalised"),
    ],
)
def test_form_of_the_target_chooses_the_scorer(target, name):
    assert choose_scorer(target).name == name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fuzzy", "exact, normalised, numeric"),
        ("exact:1", "nothing after the colon"),
        ("numeric:much", "a tolerance is a number"),
        ("numeric:-1", "a tolerance is a number"),
        ("regex:(", "no regular expression"),
        ("json", "names a field"),
    ],
)
def test_scorer_that_cannot_be_used_says_why(text, said):
    with pytest.raises(ValueError, match=said):
        parse_scorer(text)


def test_every_scorer_can_be_named():
    for name in SCORERS:
        assert parse_scorer("json:a" if name == "json" else name).name == name


def test_normal_form_drops_case_articles_and_punctuation():
    assert normalise("  The “Théâtre”, an   opera—House! ") == "théâtre opera house"
