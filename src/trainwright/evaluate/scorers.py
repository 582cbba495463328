"""Ground truth: whether an output holds the expected answer. One small function for each way of saying so.

    exact                 the answer is the target, character by character
    normalised            equal after NFKC, lower case, and without articles and punctuation
    numeric[:tolerance]   equal as numbers, units off; `numeric:0.01` allows that much, `numeric:1%` that share
    letter                the answer names the target's letter
    regex[:pattern]       the output matches the pattern (the target, where none is given)
    json:field            the field (dots for fields inside) of the output's JSON object is the target
    set                   F1 of the answer's parts, separated by commas, semicolons or lines, against the target's
    math                  equal as mathematics, by the optional package math-verify

An item names its scorer (`"scorer": "numeric:0.01"`), or the form of its target decides: a number is scored as numeric,
a single capital letter as letter, anything else as normalised.
"""

import json
import logging
import re
import threading
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from trainwright.core.records import ItemStatus
from trainwright.evaluate.extraction import extract_answer
from trainwright.evaluate.numbers import is_plain_number, parse_number

MAX_MATH_CHARACTERS = 400
MATH_TIMEOUT_S = 5

_LETTER = re.compile(r"[(\[]?([A-Za-z])(?:[)\]]|[.:](?=\s|$)|\s*$|\)\s|(?=\s+[A-Z(]))")
_WORD_MARKS = re.compile(r"[^\w\s]|_")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


@dataclass(frozen=True)
class Judgement:
    """What a scorer found: a score where `status` is scored, else why there is none. `answer` is what was read."""

    status: ItemStatus
    score: float | None = None
    answer: str | None = None
    why: str = ""


@dataclass(frozen=True)
class Scorer:
    """A scorer by name. `metric` is what its scores are reported under, `parameter` what stands after the colon."""

    name: str
    metric: str
    judge: Callable[[str, str, str], Judgement]
    parameter: str = ""

    def score(self, output: str, target: str) -> Judgement:
        """Judge one output."""
        return self.judge(output, target, self.parameter)


def parse_scorer(text: str) -> Scorer:
    """The scorer that an item names. Raises ValueError, with what is wrong, for one that does not exist."""
    name, _, parameter = text.partition(":")
    if name not in _JUDGES:
        raise ValueError(f"there is no scorer {name!r}; there are {', '.join(_JUDGES)}")
    metric, judge, check = _JUDGES[name]
    check(parameter)
    return Scorer(name, metric, judge, parameter)


def choose_scorer(target: str) -> Scorer:
    """The scorer that the form of a target asks for."""
    if is_plain_number(target):
        return parse_scorer("numeric")
    if re.fullmatch(r"\(?[A-Z]\)?", target.strip()):
        return parse_scorer("letter")
    return parse_scorer("normalised")


def normalise(text: str) -> str:
    """A text as it counts for comparison: NFKC, lower case, without punctuation, articles and double spaces."""
    lowered = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(_ARTICLES.sub(" ", _WORD_MARKS.sub(" ", lowered)).split())


# ── one for each way ──────────────────────────────────────────────────────────────────────────────────────────────────
def judge_exact(output: str, target: str, _: str = "") -> Judgement:
    """Equal, character by character, apart from space around it."""
    found = extract_answer(output, numeric=False)
    return _unparsed() if found is None else _decide(found.text == target.strip(), found.text)


def judge_normalised(output: str, target: str, _: str = "") -> Judgement:
    """Equal as `normalise` sees it; where that leaves nothing of the target, equal as it stands."""
    found = extract_answer(output, numeric=False)
    if found is None:
        return _unparsed()
    wanted = normalise(target)
    is_equal = normalise(found.text) == wanted if wanted else found.text == target.strip()
    return _decide(is_equal, found.text)


def judge_numeric(output: str, target: str, tolerance: str = "") -> Judgement:
    """Equal as exact numbers, or within the tolerance (absolute, or a share of the target)."""
    found = extract_answer(output, numeric=True)
    number = None if found is None else _read_number(found.text)
    wanted = parse_number(target)
    if found is None or number is None:
        return _unparsed("no number was found in the output")
    if wanted is None:
        return Judgement("error", answer=found.text, why=f"the expected answer {target!r} is no number")
    return _decide(abs(number - wanted) <= _allowed(tolerance, wanted), found.text)


def judge_letter(output: str, target: str, _: str = "") -> Judgement:
    """The answer begins with a letter that stands alone, and it is the target's."""
    found = extract_answer(output, numeric=False)
    named = None if found is None else _LETTER.match(found.text)
    if found is None or named is None:
        return _unparsed("no letter was found where an answer stands")
    return _decide(named[1].upper() == target.strip(" ()[].").upper(), found.text)


def judge_regex(output: str, target: str, pattern: str = "") -> Judgement:
    """Somewhere in the output, the pattern matches."""
    found = re.search(pattern or target, output)
    return _decide(found is not None, None if found is None else found[0])


def judge_json(output: str, target: str, path: str = "") -> Judgement:
    """The field of the first JSON object in the output equals the target, as numbers or as normalised text."""
    document = _find_json_object(output)
    if document is None:
        return _unparsed("there is no JSON object in the output")
    value: Any = document
    for key in path.split("."):
        if not isinstance(value, dict) or key not in value:
            return _unparsed(f"the JSON object has no field {path!r}")
        value = value[key]
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    number, wanted = parse_number(text), parse_number(target)
    is_equal = number == wanted if wanted is not None else normalise(text) == normalise(target)
    return _decide(is_equal, text)


def judge_set(output: str, target: str, _: str = "") -> Judgement:
    """F1 = 2·|both| / (|answer| + |target|) over parts, each as `normalise` sees it, however often it stands there."""
    found = extract_answer(output, numeric=False)
    if found is None:
        return _unparsed()
    answer, wanted = _split_parts(found.text), _split_parts(target)
    if not wanted:
        return Judgement("error", answer=found.text, why=f"the expected answer {target!r} has no parts")
    shared = len(answer & wanted)
    return Judgement("scored", 2 * shared / (len(answer) + len(wanted)), found.text)


def judge_math(output: str, target: str, _: str = "") -> Judgement:
    """Equal as numbers or normalised text, else as math-verify finds."""
    for judge in (judge_numeric, judge_normalised):
        judged = judge(output, target)
        if judged.score == 1:
            return judged
    try:
        from math_verify import parse, verify
    except ImportError:
        return Judgement("unavailable", why="math-verify is not installed: pip install 'trainwright[math]'")
    found = extract_answer(output, numeric=False)
    if found is None:
        return _unparsed()
    if len(found.text) > MAX_MATH_CHARACTERS:
        return _unparsed(f"the answer is longer than {MAX_MATH_CHARACTERS} characters")
    # Its time-outs use signals, which only the main thread may set; it warns of being without.
    timeout_s = MATH_TIMEOUT_S if threading.current_thread() is threading.main_thread() else None
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    sides = [parse(f"${text}$", parsing_timeout=timeout_s) for text in (target, found.text)]
    if not all(sides):
        return _unparsed("math-verify could not read the answer")
    return _decide(bool(verify(*sides, timeout_seconds=timeout_s)), found.text)


# ── what they share ───────────────────────────────────────────────────────────────────────────────────────────────────
def _decide(is_right: bool, answer: str | None) -> Judgement:
    return Judgement("scored", float(is_right), answer)


def _unparsed(why: str = "no answer was found in the output") -> Judgement:
    return Judgement("unparsed", why=why)


def _read_number(text: str) -> Fraction | None:
    """The number that an answer is, or, where it is a sentence, the last one in it."""
    number = parse_number(text)
    if number is not None:
        return number
    found = extract_answer(f"{text}\n", numeric=True)
    return None if found is None else parse_number(found.text)


def _allowed(tolerance: str, wanted: Fraction) -> Fraction:
    if not tolerance:
        return Fraction(0)
    if tolerance.endswith("%"):
        return Fraction(tolerance[:-1]) / 100 * abs(wanted)
    return Fraction(tolerance)


def _find_json_object(text: str) -> dict[str, Any] | None:
    decoder = json.JSONDecoder()
    start = text.find("{")
    while start >= 0:
        try:
            document, _ = decoder.raw_decode(text, start)
        except (json.JSONDecodeError, RecursionError):
            document = None
        if isinstance(document, dict):
            return document
        start = text.find("{", start + 1)
    return None


def _split_parts(text: str) -> Counter[str]:
    return Counter(dict.fromkeys(filter(None, map(normalise, re.split(r"[,;\n]", text))), 1))


def _check_none(parameter: str) -> None:
    if parameter:
        raise ValueError(f"this scorer takes nothing after the colon, not {parameter!r}")


def _check_tolerance(parameter: str) -> None:
    try:
        is_fine = _allowed(parameter, Fraction(1)) >= 0
    except (ValueError, ZeroDivisionError):
        is_fine = False
    if not is_fine:
        raise ValueError(f"a tolerance is a number or a share such as 1%, not {parameter!r}")


def _check_pattern(parameter: str) -> None:
    try:
        re.compile(parameter)
    except re.error as error:
        raise ValueError(f"{parameter!r} is no regular expression: {error}") from error


def _check_field(parameter: str) -> None:
    if not parameter:
        raise ValueError("the scorer json names a field: json:answer")


_JUDGES: dict[str, tuple[str, Callable[[str, str, str], Judgement], Callable[[str], None]]] = {
    "exact": ("answer_correct", judge_exact, _check_none),
    "normalised": ("answer_correct", judge_normalised, _check_none),
    "numeric": ("answer_correct", judge_numeric, _check_tolerance),
    "letter": ("answer_correct", judge_letter, _check_none),
    "regex": ("answer_correct", judge_regex, _check_pattern),
    "json": ("answer_correct", judge_json, _check_field),
    "set": ("answer_f1", judge_set, _check_none),
    "math": ("answer_correct", judge_math, _check_none),
}
SCORERS = tuple(_JUDGES)
"""Names of all scorers."""
