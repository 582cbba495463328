"""Whether the steps of an output hold: every statement of simple arithmetic in them is worked out again.

    3 + 4 + 1 = 8        an equation of + - * / and brackets, also × and ÷, also in a chain: a = b = c
    ... = 13, write 3, carry 1      the digits that column addition writes and carries
    14 is less than 27   a comparison
    Split 345 into 300 + 40 + 5

Money, thousands, per cent and the `<<16-3-4=9>>` of GSM8K are understood. A right side written with decimals may be
rounded to them. What is checked is that each statement is true, not that it follows from the question: steps that are
true and beside the point pass.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from trainwright.evaluate.extraction import find_answer_line

MAX_CHARACTERS = 200
"""A longer expression is not simple arithmetic, and is no statement."""

_NUMBERED = re.compile(r"^[ \t]*\d+[.)][ \t]+(\S.*)$", re.MULTILINE)
_ANNOTATION = re.compile(r"<<([^<>]*)>>")
_SIDE = r"[-−(\s$€£]*[\d.][\d,.\s+\-−*×·/÷()$€£%xX]*"
_EQUATION = re.compile(rf"{_SIDE}(?:={_SIDE})+")
_CALCULATES = re.compile(r"[\d.)%]\s*[+\-−*×·/÷xX]\s*[$€£]?[\d.(]")
_ENDS_IN_OPERATOR = re.compile(r"(?:[+\-−*×·/÷(]|\b[xX])$")
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?P<percent>\s*%)?|(?P<mark>.))"
)
_WRITTEN = re.compile(r"=\s*(\d+), write (\d+)(?:, carry (\d+))?")
_COMPARED = re.compile(
    r"(?<![\w.,])(-?\d+) is (less|more|greater|smaller|larger) than (-?\d+)(?![\d,.]*\d|\s*[-+*/×÷])"
)
_SPLIT = re.compile(r"\b[Ss]plit (\d[\d,]*) into (\d[\d,\s+]*\d)")
_SAME = {"×": "*", "·": "*", "÷": "/", "−": "-"}
_TIMES = re.compile(r"(?<=[\d)%])\s*[xX]\s*(?=[\d($€£.])")


@dataclass(frozen=True)
class Statement:
    """Something that a step says about numbers, and whether it is so."""

    text: str
    is_true: bool


def split_steps(output: str) -> list[str]:
    """The steps of an output: its numbered lines; where there are none, every line but the one with the answer."""
    numbered = _NUMBERED.findall(output)
    if numbered:
        return [step.strip() for step in numbered]
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return [line for line in lines if not line.startswith("####") and find_answer_line(line) is None]


def check_steps(output: str) -> list[Statement]:
    """Every statement of simple arithmetic in the steps of an output."""
    return [statement for step in split_steps(output) for statement in check_step(step)]


def check_step(step: str) -> list[Statement]:
    """Every statement of simple arithmetic in one step."""
    annotations = _ANNOTATION.findall(step)
    texts = [_ANNOTATION.sub("", step), *annotations]
    return [
        statement
        for text in texts
        for check in (_check_equations, _check_written, _check_comparisons, _check_splits)
        for statement in check(text)
    ]


# ── statements ────────────────────────────────────────────────────────────────────────────────────────────────────────
def _check_equations(text: str) -> Iterator[Statement]:
    for found in _EQUATION.finditer(text):
        sides = [side.strip().rstrip(".,") for side in found[0].split("=")]
        values = [evaluate_arithmetic(side) for side in sides]
        if _goes_on_from(text[: found.start()].rstrip(), sides[0]):
            values[0] = None  # "3 cats + 2 = 5": what stands there is only the end of the side
        # A side that cannot be read makes its equations no statements; "$60 = 12" is no arithmetic, but a way of speaking.
        for left, right, left_value, right_value in zip(sides, sides[1:], values, values[1:], strict=False):
            if left_value is not None and right_value is not None and _CALCULATES.search(f"{left} , {right}"):
                yield Statement(f"{left} = {right}", _agree(left_value, right_value, right))


def _goes_on_from(before: str, side: str) -> bool:
    """Whether a side is the rest of one that begins with something that is no number."""
    if _ENDS_IN_OPERATOR.search(before):
        return True
    return side.startswith(("-", "−")) and before[-1:].isalnum()


def _check_written(text: str) -> Iterator[Statement]:
    for found in _WRITTEN.finditer(text):
        total, written, carried = int(found[1]), int(found[2]), int(found[3] or 0)
        yield Statement(found[0].removeprefix("=").strip(), total == 10 * carried + written and written < 10)


def _check_comparisons(text: str) -> Iterator[Statement]:
    for found in _COMPARED.finditer(text):
        first, second = int(found[1]), int(found[3])
        is_less = found[2] in ("less", "smaller")
        yield Statement(found[0], first < second if is_less else first > second)


def _check_splits(text: str) -> Iterator[Statement]:
    for found in _SPLIT.finditer(text):
        whole, parts = evaluate_arithmetic(found[1]), evaluate_arithmetic(found[2])
        yield Statement(found[0], whole is not None and whole == parts)


def _agree(left: Fraction, right: Fraction, written: str) -> bool:
    """Equal, or the right side is the left one rounded to the decimals it is written with. "5 * 4 = 20%" counts in per cent."""
    if left == right or ("%" in written and left == right * 100):
        return True
    digits = re.fullmatch(r"[-−$€£\s]*[\d,]*\.(\d+)\s*%?", written)
    if digits is None:
        return False
    unit = Fraction(1, 10 ** len(digits[1])) / (100 if "%" in written else 1)
    return abs(left - right) <= unit / 2


# ── arithmetic ────────────────────────────────────────────────────────────────────────────────────────────────────────
def evaluate_arithmetic(text: str) -> Fraction | None:
    """The exact value of an expression of numbers, + - * / and brackets; None where it is no such expression.

    Read by hand, never by `eval`: a text that a model wrote is not a program.
    """
    if len(text) > MAX_CHARACTERS:
        return None
    tokens = _read_tokens(text)
    if not tokens:
        return None
    reader = _Reader(tokens)
    try:
        value = reader.read_sum()
    except (ZeroDivisionError, _NoExpressionError):
        return None
    return value if reader.is_at_end else None


def _read_tokens(text: str) -> list[Fraction | str]:
    tokens: list[Fraction | str] = []
    for found in _TOKEN.finditer(_TIMES.sub("*", text.strip())):
        if found["number"]:
            value = Fraction(Decimal(found["number"].replace(",", "")))
            tokens.append(value / 100 if found["percent"] else value)
        elif found["mark"] not in "$€£":
            tokens.append(_SAME.get(found["mark"], found["mark"]))
    return tokens


class _NoExpressionError(Exception):
    """The tokens do not make an expression."""


class _Reader:
    """Recursive descent: a sum of products of factors. Depth is bounded by the length of the text."""

    def __init__(self, tokens: list[Fraction | str]) -> None:
        self._tokens = tokens
        self._position = 0

    @property
    def is_at_end(self) -> bool:
        return self._position == len(self._tokens)

    def read_sum(self) -> Fraction:
        value = self._read_product()
        while self._next in ("+", "-"):
            sign = 1 if self._take() == "+" else -1
            value += sign * self._read_product()
        return value

    def _read_product(self) -> Fraction:
        value = self._read_factor()
        while self._next in ("*", "/"):
            if self._take() == "*":
                value *= self._read_factor()
            else:
                value /= self._read_factor()
        return value

    def _read_factor(self) -> Fraction:
        token = self._take()
        if isinstance(token, Fraction):
            return token
        if token == "-":
            return -self._read_factor()
        if token == "(":
            value = self.read_sum()
            if self._take() == ")":
                return value
        raise _NoExpressionError

    @property
    def _next(self) -> Fraction | str | None:
        return None if self.is_at_end else self._tokens[self._position]

    def _take(self) -> Fraction | str:
        if self.is_at_end:
            raise _NoExpressionError
        self._position += 1
        return self._tokens[self._position - 1]
