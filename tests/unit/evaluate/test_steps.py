"""Steps are worked out again: a wrong one is found, and what is no arithmetic is left alone."""

from fractions import Fraction

import pytest

from trainwright.data.builtin.arithmetic import iter_arithmetic_traces, render_trace
from trainwright.evaluate.steps import check_step, check_steps, evaluate_arithmetic, split_steps


def verdicts(step):
    return [statement.is_true for statement in check_step(step)]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("Add the ones: 3 + 4 + 1 = 8, write 8.", [True, True]),
        ("Add the ones: 6 + 7 = 13, write 3, carry 1.", [True, True]),
        ("Add the ones: 6 + 7 = 13, write 4, carry 1.", [True, False]),
        ("Add the ones: 6 + 7 = 13, write 13.", [True, False]),
        ("Add the ones: 6 + 7 = 12, write 2, carry 1.", [False, True]),
        ("4 is less than 7, so borrow 10: 14 - 7 = 7.", [True, True]),
        ("9 is less than 7, so borrow 10: 14 - 7 = 7.", [True, False]),
        ("Split 345 into 300 + 40 + 5.", [True]),
        ("Split 345 into 300 + 40 + 6.", [False]),
        ("The hundreds: 3 is more than 2, so 345 is more than 245.", [True, True]),
        ("She makes 9 * 2 = $<<9*2=18>>18 every day.", [True, True]),
        ("She makes 9 * 2 = $<<9*2=19>>18 every day.", [True, False]),
        ("$189 ÷ 6 = $31.5", [True]),
        ("10 / 3 = 3.33", [True]),
        ("10 / 3 = 3.34", [False]),
        ("10 / 3 = 3", [False]),
        ("50% * 80 = 40", [True]),
        ("(3 + 4) × 1,000 = 7,000", [True]),
        ("2 + 3 = 5 = 4 + 2", [True, False]),
        ("3 x 4 = 12", [True]),
    ],
)
def test_statements_are_worked_out_again(step, expected):
    assert verdicts(step) == expected


@pytest.mark.parametrize(
    "step",
    [
        "There are 12 eggs.",
        "x + 3 = 7",
        "4x-13 = 4x-8",
        "10 cats * 2 = 20",
        "14 cats - 10 = 4",
        "40% = 80",
        "7:00 + 2 hours = 9:00",
        "76 is less than 2*40",
        "1/0 = 5",
        "Take each character from end to start",
        "= 5",
        "(3 + 4 = 7",
    ],
)
def test_what_cannot_be_read_as_arithmetic_is_no_statement(step):
    assert False not in verdicts(step)


def test_steps_are_the_numbered_lines_or_else_all_but_the_answer():
    assert split_steps("Reasoning:\n1. First.\n2) Second.\nAnswer: 3") == ["First.", "Second."]
    assert split_steps("16 - 3 = 13\n\n13 * 2 = 26\n#### 26") == ["16 - 3 = 13", "13 * 2 = 26"]
    assert split_steps("2 + 2 = 4\nThe answer is 4") == ["2 + 2 = 4"]
    assert split_steps("") == []


def test_every_builtin_trace_holds_and_none_does_with_one_result_changed():
    for trace in iter_arithmetic_traces(400, seed=5):
        text = render_trace(trace).partition("\n")[2]
        statements = check_steps(text)
        assert all(statement.is_true for statement in statements), text
        head, equals, tail = text.rpartition(" = ")
        if equals:
            digits = tail[: len(tail) - len(tail.lstrip("0123456789"))]
            spoilt = f"{head} = {int(digits) + 1}{tail.removeprefix(digits)}"
            assert not all(statement.is_true for statement in check_steps(spoilt)), spoilt


# ── arithmetic ────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2 + 3 * 4", 14),
        ("(2 + 3) * 4", 20),
        ("10 - 4 - 3", 3),
        ("24 / 4 / 2", 3),
        ("-5 + 8", 3),
        ("-(2 + 1)", -3),
        ("0.1 + 0.2", Fraction(3, 10)),
        ("1/3", Fraction(1, 3)),
        ("$1,000 - 1", 999),
        ("50%", Fraction(1, 2)),
        ("6 × 7 ÷ 2", 21),
    ],
)
def test_arithmetic_is_exact(text, value):
    assert evaluate_arithmetic(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "+",
        "2 +",
        "2 3",
        "(2",
        "2)",
        "1 / 0",
        "2 ** 3",
        "__import__('os')",
        "9" * 300,
        "(" * 150 + "1" + ")" * 150,
        "1,23 + 1",
    ],
)
def test_what_is_no_expression_has_no_value(text):
    assert evaluate_arithmetic(text) is None


def test_deep_brackets_within_the_limit_are_read():
    assert evaluate_arithmetic("(" * 99 + "1" + ")" * 99) == 1
