"""Which part of an output is believed to be its answer, and when none is."""

import pytest

from trainwright.evaluate.extraction import extract_answer
from trainwright.evaluate.numbers import find_last_number, is_plain_number, parse_number


@pytest.mark.parametrize(
    ("output", "answer", "how"),
    [
        ("1. Add.\nAnswer: 42\n", "42", "Answer:"),
        ("Answer: 1\nNo.\nFinal answer: 2", "2", "Answer:"),
        ("So the sum grows.\nThe answer is 7 eggs.", "7 eggs.", "Answer:"),
        ("**Answer:** Paris", "Paris", "Answer:"),
        ("Answer: 5\n#### 6", "5", "Answer:"),
        ("9 * 2 = 18\n#### 18", "18", "####"),
        ("thus \\boxed{\\frac{1}{2}} holds", "\\frac{1}{2}", "\\boxed"),
        ("\\boxed{3} or rather \\boxed{4}", "4", "\\boxed"),
        ("\\boxed{3} and \\boxed{4", "3", "\\boxed"),
        ("  Paris \n", "Paris", "one line"),
    ],
)
def test_first_reader_that_finds_something_is_believed(output, answer, how):
    found = extract_answer(output, numeric=False)
    assert (found.text, found.how) == (answer, how)


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        ("It takes 2 and 1.\nThat makes 3 bolts in all.", "3"),
        ("It costs $1,250.50 by 2020,\nor so", "2020"),
        ("from 3\nto -4", "-4"),
        ("She pays 5-3\nand has 2", "2"),
    ],
)
def test_last_number_is_the_answer_where_a_number_is_wanted(output, answer):
    assert extract_answer(output, numeric=True).text == answer
    assert extract_answer(output, numeric=False) is None


@pytest.mark.parametrize(
    "output", ["", "  \n ", "one line\nand another", "Answer:\n\nend of it", "####\nx", "\\boxed{}\n\n\\boxed{"]
)
def test_nothing_found_is_none(output):
    assert extract_answer(output, numeric=False) is None


def test_words_are_no_answer_where_a_number_is_wanted():
    assert extract_answer("I do not know", numeric=True) is None


# ── numbers ───────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18", 18),
        ("$1,234.50", 1234.5),
        ("18 eggs", 18),
        ("-20", -20),
        ("−20", -20),
        ("$-5", -5),
        ("-$5", -5),
        (".5", 0.5),
        ("25 %", 25),
        ("3/4", 0.75),
        ("(7)", 7),
        ("12.", 12),
        ("+3", 3),
        ("5 km per hour", 5),
        ("**64**", 64),
        ("1,000,000", 10**6),
    ],
)
def test_number_is_read_with_its_units_off(text, value):
    assert parse_number(text) == value


@pytest.mark.parametrize(
    "text", ["", "eggs", "1/0", "12 and 13", "1,23", "5-3", "v2", "9" * 500, "5 a b c d e f", "nan", "inf", "1e5x2"]
)
def test_what_is_no_number_is_none(text):
    assert parse_number(text) is None


@pytest.mark.parametrize(("text", "plain"), [("$31.5", True), ("70000", True), ("12 monkeys", False), ("A", False)])
def test_plain_number_has_no_word_beside_it(text, plain):
    assert is_plain_number(text) is plain


def test_long_runs_of_digits_are_passed_over():
    assert find_last_number(f"12 then {'9' * 1000}") == "12"
    assert find_last_number("no number") is None
